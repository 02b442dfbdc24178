"""`check --base`: configs and thresholds against what they were, in repositories with real history."""

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from samattn_cli.cli.app import app
from samattn_cli.errors import GitError
from samattn_cli.files.file_kinds import DEVICE
from samattn_cli.files.load import load_config
from samattn_cli.files.sources import DISK
from samattn_cli.gate.git import Tree, repository
from samattn_cli.gate.git.commands import ELSEWHERE
from samattn_cli.gate.load_thresholds import load_thresholds
from samattn_cli.gate.reports.check import CheckReport, Result
from samattn_cli.gate.run import check
from samattn_cli.studies.diff import diff as compare
from samattn_cli.studies.passes import Passes
from samattn_cli.studies.readers import FIGURES
from tests.gate.test_git import CI
from tests.support.repositories import commit, git, new, write
from tests.support.thresholds_files import SMALL, TODAY

RULES = """\
version: 1
configs: ["encoders/*.yaml"]
profiles:
  big: {image_size: 128}
rules:
  - {id: fits, profile: big, metric: peak_memory, limit: {warn: 5 MB, error: 6 MB}}
  - {id: growth, metric: flops, vs: base, increase: {warn: '+1 %', error: '+2 %', and_above: 1 KFLOP}}
  - {id: saving, match: 'encoders/s*.yaml', metric: attention_memory_saving_per_head, at_least: {warn: 70 %, error: 60 %}}
  - {id: globals, metric: layers.global.count, expect: 1, tolerance: 0}
waivers:
  - {rule: fits, config: encoders/small.yaml, upto: 7 MB, reason: r, expires: 2027-01-31}
"""
OTHER = SMALL.replace("depth: 4", "depth: 5")


@pytest.fixture(autouse=True)
def outside_of_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*CI, *ELSEWHERE, "CI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with two encoders, on a branch that left main."""
    files = {"samattn.yaml": RULES, "encoders/small.yaml": SMALL, "encoders/other.yaml": OTHER}
    folder = new(tmp_path / "repository", files)
    git(folder, "checkout", "-q", "-b", "feature")
    monkeypatch.chdir(folder)
    return folder


def run(*given: str, base: str | None = "main") -> CheckReport:
    return check(load_thresholds(), given, today=TODAY, base=base)


def edit(path: str, *changes: tuple[str, str]) -> None:
    text = Path(path).read_text("utf-8")
    for old, new_ in changes:
        assert old in text
        text = text.replace(old, new_)
    Path(path).write_text(text, "utf-8")


def wrong(report: CheckReport) -> list[Result]:
    return [result for result in report.results if result.outcome != "pass"]


def one(report: CheckReport, rule: str, config: str = "") -> Result:
    found = [result for result in report.results if result.rule == rule and config in result.config]
    assert len(found) == 1, report.results
    return found[0]


# -- configs ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("root")
def test_what_did_not_change_passes_and_is_worked_out_once():
    report = run()
    assert wrong(report) == []
    assert report.base.startswith("base main (")
    small = one(report, "growth", "small")
    assert (small.value, small.compared, small.compared_with) == (
        2_416_640,
        2_416_640,
        report.base.partition(",")[0],
    )


@pytest.mark.usefixtures("root")
def test_a_silently_added_global_layer_fails_and_is_named_with_its_line():
    edit("encoders/small.yaml", ("[1]", "[1, 2]"))
    result = one(run(), "growth", "small")
    # by hand: a global layer has 4 * 4 * 16 * 2 * 32 more products than four windows of 4: 24,576 FLOPs, 1.02 %
    assert (result.outcome, result.value, result.compared) == ("warn", 2_441_216, 2_416_640)
    assert result.causes == (
        "global_attn_indexes: added 2",
        "blocks.2: 401.4 -> 426.0 KFLOP (window 2x2 -> global)",
    )
    assert str(result.place) == "encoders/small.yaml:7:1"
    assert result.command == "samattn diff main:encoders/small.yaml encoders/small.yaml --metric flops"
    count = one(run(), "globals", "small")
    assert (count.outcome, str(count.place)) == ("error", "encoders/small.yaml:7:1")


def test_a_layer_of_double_cost_fails_and_is_named(root):
    write(root, {"encoders/small.yaml": SMALL + "overrides: [{blocks: [3], mlp_ratio: 16}]\n"})
    result = one(run(), "growth", "small")
    assert result.outcome == "error"
    assert [cause for cause in result.causes if cause.startswith("blocks.")] == [
        "blocks.3: 401.4 KFLOP -> 1.19 MFLOP"
    ]
    assert result.place is not None
    assert result.place.file == "encoders/small.yaml"


