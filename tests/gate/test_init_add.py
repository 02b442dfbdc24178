"""`samattn init` where there is a thresholds file, and where it says samattn is installed from."""

import json
from importlib.metadata import PackageNotFoundError
from pathlib import Path, PurePosixPath
from types import SimpleNamespace

import pytest
import yaml
from typer.testing import CliRunner

from samattn_cli.cli.app import app
from samattn_cli.gate.init import origin
from samattn_cli.gate.init.files import hook, pre_commit, workflow
from samattn_cli.gate.init.origin import Origin, installed_from
from samattn_cli.gate.load_thresholds import load_thresholds
from samattn_cli.gate.thresholds import ConfigEntry
from tests.support.repositories import VIT, commit, git, new, write
from tests.support.thresholds_files import SMALL

MINE = """\
# by hand, and kept
version: 1
configs: ["encoders/small.yaml"] # the old one
profiles:
  p: {batch_size: 2}
rules:
- id: small-flops
  match: encoders/small.yaml
  profile: p
  metric: flops
  limit: 1 GFLOP # raised in #12
  message: ask us
- {id: all, match: "**", profile: p, metric: params, limit: 5 M}
- {id: new-flops, match: "encoders/n*", profile: p, metric: flops, limit: 7 GFLOP}

# what follows
policy: {new: warn}
waivers:
- {rule: small-flops, config: encoders/small.yaml, upto: 2 GFLOP, reason: "# why", expires: 2099-01-01}
"""
LINE_OF_LIMIT = "  limit: 1 GFLOP # raised in #12\n"


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write(tmp_path, {"encoders/small.yaml": SMALL, "encoders/new.yaml": VIT, "samattn.yaml": MINE})
    monkeypatch.chdir(tmp_path)
    return tmp_path / "samattn.yaml"


def init(*arguments: str):
    return CliRunner().invoke(app, ["init", "--no-workflow", "--no-pre-commit", *arguments])


def test_add_appends_and_changes_nothing_else(mine: Path) -> None:
    before = load_thresholds().thresholds
    done = init("--add", "encoders/new.yaml")
    assert (done.exit_code, done.stderr.splitlines()[-1].partition(".")[0]) == (0, "4 limits added")
    after = load_thresholds().thresholds
    assert after.configs == (*before.configs, ConfigEntry(path="encoders/new.yaml"))
    assert after.rules[:3] == before.rules
    added = after.rules[3:]
    assert [rule.id for rule in added] == [
        f"encoders/new-{name}" for name in ("params", "flops", "peak-memory", "global-layers")
    ]  # new-flops is another's
    assert {(rule.match, rule.profile) for rule in added} == {("encoders/new.yaml", "p")}
    assert (after.policy, after.waivers, after.profiles) == (before.policy, before.waivers, before.profiles)
    left = [line for line in mine.read_text("utf-8").splitlines() if "new.yaml" not in line]
    assert left == [line for line in MINE.splitlines() if not line.startswith("configs:")]
    assert CliRunner().invoke(app, ["check"]).exit_code == 0
    again = mine.read_text("utf-8")
    assert init("--add", "encoders/new.yaml").exit_code == 0
    assert mine.read_text("utf-8") == again


def test_force_sets_its_own_limits_and_drops_nothing(mine: Path) -> None:
    done = init("encoders/small.yaml", "--force")
    assert done.exit_code == 0, done.stderr
    assert "3 limits added, 1 limit set to today's figure" in done.stderr
    text = mine.read_text("utf-8")
    flops = 2 * 2_416_640  # a batch of two
    kept = text.replace(f'  limit: "{flops:,} FLOP" # raised in #12\n', LINE_OF_LIMIT)
    assert [line for line in kept.splitlines() if "id: small-" not in line or line in MINE] == _with_comment(
        MINE
    )
    ids = [rule.id for rule in load_thresholds().thresholds.rules]
    assert ids[:3] == ["small-flops", "all", "new-flops"]
    assert ids[3:] == ["small-params", "small-peak-memory", "small-global-layers"]


