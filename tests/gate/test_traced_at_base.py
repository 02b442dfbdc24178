"""`vs: base` of a module that is traced: the code of the base runs, from a checkout, and never the work tree's in its place."""

from __future__ import annotations

import json
import os

import pytest

from tests.support.repositories import git, new, write
from tests.support.running import samattn

NET = """
from torch import nn
from .widths import WIDTH
class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, WIDTH)
    def forward(self, x):
        return self.fc(x)
"""
WIDE = "from .mlp import Mlp\nclass Wide(Mlp):\n    pass\n"
RULES = """version: 1
configs:
  - trace: {target: 'pkg.mlp:Mlp', input: 2x4}
rules:
  - {id: growth, metric: flops, vs: base, increase: +0 %}
"""
FILES = {"pkg/__init__.py": "", "pkg/mlp.py": NET, "pkg/widths.py": "WIDTH = 8\n", "samattn.yaml": RULES}
FLOPS = {width: 2 * 2 * 4 * width for width in (8, 9)}


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A function that makes a repository whose files lie in a folder, on a branch of `main`."""
    for name in ("GITHUB_ACTIONS", "GITHUB_BASE_REF", "CI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)

    def made(**moved):
        root = new(tmp_path / "repository", {moved.get(name, name): text for name, text in FILES.items()})
        git(root, "checkout", "-q", "-b", "feature")
        return root

    return made


def growth(folder, code, **variables):
    ran = samattn("check", "--base", "main", "-f", "json", cwd=folder, **variables)
    assert ran.returncode == code, ran.stdout + ran.stderr
    return [each for each in json.loads(ran.stdout)["results"] if each["rule"] == "growth"]


def test_a_module_that_it_imports_has_grown(repository):
    """What is traced did not change itself; a rule of a baseline would need the baseline."""
    root = repository()
    write(root, {"pkg/widths.py": "WIDTH = 9\n"})
    (grown,) = growth(root, 1)
    assert (grown["outcome"], grown["value"], grown["compared"]) == ("error", FLOPS[9], FLOPS[8])
    assert "main" in grown["compared_with"]
    assert git(root, "worktree", "list").count("\n") == 0


def test_a_new_module_is_new_and_one_that_was_traced_differently_is_not_compared(repository):
    root = repository()
    two = RULES.replace("rules:", "  - trace: {target: 'pkg.wide:Wide', input: 2x4}\nrules:")
    write(root, {"pkg/wide.py": WIDE, "samattn.yaml": two.replace("2x4", "1x4", 1)})
    changed, added = growth(root, 2)
    assert (changed["outcome"], changed["code"]) == ("unchecked", "target-changed")
    assert "input 2x4 -> 1x4" in changed["summary"]
    assert added["code"] == "new-config"


def test_a_base_that_cannot_be_traced_is_not_compared(repository):
    root = repository()
    write(root, {"pkg/widths.py": "WIDTH = 1 / 0\n"})
    git(root, "commit", "-qam", "broken")
    git(root, "checkout", "-q", "-B", "main")
    git(root, "checkout", "-q", "-b", "mended")
    write(root, {"pkg/widths.py": "WIDTH = 9\n"})
    (result,) = growth(root, 2)
    assert (result["outcome"], result["code"]) == ("unchecked", "target-not-imported")
    assert "main" in result["summary"]
    assert "ZeroDivisionError" in result["summary"]


@pytest.mark.exhaustive  # interpreters start; tests/stack/test_tracing_checkout.py has the rules
@pytest.mark.parametrize("installed", [False, True])
def test_code_that_python_finds_elsewhere(repository, installed, tmp_path):
    """A folder of the work tree in PYTHONPATH is that of the checkout; a copy that is installed would be the same at each commit."""
    root = repository(**{name: f"src/{name}" for name in FILES if name.startswith("pkg")})
    write(root, {"src/pkg/widths.py": "WIDTH = 9\n"})
    place = root / "src"
    if installed:
        place = tmp_path / "site-packages"
        write(place, {name: text for name, text in FILES.items() if name.startswith("pkg")})
    (result,) = growth(root, 2 if installed else 1, PYTHONPATH=str(place))
    if installed:
        assert (result["outcome"], result["code"]) == ("unchecked", "not-of-base")
        assert "src/pkg/mlp.py" in result["summary"]
    else:
        assert (result["value"], result["compared"]) == (FLOPS[9], FLOPS[8])