@pytest.mark.usefixtures("root")
def test_what_an_absolute_limit_breaks_is_explained_by_the_base_too():
    edit("encoders/small.yaml", ("embed_dim: 32", "embed_dim: 512"))
    result = one(run(), "fits", "small")
    assert result.outcome == "error"
    assert result.causes[0] == "embed_dim: 32 -> 512"
    assert str(result.place) == "encoders/small.yaml:3:1"
    assert "--set image_size=128" in result.command


@pytest.mark.usefixtures("root")
def test_what_broke_it_before_is_not_blamed_on_the_change():
    edit("samattn.yaml", ("warn: 5 MB, error: 6 MB", "warn: 1 B, error: 2 B"), ("upto: 7 MB", "upto: 3 B"))
    edit("encoders/small.yaml", ("pos_embed: none", "pos_embed: none\nname: other"))
    result = one(run(), "fits", "small")
    assert result.causes[0].startswith("peak_bytes at blocks.")
    assert result.command == "samattn analyze encoders/small.yaml --set image_size=128"


def test_a_key_of_an_extended_file_is_where_it_stands(root):
    write(root, {"encoders/other.yaml": "extends: ../shared.yaml\n", "shared.yaml": SMALL})
    commit(root)
    git(root, "branch", "-f", "main")
    edit("shared.yaml", ("embed_dim: 32", "embed_dim: 64"))
    assert str(one(run(), "growth", "other").place) == "shared.yaml:3:1"


def test_a_config_that_was_renamed_is_compared_with_its_former_self(root):
    git(root, "mv", "encoders/small.yaml", "encoders/short.yaml")
    edit("encoders/short.yaml", ("[1]", "[1, 2]"))
    report = run()
    result = one(report, "growth", "short")
    assert (result.outcome, result.compared) == ("warn", 2_416_640)
    assert "main:encoders/small.yaml encoders/short.yaml" in result.command
    assert not [found for found in report.results if found.rule == "policy.removed"]


CHEAP, GROWN = SMALL.replace("depth: 4", "depth: 2"), SMALL.replace("depth: 4", "depth: 8")


def test_a_grown_config_under_a_new_name_is_compared_with_what_it_was(root):
    """And a cheap one stands under the old name."""
    write(root, {"encoders/small.yaml": CHEAP, "encoders/short.yaml": GROWN})
    report = run()
    assert one(report, "growth", "small").outcome == "pass"
    result = one(report, "growth", "short")
    assert (result.outcome, result.compared) == ("error", 2_416_640)
    assert result.causes[:2] == (
        "encoders/short.yaml is a copy of main:encoders/small.yaml, which costs less now",
        "depth: 4 -> 8",
    )
    assert result.command == "samattn diff main:encoders/small.yaml encoders/short.yaml --metric flops"


def test_a_grown_config_next_to_a_cheap_one_and_none_under_the_old_name_is_compared_too(root):
    """Git takes the one that is more alike for the new name of the old one."""
    git(root, "mv", "encoders/small.yaml", "encoders/slim.yaml")
    grown = GROWN.replace("embed_dim: 32", "embed_dim: 64")
    write(root, {"encoders/slim.yaml": CHEAP, "encoders/short.yaml": grown})
    commit(root)
    report = run()
    assert (one(report, "growth", "slim").outcome, one(report, "growth", "short").outcome) == (
        "pass",
        "error",
    )


@pytest.mark.parametrize("rename", [True, False])
def test_a_config_through_a_link_continues_what_its_file_was(root, rename):
    """The link is new; what it leads to is a copy of what another link led to, or has its place."""
    Path("files").mkdir()
    Path("encoders/small.yaml").rename("files/small.yaml")
    Path("encoders/small.yaml").symlink_to("../files/small.yaml")
    commit(root)
    git(root, "branch", "-qf", "main")
    write(root, {"files/short.yaml": GROWN})
    Path("encoders/short.yaml").symlink_to("../files/short.yaml")
    if rename:
        Path("files/small.yaml").unlink()
        Path("encoders/small.yaml").unlink()
    else:
        write(root, {"files/small.yaml": CHEAP})
    result = one(run(), "growth", "short")
    assert (result.outcome, result.compared) == ("error", 2_416_640)