def _with_comment(text: str) -> list[str]:
    """The lines of MINE with the title of what is added before the empty line that ends its rules."""
    before, _, after = text.partition("\n\n")
    return [*before.splitlines(), "# encoders/small.yaml", "", *after.splitlines()]


@pytest.mark.parametrize("text", ["mine", "version: 1\nconfigs: [a.yaml]\nrules: []\n"])
def test_a_file_that_is_broken_is_not_added_to(mine: Path, text: str) -> None:
    mine.write_text(text, "utf-8")
    for option in ("--add", "--force"):
        assert init(option, "encoders/new.yaml").exit_code == 2
        assert mine.read_text("utf-8") == text


def test_lists_in_brackets_are_added_to_in_brackets(mine: Path) -> None:
    rule = "{id: a, metric: flops, limit: 1 GFLOP}"
    mine.write_text(f"version: 1\nconfigs: [encoders/small.yaml]\nrules: [{rule}]", "utf-8")
    assert init("--add", "encoders/new.yaml").exit_code == 0
    assert len(load_thresholds().thresholds.rules) == 5
    assert CliRunner().invoke(app, ["check"]).exit_code == 0


def test_a_list_in_brackets_may_end_in_a_comma(mine: Path) -> None:
    mine.write_text(
        "version: 1\nconfigs: [encoders/small.yaml, ]\nrules: [{id: a, metric: flops, limit: 1 TFLOP},]"
    )
    assert init("--add", "encoders/new.yaml").exit_code == 0
    assert tuple(entry.path for entry in load_thresholds().thresholds.configs) == (
        "encoders/small.yaml",
        "encoders/new.yaml",
    )


def test_what_cannot_be_added_to_is_left_and_not_called_broken(mine: Path) -> None:
    text = "version: 1\nconfigs: [encoders/*.yaml]\nrules: [\n{id: a, metric: flops, limit: 1 TFLOP}, # last\n]\n"
    mine.write_text(text, "utf-8")
    done = init("--add", "encoders/new.yaml")
    assert (done.exit_code, mine.read_text("utf-8")) == (2, text)
    assert "[cannot-add-limits]" in done.stderr


@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_ends_of_lines_and_a_byte_order_mark_stay(mine: Path, start: str) -> None:
    before = (start + MINE).replace("\n", "\r\n").encode()
    mine.write_bytes(before)
    assert init("--add", "encoders/new.yaml").exit_code == 0
    lines = mine.read_bytes().replace(b", encoders/new.yaml]", b"]").split(b"\r\n")
    assert b"\n" not in b"".join(lines)
    assert [line for line in lines if b"new" not in line or line in before] == before.split(b"\r\n")


@pytest.mark.parametrize(("limit", "other"), [("&most 1 GFLOP", "*most"), (">\n    1 GFLOP", "2 GFLOP")])
def test_a_limit_that_is_not_simply_a_value_is_not_set_anew(mine: Path, limit: str, other: str) -> None:
    rules = "".join(
        f"- id: {name}\n  match: {match}\n  metric: flops\n  limit: {most}\n"
        for name, match, most in (("a", "encoders/small.yaml", limit), ("b", "encoders/new.yaml", other))
    )
    text = f"version: 1\nconfigs: [encoders/*.yaml]\nrules:\n{rules}"
    mine.write_text(text, "utf-8")
    for names in ("small", "new")[: 2 if "&" in limit else 1]:
        done = init("--force", f"encoders/{names}.yaml")
        assert (done.exit_code, mine.read_text("utf-8")) == (2, text)
        assert "[limit-not-plain]" in done.stderr
    assert init("--add", "encoders/small.yaml", "encoders/new.yaml").exit_code == 0


