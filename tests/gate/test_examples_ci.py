"""The files of examples/ci: what samattn, GitHub, GitLab and pre-commit make of them."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
import typer.main
import yaml

from samattn_cli.cli.app import app
from samattn_cli.gate.formats import CHECKS
from samattn_cli.gate.load_thresholds import load_thresholds
from tests.support.repositories import commit, git, new
from tests.support.running import ROOT, samattn

FOLDER = ROOT / "examples" / "ci"


def loaded(name: str) -> Any:
    return yaml.safe_load((FOLDER / name).read_text("utf-8"))


def test_the_thresholds_load_and_show_each_kind_of_rule():
    thresholds = load_thresholds(FOLDER / "samattn.yaml").thresholds
    rules = {rule.id: rule for rule in thresholds.rules}
    assert list(rules) == ["fits", "fast", "global-layers", "saving", "growth"]
    assert rules["growth"].vs == "base"
    assert [waiver.rule for waiver in thresholds.waivers] == ["growth"]


def test_the_page_shows_the_thresholds_of_a_module():
    text = (ROOT / "examples" / "traced.yaml").read_text("utf-8")
    assert f"```yaml\n{text}```" in (FOLDER / "README.md").read_text("utf-8")


def test_the_workflow_gives_the_action_what_it_takes():
    action = yaml.safe_load((ROOT / ".github" / "action" / "action.yml").read_text("utf-8"))
    (job,) = loaded("github-workflow.yml")["jobs"].values()
    checkout, check = job["steps"]
    assert checkout["with"]["fetch-depth"] == 0
    assert check["uses"].startswith("OWNER/samattn/.github/action@v")
    assert {*check["with"]} <= {*action["inputs"]}
    for name in ("base", "fail-on"):  # said to be the defaults
        assert check["with"][name] == action["inputs"][name]["default"]


def test_the_hook_is_one_that_the_repository_offers():
    offered = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text("utf-8"))
    (repository,) = loaded("pre-commit-config.yaml")["repos"]
    assert {hook["id"] for hook in repository["hooks"]} <= {hook["id"] for hook in offered}


def test_the_job_of_gitlab_writes_the_reports_that_it_collects():
    (job,) = loaded("gitlab-ci.yml").values()
    install, check = map(shlex.split, job["script"])
    assert install == ["pip", "install", "samattn"]
    root = typer.main.get_command(app)
    parsed = root.commands["check"].make_context("check", check[2:], resilient_parsing=True).params
    assert parsed["base"] == "auto"
    junit, quality = parsed["output"]
    assert job["artifacts"]["reports"]["junit"] == str(junit)
    assert job["artifacts"]["reports"]["codequality"] == str(quality).removeprefix("gitlab=")
    assert CHECKS["junit"].extension == ".xml"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.y*ml")), ids=lambda path: path.name)
def test_each_file_says_its_name_and_what_it_is(path):
    first = path.read_text("utf-8").splitlines()[0]
    assert first.startswith(f"# examples/ci/{path.name}: ")


def test_a_check_of_a_change_says_what_the_page_shows(tmp_path):
    """The thresholds of the folder, without the waiver; the change makes layers global and raises a limit."""
    thresholds = (FOLDER / "samattn.yaml").read_text("utf-8").partition("\nwaivers:")[0]
    encoders = {
        "encoders/vit_h.yaml": "extends: sam_vit_h\nglobal_attn_indexes: [7, 15, 23, 31]\n",
        "encoders/sam_b.yaml": "extends: sam_vit_b\n",
    }
    root = new(tmp_path / "team", {"samattn.yaml": thresholds, **encoders})
    git(root, "checkout", "-q", "-b", "change")
    commit(
        root,
        {
            "samattn.yaml": thresholds.replace("error: 2 GiB", "error: 3 GiB"),
            "encoders/vit_h.yaml": encoders["encoders/vit_h.yaml"].replace("[7", "[3, 5, 7"),
        },
    )
    result = samattn("check", "--base", "main", cwd=root)
    assert result.returncode == 1
    base = git(root, "rev-parse", "--short=7", "main")
    said = result.stdout.replace(base, "e8a1dd1")
    assert f"$ samattn check --base main\n{said}```" in (FOLDER / "README.md").read_text("utf-8")