@pytest.mark.parametrize("touched", [OTHER + "# touched\n", OTHER])
def test_a_copy_that_is_as_much_alike_another_config_is_compared_too(root, touched):
    """What costs as much as it did is nothing that a copy could continue, however much the two are alike."""
    grown = OTHER.replace("depth: 5", "depth: 9") + "# touched\n"
    write(root, {"encoders/small.yaml": CHEAP, "encoders/other.yaml": touched, "encoders/short.yaml": grown})
    result = one(run(), "growth", "short")
    assert (result.outcome, result.compared) == ("error", 2_416_640)


THIN = "extends: ../files/{}.yaml\n"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("", "encoders/short.yaml extends a copy of main:files/base.yaml"),
        (
            "description: what we ship, and nothing else\nmlp_ratio: 4\n",
            "encoders/short.yaml is a copy of main:encoders/small.yaml",
        ),
    ],
    ids=["short", "long"],
)
def test_a_config_that_extends_a_copy_continues_what_that_was(root, more, said):
    """The config of the old name is as it was; what it extends costs less, and a grown copy of that is extended."""
    write(root, {"files/base.yaml": SMALL, "encoders/small.yaml": THIN.format("base") + more})
    commit(root)
    git(root, "branch", "-qf", "main")
    assert one(run(), "growth", "small").outcome == "pass"
    write(root, {"files/base.yaml": CHEAP, "files/copy.yaml": GROWN})
    write(root, {"encoders/short.yaml": THIN.format("copy") + more})
    result = one(run(), "growth", "short")
    assert (result.outcome, result.compared) == ("error", 2_416_640)
    assert result.causes[0] == f"{said}, which costs less now"


def test_a_copy_out_of_reach_of_a_rule_is_a_finding(root):
    """The rule 'saving' is for encoders/s*.yaml."""
    write(root, {"encoders/small.yaml": CHEAP, "encoders/tiny.yaml": GROWN})
    result = one(run(), "policy.loosened")
    assert result.code == "rule-matches-less"
    assert all(name in result.summary for name in ("'saving'", "encoders/tiny.yaml"))


def test_what_costs_less_in_a_profile_alone_is_continued_by_its_copy(root):
    """A window of 4 is the whole grid at 64, where it saves nothing, and a quarter of it at 128, as rules run it."""
    rules = RULES.replace("metric: flops, vs", "profile: big, metric: flops, vs")
    whole = SMALL.replace("window_size: 2", "window_size: 0").replace("global_attn_indexes: [1]\n", "")
    commit(root, {"samattn.yaml": rules, "encoders/small.yaml": whole})
    git(root, "branch", "-f", "main")
    grown = whole.replace("depth: 4", "depth: 8")
    write(root, {"encoders/small.yaml": whole.replace(": 0", ": 4"), "encoders/short.yaml": grown})
    was, now = (Passes(load_config("encoders/small.yaml", files=files)) for files in (at_main(), DISK))
    assert FIGURES["flops"](was) == FIGURES["flops"](now)
    result = one(run(), "growth", "short")
    assert (result.outcome, "is a copy of main:encoders/small.yaml" in result.causes[0]) == ("error", True)


def at_main() -> Tree:
    here = repository()
    return Tree(here, here.commit("main"))


@pytest.mark.parametrize("text", [SMALL, SMALL + "name: tiny\n", SMALL.replace("depth: 4", "depth: 5")])
def test_a_copy_of_what_costs_as_much_as_it_did_or_more_is_new(root, text):
    write(root, {"encoders/small.yaml": text, "encoders/short.yaml": GROWN})
    result = one(run(), "growth", "short")
    assert (result.outcome, result.code) == ("warn", "new-config")


def test_a_config_that_was_renamed_out_of_a_rule_is_a_finding(root):
    git(root, "mv", "encoders/small.yaml", "encoders/tiny.yaml")
    report = run()
    result = next(found for found in report.results if found.rule == "policy.loosened")
    assert result.code == "rule-matches-less"
    assert all(name in result.summary for name in ("'saving'", "encoders/tiny.yaml"))
    assert result.outcome == "error"


@pytest.mark.parametrize(("policy", "expected"), [("error", "error"), ("warn", "warn"), ("ignore", None)])
def test_a_config_that_was_removed_is_by_the_policy(root, policy, expected):
    commit(root, {"samattn.yaml": RULES + f"policy: {{removed: {policy}}}\n"})
    git(root, "branch", "-f", "main")
    git(root, "rm", "-q", "encoders/other.yaml")
    found = [result for result in run().results if result.rule == "policy.removed"]
    assert [result.outcome for result in found] == ([expected] if expected else [])
    if found:
        assert found[0].code == "config-removed"
        assert all(name in found[0].summary for name in ("encoders/other.yaml", "since base main"))
        assert str(found[0].place) == "samattn.yaml:2:1"