def test_a_file_through_a_link_is_written_with_its_permissions(mine: Path) -> None:
    place = mine.rename(mine.parent / "shared.yaml")
    place.chmod(0o640)
    mine.symlink_to(place.name)
    assert init("--add", "encoders/new.yaml").exit_code == 0
    assert (mine.is_symlink(), place.stat().st_mode & 0o777) == (True, 0o640)
    assert "new-params" in place.read_text("utf-8")


def test_limits_without_a_profile_have_ids_without_one(mine: Path) -> None:
    rules = "- {id: a, metric: flops, limit: 1 TFLOP, profile: p}\n- {id: b, metric: flops, limit: 1 TFLOP}\n"
    profiles = "profiles: {p: {batch_size: 2}}\n"
    mine.write_text(f"version: 1\nconfigs: [encoders/*.yaml]\n{profiles}rules:\n{rules}", "utf-8")
    assert init("--add", "encoders/new.yaml").exit_code == 0
    ids = [rule.id for rule in load_thresholds().thresholds.rules if "params" in rule.id]
    assert ids == ["new-params-p", "new-params"]


def test_limits_are_added_in_each_profile_that_has_limits(mine: Path) -> None:
    rules = "".join(f"- {{id: {name}, metric: flops, limit: 1 GFLOP, profile: {name}}}\n" for name in "ab")
    profiles = "profiles: {a: {batch_size: 1}, b: {batch_size: 2}, c: {batch_size: 3}}\n"
    mine.write_text(f"version: 1\nconfigs: [encoders/*.yaml]\n{profiles}rules:\n{rules}", "utf-8")
    assert init("--add", "encoders/new.yaml").exit_code == 0
    flops = {
        rule.id: rule.limit.error.amount
        for rule in load_thresholds().thresholds.rules
        if rule.metric == "flops"
    }
    assert list(flops) == ["a", "b", "new-flops-a", "new-flops-b"]
    assert flops["new-flops-b"] == 2 * flops["new-flops-a"]


def test_how_encoders_are_run_stands_in_the_file(mine: Path) -> None:
    done = init("--add", "--dtype", "float16")
    assert done.exit_code == 2
    assert done.stderr.startswith("--dtype float16: ")
    assert done.stderr.endswith(" [option-in-profile]\n")
    assert mine.read_text("utf-8") == MINE


