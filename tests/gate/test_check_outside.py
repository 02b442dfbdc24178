"""A change may not have files read that are not in its repository, nor programs run or objects replaced by its settings."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from samattn_cli.cli.app import app
from tests.gate.test_check_base import one, outside_of_ci, run  # noqa: F401 - a fixture for every test
from tests.support.repositories import commit, git, new, write
from tests.support.thresholds_files import SMALL

RULES = """\
version: 1
configs: ["encoders/**/*.yaml"]
profiles: {big: {image_size: 128}}
rules:
  - {id: fits, metric: flops, limit: 3 MFLOP}
  - {id: growth, metric: flops, vs: base, increase: '+1 %'}
  - {id: drift, metric: flops, vs: baseline, increase: '+0'}
"""
SECRET = "password_of_the_runner: 12345\n"
FLOPS = 2_416_640
"""Of the small encoder; see test_check_base."""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with an encoder, and what lies outside of it."""
    write(tmp_path, {"secret.yaml": SECRET, "outside/other.yaml": SMALL, "outside/secret.yaml": SECRET})
    folder = new(tmp_path / "repository", {"samattn.yaml": RULES, "encoders/small.yaml": SMALL})
    monkeypatch.chdir(folder)
    assert CliRunner().invoke(app, ["baseline", "create"]).exit_code == 0
    commit(folder)
    return folder


def printed(*arguments: str, code: int = 2) -> str:
    """What a check says, in which nothing of the secret stands."""
    ran = CliRunner().invoke(app, ["check", *arguments], env={"COLUMNS": "1000"})  # no path is broken
    assert ran.exit_code == code, ran.output
    assert "password" not in ran.output
    assert "12345" not in ran.output
    return " ".join(ran.output.split())


@pytest.mark.parametrize("base", [(), ("--base", "main")])
@pytest.mark.parametrize("path", ["../../secret.yaml", "{tmp}/secret.yaml", "link.yaml", "there/secret.yaml"])
def test_a_config_extends_nothing_outside(root, tmp_path, path, base):
    (root / "encoders" / "link.yaml").symlink_to("../../secret.yaml")
    (root / "encoders" / "there").symlink_to("../../outside")
    write(root, {"encoders/small.yaml": f"extends: {path.format(tmp=tmp_path)}\ndepth: 4\n"})
    said = printed("encoders/small.yaml", *base)
    assert f"secret.yaml is outside the repository {root}" in said


def test_there_is_no_telling_whether_something_is_outside(root):
    said = []
    for name in ("secret", "none"):
        write(root, {"encoders/small.yaml": f"extends: ../../{name}.yaml\n"})
        said.append(printed("encoders/small.yaml").replace(name, "NAME"))
    assert said[0] == said[1]


def test_globs_do_not_follow_links_out(root):
    (root / "encoders" / "there").symlink_to("../../outside")
    assert printed(code=0).endswith("3 passed")
    (root / "encoders" / "link.yaml").symlink_to("../../outside")  # called as a config, and so it was meant
    assert "'encoders/link.yaml' cannot be read" in printed()


@pytest.mark.parametrize(
    ("old", "new_"),
    [
        ('"encoders/**/*.yaml"', "../secret.yaml"),
        ('"encoders/**/*.yaml"', '"../*.yaml"'),
        ('"encoders/**/*.yaml"', '"encoders/**/*.yaml", "encoders/../../outside/**"'),
        ("image_size: 128", "image_size: 128, device: ../secret.yaml"),
    ],
)
def test_thresholds_name_nothing_outside(root, old, new_):
    write(root, {"samattn.yaml": RULES.replace(old, new_)})
    assert f"is outside the repository {root}" in printed()


@pytest.mark.parametrize("name", ["samattn.yaml", "samattn-baseline.json"])
def test_neither_thresholds_nor_baseline_are_links_out(root, name):
    (root / name).unlink()
    (root / name).symlink_to("../secret.yaml")
    assert f"is outside the repository {root}" in printed()


@pytest.mark.usefixtures("root")
def test_who_runs_the_check_may_name_a_config_of_another_place():
    report = run("../outside/other.yaml", base=None)
    assert one(report, "fits", "other").value == FLOPS


@pytest.mark.parametrize("given", [(), ("encoders/sub/new.yaml",)])
def test_a_config_of_a_submodule_extends_one_of_the_repository_around_it(root, given):
    new(root.parent / "sub", {"new.yaml": "extends: ../small.yaml\n"})
    git(root, "submodule", "add", "-q", str(root.parent / "sub"), "encoders/sub")
    assert one(run(*given, base=None), "fits", "new").value == FLOPS


def test_in_a_checkout_without_git_it_is_what_the_ci_says(root, monkeypatch):
    (root / ".git").rename(root.parent / "moved")
    write(root, {"samattn.yaml": RULES.replace("vs: base,", "vs: baseline,")})
    write(root, {"encoders/small.yaml": "extends: ../../secret.yaml\n"})
    monkeypatch.setenv("CI_PROJECT_DIR", str(root))
    assert f"is outside the repository {root}" in printed()


# -- git -------------------------------------------------------------------------------------------------------------


def test_git_runs_no_program_of_the_repository(root):
    ran = root.parent / "ran"
    script = f"#!/bin/sh\ntouch '{ran}'\n"
    for name in (".git/monitor", ".git/hooks/post-index-change"):
        write(root, {name: script})
        (root / name).chmod(0o755)
    git(root, "config", "core.fsmonitor", str(root / ".git" / "monitor"))
    git(root, "status")
    assert ran.exists()  # as it is without samattn's settings
    ran.unlink()
    write(root, {"encoders/new.yaml": SMALL})
    assert one(run(), "growth", "small").outcome == "pass"
    assert not ran.exists()


@pytest.mark.parametrize("kind", ["blob", "commit", "graft"])
def test_what_stands_in_for_the_objects_of_the_base_is_not_read(root, kind):
    main = git(root, "rev-parse", "main")
    grown = SMALL.replace("depth: 4", "depth: 8")
    git(root, "checkout", "-q", "-b", "feature")
    commit(root, {"encoders/small.yaml": grown})
    at = "main:encoders/small.yaml" if kind == "blob" else "main"
    there = "HEAD:encoders/small.yaml" if kind == "blob" else "HEAD"
    if kind == "graft":  # HEAD's parent is no longer main, but a commit with the grown config
        git(root, "checkout", "-q", "-b", "alike", "main~1")
        alike = commit(root, {"encoders/small.yaml": grown})
        git(root, "checkout", "-q", "feature")
        write(root, {".git/info/grafts": f"{git(root, 'rev-parse', 'HEAD')} {alike}\n{main} {alike}\n"})
    else:
        git(root, "replace", "-f", git(root, "rev-parse", at), git(root, "rev-parse", there))
    result = one(run(), "growth", "small")
    assert (result.outcome, result.compared) == ("error", FLOPS)