def test_what_configs_led_to_and_was_no_config_is_not_gone(root):
    """Globs lead to the thresholds themselves, and a name to nothing: neither was checked."""
    configs = '["encoders/*.yaml"'
    commit(root, {"samattn.yaml": RULES.replace(configs, '["**/*.yaml", encoders/none.yaml')})
    git(root, "branch", "-f", "main")
    edit("samattn.yaml", (", encoders/none.yaml", ""))
    assert wrong(run()) == []


@pytest.mark.usefixtures("root")
def test_a_config_that_configs_no_longer_lead_to_is_a_finding():
    edit("samattn.yaml", ("encoders/*.yaml", "encoders/s*.yaml"))
    result = one(run(), "policy.removed")
    assert (result.outcome, result.code) == ("error", "config-unlisted")
    assert "encoders/other.yaml" in result.summary


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize(
    ("old", "new_", "code"),
    [
        ("encoders/*.yaml", "encoders/[so][mt]*.yaml", "new-config-unlisted"),
        ("id: globals,", "id: globals, match: '*/[so]*',", "rule-matches-less"),
    ],
)
def test_a_new_config_that_is_taken_out_of_reach_is_a_finding(old, new_, code):
    write(Path(), {"encoders/new.yaml": SMALL})
    edit("samattn.yaml", (old, new_))
    result = one(run(), "policy.loosened")
    assert (result.code, "encoders/new.yaml" in result.summary) == (code, True)


@pytest.mark.parametrize(("then", "now"), [(SMALL, None), (None, SMALL)])
def test_a_file_called_as_a_preset_is_compared_with_what_was_checked_under_the_name(root, then, now):
    growth = RULES.replace('["encoders/*.yaml"]', "[sam_vit_b]").partition("  - {id: saving")[0]
    growth += (
        f"  - {{id: exact, metric: params, vs: base, increase: {{error: '{'-' * (now is not None)}1 %'}}}}\n"
    )
    text = growth.replace("error: '1 %'", "error: '+1 %'")
    commit(root, {"samattn.yaml": text} | ({"sam_vit_b": then} if then else {}))
    git(root, "branch", "-f", "main")
    Path("sam_vit_b").unlink(missing_ok=True)
    write(root, {"sam_vit_b": now} if now else {})
    result = one(run(), "exact")
    assert result.compared != result.value
    assert result.outcome == ("pass" if now else "error")


def test_a_preset_that_is_no_longer_checked_is_a_finding(root):
    commit(root, {"samattn.yaml": RULES.replace('["enc', '[sam_vit_b, "enc')})
    git(root, "branch", "-f", "main")
    write(root, {"samattn.yaml": RULES})
    result = one(run(), "policy.removed")
    assert (result.code, "sam_vit_b" in result.summary) == ("config-unlisted", True)


@pytest.mark.parametrize(("policy", "expected"), [("error", "error"), ("warn", "warn"), ("ignore", "pass")])
def test_a_new_config_is_by_the_policy(root, policy, expected):
    write(root, {"encoders/new.yaml": SMALL, "samattn.yaml": RULES + f"policy: {{new: {policy}}}\n"})
    result = one(run(), "growth", "new")
    assert result.outcome == expected
    assert result.summary.startswith("is new: base main (")


def test_a_config_that_is_broken_at_the_base_could_not_be_checked(root):
    commit(root, {"encoders/small.yaml": SMALL + "wrong: 1\n"})
    git(root, "branch", "-f", "main")
    write(root, {"encoders/small.yaml": SMALL})
    result = one(run(), "growth", "small")
    assert result.outcome == "unchecked"
    assert "main:encoders/small.yaml:9:1" in result.summary


@pytest.mark.usefixtures("root")
def test_a_config_outside_of_the_repository_could_not_be_checked(tmp_path):
    write(tmp_path, {"outside.yaml": SMALL})
    result = one(run("../outside.yaml"), "growth", "outside")
    assert result.outcome == "unchecked"
    assert result.code == "outside-repository"


def test_a_device_file_is_that_of_the_base(root):
    text = DEVICE.names()["t4"].read_text("utf-8")
    rules = (
        RULES.replace("image_size: 128", "image_size: 128, device: card.yaml")
        .replace("metric: flops, vs", "profile: big, metric: latency, vs")
        .replace("and_above: 1 KFLOP", "and_above: 0 ms")
    )
    commit(root, {"card.yaml": text, "samattn.yaml": rules})
    git(root, "branch", "-f", "main")
    assert wrong(run()) == []
    edit("card.yaml", ("launch_overhead_us: 5", "launch_overhead_us: 50"))
    report = run()
    assert one(report, "growth", "small").outcome == "error"
    result = one(report, "policy.loosened")
    assert (result.code, "card.yaml" in result.summary) == ("profile-changed", True)