def test_a_config_without_rules_is_reported_with_how_to_get_them(
    mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine.write_text(
        "version: 1\nconfigs: [encoders/*.yaml]\nrules:\n"
        "- {id: a, match: encoders/small.yaml, metric: flops, limit: 1 GFLOP}\n",
        "utf-8",
    )
    command = "samattn init --add encoders/new.yaml"
    done = CliRunner().invoke(app, ["check"])
    assert (done.exit_code, f"{command} adds today's figures" in done.stdout) == (2, True)
    assert CliRunner().invoke(app, [*command.split()[1:], "--no-workflow"]).exit_code == 0
    assert CliRunner().invoke(app, ["check"]).exit_code == 0
    monkeypatch.chdir(mine.parent / "encoders")
    mine.write_text(mine.read_text("utf-8").partition("# encoders/new")[0], "utf-8")
    said = CliRunner().invoke(app, ["check"]).stdout
    assert "samattn init --add ../encoders/new.yaml --directory .. adds today's figures" in said


# -- where samattn comes from ----------------------------------------------------------------------------------------

COMMIT = "a" * 40


def installed(monkeypatch: pytest.MonkeyPatch, direct: object) -> None:
    text = direct if isinstance(direct, str | None) else json.dumps(direct)
    monkeypatch.setattr(origin, "distribution", lambda _: SimpleNamespace(read_text=lambda _: text))


@pytest.mark.parametrize(
    ("direct", "requirement"),
    [
        (None, "samattn==0.1.0"),
        ("", "samattn==0.1.0"),
        ("{", "samattn==0.1.0"),
        (
            {"url": "https://github.com/o/samattn.git", "vcs_info": {"vcs": "git", "commit_id": COMMIT}},
            f"samattn @ git+https://github.com/o/samattn.git@{COMMIT}",
        ),
        (
            {"url": "https://me:secret@h.org/s.git", "vcs_info": {"vcs": "git", "commit_id": COMMIT}},
            f"samattn @ git+https://h.org/s.git@{COMMIT}",
        ),
        (
            {"url": "https://h.org/samattn-0.1.0.whl", "archive_info": {}},
            "samattn @ https://h.org/samattn-0.1.0.whl",
        ),
    ],
)
def test_it_is_installed_from_where_it_came(monkeypatch, tmp_path, direct: object, requirement: str) -> None:
    installed(monkeypatch, direct)
    found = installed_from(tmp_path)
    assert (found.requirement, found.is_reachable) == (requirement, True)
    job = yaml.safe_load(workflow(PurePosixPath("samattn.yaml"), found))
    install = job["jobs"]["check"]["steps"][2]["run"]
    assert install in {f"pip install {requirement}", f"pip install '{requirement}'"}
    (entry,) = yaml.safe_load(pre_commit() + hook(PurePosixPath("samattn.yaml"), found))["repos"]
    assert entry["hooks"][0]["additional_dependencies"] == [requirement]


def test_a_checkout_is_its_remote_where_that_has_the_commit(monkeypatch, tmp_path) -> None:
    checkout = new(tmp_path / "samattn", {"pyproject.toml": ""})
    installed(monkeypatch, {"url": checkout.as_uri(), "dir_info": {"editable": True}})
    root = tmp_path / "project"
    unreachable = Origin("samattn==0.1.0", str(checkout), is_reachable=False)
    assert installed_from(root) == unreachable
    git(checkout, "remote", "add", "origin", "git@github.com:o/samattn.git")
    assert installed_from(root) == unreachable  # nobody else has the commit
    head = git(checkout, "rev-parse", "HEAD")
    git(checkout, "update-ref", "refs/remotes/origin/main", head)
    assert installed_from(root).requirement == f"samattn @ git+https://github.com/o/samattn.git@{head}"
    commit(checkout, {"new": ""})
    assert installed_from(root) == unreachable


def test_a_folder_of_the_repository_is_a_path_in_it(monkeypatch, tmp_path) -> None:
    installed(monkeypatch, {"url": (tmp_path / "third party" / "samattn").as_uri(), "dir_info": {}})
    found = installed_from(tmp_path)
    assert (found.requirement, found.is_path) == ("./third party/samattn", True)
    job = yaml.safe_load(workflow(PurePosixPath("samattn.yaml"), found))
    assert job["jobs"]["check"]["steps"][2]["run"] == "pip install './third party/samattn'"
    (entry,) = yaml.safe_load(pre_commit() + hook(PurePosixPath("samattn.yaml"), found))["repos"]
    assert entry["hooks"][0]["language"] == "system"


def test_what_is_not_installed_is_its_checkout(monkeypatch, tmp_path) -> None:
    def none(_: str) -> None:
        raise PackageNotFoundError

    monkeypatch.setattr(origin, "distribution", none)
    monkeypatch.setattr(origin, "PACKAGE", tmp_path / "samattn_cli")
    assert installed_from(tmp_path / "project") == Origin("samattn==0.1.0", str(tmp_path), is_reachable=False)


def test_init_says_where_it_installs_from(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine.unlink()
    installed(monkeypatch, {"url": "file:///somewhere/samattn", "dir_info": {"editable": True}})
    done = CliRunner().invoke(app, ["init"])
    assert done.exit_code == 0
    assert "installed from /somewhere/samattn, " in done.stderr
    assert "[unreachable-origin]" in done.stderr
    Path(".github/workflows/samattn.yml").unlink()
    installed(monkeypatch, None)
    assert (
        "install samattn from the same place as this one: an index"
        in CliRunner().invoke(app, ["init", "--force"]).stderr
    )