# -- the thresholds --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new_", "said", "place"),
    [
        ("error: 6 MB", "error: 6.1 MB", "limit.error 6 MB -> 6.1 MB", "6: error"),
        ("warn: 5 MB", "warn: 5.5 MB", "limit.warn 5 MB -> 5.5 MB", "6: warn"),
        ("{warn: 5 MB, error: 6 MB}", "{warn: 5 MB}", "limit.error 6 MB -> none", "6: limit"),
        ("{warn: 5 MB, error: 6 MB}", "6 MB", "limit.warn 5 MB -> none", "6: limit"),
        ("error: '+2 %'", "error: '+2.01 %'", "increase.error +2 % -> +2.01 %", "7: error"),
        ("error: '+2 %'", "error: '+9 KFLOP'", "increase.error +2 % -> +9 KFLOP", "7: error"),
        (
            "and_above: 1 KFLOP",
            "and_above: 1001 FLOP",
            "increase.and_above 1 KFLOP -> 1001 FLOP",
            "7: and_above",
        ),
        ("error: 60 %", "error: 59.9 %", "at_least.error 60 % -> 59.9 %", "8: error"),
        ("expect: 1,", "expect: 2,", "expect 1 -> 2", "9: expect"),
        ("tolerance: 0", "tolerance: 1", "tolerance 0 -> 1", "9: tolerance"),
        ("vs: base", "vs: baseline", "vs base -> baseline", "7: vs"),
        (
            "metric: peak_memory",
            "metric: weights_memory",
            "metric peak_memory -> weights_memory",
            "6: metric",
        ),
        ("id: fits, profile: big,", "id: fits,", "profile big -> none", "6:"),
        ("expect: 1, tolerance: 0", "limit: 1", "expect was replaced by limit", "9: limit"),
        ("image_size: 128", "image_size: 64", "image_size 128 -> 64", "4: image_size"),
        ("image_size: 128", "image_size: [64, 128]", "image_size 128 -> 64x128", "4: image_size"),
        ("image_size: 128", "image_size: 128, attention: sdpa", "attention none -> sdpa", "4: attention"),
        (
            "upto: 7 MB",
            "upto: 7.1 MB",
            "was extended: up to 7.1 MB until 2027-01-31, was up to 7 MB until",
            "11: {rule",
        ),
        ("2027-01-31", "2027-02-01", "was extended: up to 7 MB until 2027-02-01, was", "11: {rule"),
        ("config: encoders/small.yaml", "config: encoders/*.yaml", "was added: up to 7 MB", "11: {rule"),
        ("version: 1", "version: 1\npolicy: {removed: warn}", "removed error -> warn", "2: removed"),
        ("version: 1", "version: 1\npolicy: {new: ignore}", "new warn -> ignore", "2: new"),
        ("version: 1", "version: 1\npolicy: {loosened: ignore}", "loosened error -> ignore", "2: loosened"),
        ("'encoders/s*.yaml'", "'encoders/x*.yaml'", "encoders/small.yaml", "8: match"),
    ],
)
def test_what_was_loosened_is_a_finding_at_its_line(root, old, new_, said, place):
    edit("samattn.yaml", (old, new_))
    result = one(run(), "policy.loosened")
    assert result.outcome == "error"
    assert said in result.summary
    line, _, key = place.partition(":")
    text = (root / "samattn.yaml").read_text("utf-8").splitlines()[int(line) - 1]
    column = text.index(key.strip()) + 1 if key else 5
    assert str(result.place) == f"samattn.yaml:{line}:{column}"


@pytest.mark.parametrize(
    ("old", "new_"),
    [
        ("error: 6 MB", "error: 5.9 MB"),
        ("error: 6 MB", "error: 6000 KB"),
        ("{warn: 5 MB, error: 6 MB}", "5 MB"),
        ("error: '+2 %'", "error: '+0'"),
        ("and_above: 1 KFLOP", "and_above: 1 FLOP"),
        (", and_above: 1 KFLOP", ""),
        ("error: 60 %", "error: 0.65"),
        ("upto: 7 MB", "upto: 6.5 MB"),
        ("2027-01-31", "2027-01-30"),
        ("reason: r", "reason: another"),
        ("id: globals", "id: global_layers"),
        ("metric: peak_memory", "metric: totals.peak_bytes"),
        ("match: 'encoders/s*.yaml'", "match: '**'"),
        ("version: 1", "version: 1\npolicy: {new: error}"),
        ("image_size: 128", "image_size: [128, 128]"),
        ("rules:", "rules:\n  - {id: more, metric: params, limit: 1 G}"),
    ],
)
@pytest.mark.usefixtures("root")
def test_what_is_as_strict_or_stricter_is_not_a_finding(old, new_):
    edit("samattn.yaml", (old, new_))
    assert [result for result in run().results if result.rule.startswith("policy.")] == []


@pytest.mark.usefixtures("root")
def test_a_rule_that_was_removed_is_a_finding_that_says_where_it_stood():
    line = next(line for line in RULES.splitlines() if "id: globals" in line)
    edit("samattn.yaml", (line + "\n", ""))
    result = one(run(), "policy.removed")
    assert result.outcome == "error"
    assert result.code == "rule-removed"
    assert "'globals' was removed (since base main (" in result.summary
    assert result.summary.endswith(" main:samattn.yaml:9:5")


def test_a_waiver_that_was_added_is_a_finding_and_one_of_a_new_rule_is_not(root):
    write(
        root,
        {
            "samattn.yaml": RULES.replace("rules:", "rules:\n  - {id: more, metric: params, limit: 1 K}")
            + "  - {rule: growth, config: '**', upto: 9 MFLOP, reason: recall, expires: 2027-01-01}\n"
            + "  - {rule: more, config: '**', upto: 1 G, reason: recall, expires: 2027-01-01}\n"
        },
    )
    assert one(run(), "policy.loosened").summary.startswith(
        "the waiver of 'growth' for ** was added: up to 9 MFLOP until 2027-01-01: recall (since base main"
    )


def test_the_policy_at_the_base_is_what_a_loosened_policy_is_judged_by(root):
    commit(root, {"samattn.yaml": RULES + "policy: {loosened: warn, removed: ignore}\n"})
    git(root, "branch", "-f", "main")
    edit("samattn.yaml", ("error: 6 MB", "error: 8 MB"))
    assert one(run(), "policy.loosened").outcome == "warn"
    edit("samattn.yaml", ("loosened: warn, ", "loosened: ignore, "))
    assert {result.outcome for result in run().results if result.rule == "policy.loosened"} == {"warn"}


def test_thresholds_that_are_new_are_reported_as_such_and_growth_is_checked_all_the_same(root):
    git(root, "rm", "-q", "--cached", "samattn.yaml")
    git(root, "commit", "-q", "-m", "without")
    git(root, "branch", "-f", "main")
    edit("encoders/small.yaml", ("depth: 4", "depth: 6"))
    git(root, "rm", "-q", "-f", "encoders/other.yaml")
    report = run()
    said = one(report, "policy.new")
    assert (said.outcome, said.code) == ("warn", "thresholds-new")
    assert one(report, "growth", "small").outcome == "error"
    result = one(report, "policy.removed")
    assert (result.code, "encoders/other.yaml" in result.summary) == ("config-removed", True)


def test_thresholds_that_moved_are_compared_with_their_former_self(root):
    git(root, "mv", "samattn.yaml", "limits.yaml")
    edit("limits.yaml", ("error: 6 MB", "error: 7 MB"))
    report = check(load_thresholds("limits.yaml"), today=TODAY, base="main")
    assert "limit.error 6 MB -> 7 MB" in one(report, "policy.loosened").summary


def test_new_thresholds_are_compared_with_those_around_whose_place_they_take(root, monkeypatch):
    loose = 'version: 1\nconfigs: ["*.yaml"]\nrules: [{id: fits, metric: params, limit: 1 G}]\npolicy: {new: ignore}\n'
    write(root, {"encoders/samattn.yaml": loose})
    named = check(load_thresholds("encoders/samattn.yaml"), today=TODAY, base="main")
    assert {result.rule for result in named.results} == {
        "fits",
        "policy.new",
    }  # from here it is asked for by name
    monkeypatch.chdir("encoders")
    said = [(result.code, result.summary) for result in run().results]
    assert any(code == "rule-removed" and "'growth'" in text for code, text in said)
    assert any(code == "rule-loosened" and "metric peak_memory -> params" in text for code, text in said)


def test_a_profile_that_no_longer_says_that_something_is_off_is_loosened(root):
    commit(root, {"samattn.yaml": RULES.replace("128}", "128, checkpointing: false}")})
    git(root, "branch", "-f", "main")
    write(root, {"samattn.yaml": RULES})
    assert "checkpointing False -> none" in one(run(), "policy.loosened").summary


def test_thresholds_that_were_removed_for_other_ones_are_a_finding(root):
    git(root, "rm", "-q", "samattn.yaml")
    loose = 'version: 1\nconfigs: ["encoders/*.yaml"]\nrules: [{id: a, metric: params, limit: 1 G}]\n'
    write(root, {"limits/loose.yaml": loose.replace("encoders/", "../encoders/"), "new/samattn.yaml": loose})
    report = check(load_thresholds("limits/loose.yaml"), today=TODAY, base="main")
    said = one(report, "policy.removed")
    assert said.outcome == "error"
    assert said.code == "thresholds-replaced"
    assert said.summary.startswith("samattn.yaml was removed since base main (")


def test_thresholds_that_are_broken_at_the_base_could_not_be_checked(root):
    commit(root, {"samattn.yaml": RULES.replace("error: 6 MB", "error: 6")})
    git(root, "branch", "-f", "main")
    write(root, {"samattn.yaml": RULES})
    result = one(run(), "policy.loosened")
    assert result.outcome == "unchecked"
    assert (result.code, "main:samattn.yaml:6:78: limit.error 6 " in result.summary) == ("missing-unit", True)


# -- which base ------------------------------------------------------------------------------------------------------


def test_it_is_the_merge_base_and_not_the_tip(root):
    git(root, "checkout", "-q", "main")
    left = commit(root, {"encoders/small.yaml": SMALL})
    git(root, "branch", "-f", "feature")
    commit(root, {"encoders/small.yaml": SMALL.replace("depth: 4", "depth: 9")})
    git(root, "checkout", "-q", "feature")
    report = run()
    assert report.base.startswith(f"base main ({left[:7]})")
    assert one(report, "growth", "small").compared == 2_416_640
    edit("encoders/small.yaml", ("[1]", "[1, 2, 3]"))
    assert f"{left[:7]}:encoders/small.yaml" in one(run(), "growth", "small").command


@pytest.mark.parametrize("request_", ["main", "auto", "HEAD"])
def test_a_base_that_is_head_itself_is_reported_as_such(root, request_):
    git(root, "checkout", "-q", "main")
    head = git(root, "rev-parse", "--short=7", "HEAD")
    base = f"base {'main' if request_ == 'auto' else request_} ({head}), which is HEAD itself: "
    assert run(base=request_).base == f"{base}nothing is compared"
    ran = CliRunner().invoke(app, ["check", "--base", request_])
    assert (ran.exit_code, f"{base}nothing is compared" in " ".join(ran.output.split())) == (0, True)
    edit("encoders/small.yaml", ("depth: 4", "depth: 8"))
    report = run(base=request_)
    assert report.base == f"{base}only uncommitted work is compared"
    assert one(report, "growth", "small").outcome == "error"


def test_a_detached_head_and_a_folder_below(root, monkeypatch):
    edit("encoders/small.yaml", ("depth: 4", "depth: 8"))
    commit(root)
    git(root, "checkout", "-q", "--detach")
    monkeypatch.chdir(root / "encoders")
    result = one(run(base="auto"), "growth", "small")
    assert (result.outcome, result.config) == ("error", "../encoders/small.yaml")
    assert result.command == "samattn diff main:encoders/small.yaml ../encoders/small.yaml --metric flops"


def test_from_a_folder_that_the_base_does_not_have(root, monkeypatch):
    edit("encoders/small.yaml", ("depth: 4", "depth: 8"))
    (root / "new").mkdir()
    monkeypatch.chdir(root / "new")
    report = run()
    assert {one(report, "growth", name).outcome for name in ("small", "other")} == {"error", "pass"}
    assert "policy.new" not in {result.rule for result in report.results}


def test_thresholds_in_a_folder_that_the_base_does_not_have(root):
    edit("encoders/small.yaml", ("depth: 4", "depth: 8"))
    text = RULES.replace("encoders/", "../encoders/")
    write(root, {"ci/samattn.yaml": text})
    report = check(load_thresholds("ci/samattn.yaml"), today=TODAY, base="main")
    assert one(report, "growth", "small").outcome == "error"


def test_a_submodule_is_compared_as_the_commit_had_it(root, tmp_path):
    inner = new(tmp_path / "inner", {"deep.yaml": SMALL})
    git(root, "submodule", "add", "-q", f"file://{inner}", "sub")
    commit(root, {"samattn.yaml": RULES.replace('["enc', '["sub/*.yaml", "enc')})
    git(root, "branch", "-f", "main")
    write(root, {"sub/deep.yaml": SMALL.replace("depth: 4", "depth: 8")})
    result = one(run(), "growth", "deep")
    assert (result.outcome, result.compared) == ("error", 2_416_640)


def test_a_shallow_clone_and_a_ref_that_is_not_there_say_what_to_do(root, tmp_path, monkeypatch):
    with pytest.raises(GitError, match=r"'nowhere'.*\[unknown-ref\]"):
        run(base="nowhere")
    commit(root, {"encoders/small.yaml": SMALL + "\n"})
    git(root, "checkout", "-q", "main")
    commit(root, {"extra.txt": "x"})
    git(
        tmp_path,
        "clone",
        "-q",
        "--depth",
        "1",
        "--branch",
        "feature",
        "--no-single-branch",
        f"file://{root}",
        "cut",
    )
    monkeypatch.chdir(tmp_path / "cut")
    with pytest.raises(GitError, match=r"git fetch --unshallow origin.*\[shallow-clone\]"):
        run(base="origin/main")


def test_a_base_is_found_where_a_rule_needs_one_and_else_it_could_not_be_checked(root, monkeypatch):
    assert run(base=None).base.startswith("base main (")
    git(root, "branch", "-q", "-m", "main", "trunk")
    result = one(run(base=None), "growth", "small")
    assert (result.outcome, result.code) == ("unchecked", "no-main-branch")
    assert result.summary.endswith("--base HEAD~1")
    git(root, "branch", "-q", "-m", "trunk", "main")
    monkeypatch.setenv("CHANGE_TARGET", "main")
    git(root, "update-ref", "refs/remotes/origin/main", "main")
    report = run(base=None)
    assert report.base.startswith("base origin/main (")
    assert wrong(report) == []
    monkeypatch.setenv("CHANGE_TARGET", "nowhere")
    with pytest.raises(GitError, match=r"origin/nowhere .*\[base-not-fetched\]"):
        run(base=None)


def test_outside_of_a_repository_it_exits_2(tmp_path, monkeypatch):
    write(tmp_path, {"samattn.yaml": RULES, "encoders/small.yaml": SMALL})
    monkeypatch.chdir(tmp_path)
    with pytest.raises(GitError, match=r"\[no-repository\]"):
        run()


@pytest.mark.usefixtures("root")
def test_in_ci_no_base_is_looked_for_where_no_rule_needs_one(monkeypatch):
    line = next(line for line in RULES.splitlines() if "id: growth" in line)
    edit("samattn.yaml", (line + "\n", ""))
    monkeypatch.setenv("CHANGE_TARGET", "nowhere")
    assert wrong(run(base=None)) == []


@pytest.mark.usefixtures("root")
def test_the_command_takes_a_base_and_exits_by_it():
    runner = CliRunner()
    assert runner.invoke(app, ["check", "--base", "main"]).exit_code == 0
    edit("encoders/small.yaml", ("depth: 4", "depth: 8"))
    ran = runner.invoke(app, ["check", "--base", "main", "--format", "json"])
    assert ran.exit_code == 1
    assert json.loads(ran.stdout)["base"].startswith("base main (")
    assert runner.invoke(app, ["check", "--base", "nowhere"]).exit_code == 2


@pytest.mark.usefixtures("root")
def test_a_subset_is_compared_too():
    edit("encoders/small.yaml", ("depth: 4", "depth: 8"))
    report = run("encoders/other.yaml")
    assert wrong(report) == []
    assert report.configs == ("encoders/other.yaml",)


def test_every_cause_is_the_same_as_that_of_diff(root):
    """What `check` works out of a change is all that `samattn diff` has of it."""
    edit("encoders/small.yaml", ("[1]", "[1, 2]"), ("embed_dim: 32", "embed_dim: 64"))
    metrics = ("flops", "params", "peak_memory", "training_memory", "layers.2.flops", "attention_memory")
    rules = "".join(
        f"  - {{id: r{at}, metric: {name}, vs: base, increase: '+0'}}\n" for at, name in enumerate(metrics)
    )
    write(root, {"samattn.yaml": f"version: 1\nconfigs: [encoders/small.yaml]\nrules:\n{rules}"})
    here = repository()
    tree = Tree(here, here.commit("main"))
    before, after = (Passes(load_config("encoders/small.yaml", files=files)) for files in (tree, DISK))
    for at, name in enumerate(metrics):
        assert one(run(), f"r{at}").causes == compare(before, after, metric=name).causes
