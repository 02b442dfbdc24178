"""`samattn baseline`: figures that are committed, follow downwards by themselves, and upwards for a reason."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from samattn_cli.cli.app import app
from samattn_cli.errors import ConfigError
from samattn_cli.gate import baseline as study
from samattn_cli.gate.baseline import NAME
from samattn_cli.gate.load_thresholds import load_thresholds
from samattn_cli.gate.reports import baseline as report
from samattn_cli.gate.run import check
from tests.gate.test_check_base import outside_of_ci  # noqa: F401 - a fixture for every test
from tests.support.repositories import commit, git, new, write
from tests.support.thresholds_files import SMALL, TODAY

RULES = """\
version: 1
configs: ["encoders/*.yaml"]
profiles: {big: {image_size: 128}}
rules:
  - {id: drift, metric: params, vs: baseline, increase: '+0'}
  - {id: big, match: 'encoders/s*', profile: big, metric: layers.window.flops, vs: baseline, increase: '+1 %'}
  - {id: fits, metric: flops, limit: 1 TFLOP}
"""
PARAMS = 75_424
"""Of the small encoder, by `samattn analyze`; a windowed layer is 32 * 96 + 96 + 32 * 32 + 32 + 2 * 32 * 128 + 128 + 32 + 4 * 32 = 12,704 of them."""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two encoders and a baseline of their figures."""
    write(tmp_path, {"samattn.yaml": RULES, "encoders/small.yaml": SMALL, "encoders/other.yaml": SMALL})
    monkeypatch.chdir(tmp_path)
    assert samattn("create").exit_code == 0
    return tmp_path


def samattn(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["baseline", *arguments])


def lines() -> list[dict]:
    return json.loads(Path(NAME).read_text("utf-8"))["figures"]


def params(config: str = "small") -> int:
    found = [line for line in lines() if line["metric"] == "params" and config in line["config"]]
    assert len(found) == 1
    return found[0]["value"]


def deepen(depth: int, config: str = "small") -> None:
    Path(f"encoders/{config}.yaml").write_text(SMALL.replace("depth: 4", f"depth: {depth}"), "utf-8")


def drift(config: str = "small", base: str | None = None):
    results = check(load_thresholds(), today=TODAY, base=base).results
    found = [result for result in results if result.rule == "drift" and config in result.config]
    assert len(found) == 1
    return found[0]


def test_it_is_sorted_with_a_figure_a_line(root):
    text = (root / NAME).read_text("utf-8")
    assert [(line["config"], line["profile"], line["metric"]) for line in lines()] == [
        ("encoders/other.yaml", "", "params"),
        ("encoders/small.yaml", "", "params"),
        ("encoders/small.yaml", "big", "layers.window.flops"),
    ]
    assert text.splitlines()[2] == (
        '{"config": "encoders/small.yaml", "profile": "", "metric": "params", "value": 75424, "unit": "params", '
        '"samattn": "0.1.0", "counting": 2},'
    )
    assert text.count("\n") == 5
    assert drift().outcome == "pass"


@pytest.mark.usefixtures("root")
def test_growth_fails_and_says_what_it_is_over():
    deepen(5)
    result = drift()
    assert (result.outcome, result.value, result.compared) == ("error", PARAMS + 12_704, PARAMS)
    assert result.compared_with == "the baseline"
    assert result.causes[0].startswith("blocks.0-4: 12.70 K params each of 88.13 K params")


@pytest.mark.usefixtures("root")
def test_update_lowers_and_does_not_raise():
    before = Path(NAME).read_text("utf-8")
    deepen(5)
    ran = samattn("update")
    assert ran.exit_code == 1
    assert "above" in ran.output
    assert "--accept drift --reason TEXT" in ran.output
    assert Path(NAME).read_text("utf-8") == before
    deepen(3)
    ran = samattn("update")
    assert ran.exit_code == 0
    assert params() == PARAMS - 12_704
    assert "lowered" in ran.output
    deepen(4)
    assert drift().outcome == "error"  # what was won is kept


@pytest.mark.usefixtures("root")
def test_one_that_is_smaller_is_taken_next_to_one_that_is_larger():
    deepen(5)
    deepen(3, "other")
    assert samattn("update").exit_code == 1
    assert (params("small"), params("other")) == (PARAMS, PARAMS - 12_704)


@pytest.mark.usefixtures("root")
def test_raising_needs_its_rule_and_a_reason_which_is_kept():
    deepen(5)
    assert samattn("update", "--accept", "drift").exit_code == 2
    assert samattn("update", "--accept", "drift", "--reason", " ").exit_code == 2
    assert samattn("update", "--reason", "deeper").exit_code == 2
    assert samattn("update", "--accept", "drif", "--reason", "deeper").exit_code == 2
    assert samattn("update", "--accept", "fits", "--reason", "deeper").exit_code == 2
    assert samattn("update", "--accept", "big", "--reason", "deeper").exit_code == 1
    assert params() == PARAMS
    assert samattn("update", "--accept", "drift", "--reason", "deeper").exit_code == 0
    line = next(line for line in lines() if line["value"] == PARAMS + 12_704)
    assert line["accepted"] == {"rule": "drift", "reason": "deeper", "was": PARAMS}
    assert drift().outcome == "pass"
    ran = samattn("update")
    assert "3 figures, 3 unchanged" in ran.output
    assert line in lines()  # the reason stays as long as the figure does
    deepen(4)
    assert samattn("update", "--accept", "drift", "--reason", "less").exit_code == 0
    assert not any("accepted" in line for line in lines())


@pytest.mark.usefixtures("root")
def test_in_ci_it_is_neither_made_nor_raised(monkeypatch):
    monkeypatch.setenv("CI", "true")
    deepen(5)
    assert samattn("update", "--accept", "drift", "--reason", "deeper").exit_code == 2
    assert params() == PARAMS
    deepen(3)
    assert samattn("update").exit_code == 0
    Path(NAME).unlink()
    assert samattn("create").exit_code == 2
    assert not Path(NAME).exists()


@pytest.mark.usefixtures("root")
def test_it_is_made_once_and_updated_where_there_is_one():
    ran = samattn("create")
    assert (ran.exit_code, "samattn baseline update" in ran.output) == (2, True)
    Path(NAME).unlink()
    ran = samattn("update")
    assert (ran.exit_code, "samattn baseline create" in ran.output) == (2, True)
    result = drift()
    assert (result.outcome, result.code) == ("unchecked", "no-baseline")
    assert result.summary.endswith("samattn baseline create")


@pytest.mark.usefixtures("root")
def test_a_subset_never_deletes_and_a_whole_run_does():
    Path("encoders/other.yaml").unlink()
    assert samattn("update", "encoders/small.yaml").exit_code == 0
    assert params("other") == PARAMS
    ran = samattn("update")
    assert [line.split()[1] for line in ran.output.splitlines() if line.startswith("removed")] == [
        "encoders/other.yaml"
    ]
    assert [line["config"] for line in lines()] == ["encoders/small.yaml"] * 2


@pytest.mark.usefixtures("root")
def test_a_config_that_is_new_is_by_the_policy_until_it_is_added():
    write(Path(), {"encoders/new.yaml": SMALL})
    result = drift("new")
    assert (result.outcome, result.code) == ("warn", "new-config")
    assert "samattn baseline update" in result.summary
    assert samattn("update").exit_code == 0
    assert drift("new").outcome == "pass"


@pytest.mark.usefixtures("root")
def test_nothing_is_written_where_a_figure_cannot_be_told():
    before = Path(NAME).read_text("utf-8")
    deepen(3, "other")
    Path("encoders/small.yaml").write_text("[", "utf-8")
    assert samattn("update").exit_code == 2
    assert Path(NAME).read_text("utf-8") == before
    Path("encoders/small.yaml").write_text(SMALL.replace("window_size: 2", "window_size: 0"), "utf-8")
    ran = samattn("update")  # no layer is windowed
    assert (ran.exit_code, "[no-such-layer]" in ran.output) == (2, True)
    assert ran.output.startswith("encoders/small.yaml: ")
    assert Path(NAME).read_text("utf-8") == before


@pytest.mark.usefixtures("root")
def test_a_change_in_how_samattn_counts_is_named_and_never_blamed_on_the_config(monkeypatch):
    monkeypatch.setattr(report, "COUNTING", 3)
    monkeypatch.setattr(study, "COUNTING", 3)
    deepen(5)
    result = drift()
    assert (result.outcome, result.code) == ("unchecked", "counting-changed")
    assert "samattn 0.1.0" in result.summary
    assert "run samattn baseline update" in result.summary


@pytest.mark.usefixtures("root")
def test_a_baseline_of_a_later_samattn_is_for_that_one():
    text = Path(NAME).read_text("utf-8")
    Path(NAME).write_text(text.replace('"counting": 2', '"counting": 9').replace("0.1.0", "9.9.9"), "utf-8")
    result = drift()
    assert (result.outcome, result.code) == ("unchecked", "counting-changed")
    assert all(
        part in result.summary for part in ("samattn 9.9.9", "counting 9", "samattn 0.1.0", "counting 2")
    )
    assert "baseline update" not in result.summary  # would write over what a newer samattn counts


def test_what_was_counted_otherwise_is_taken_anew(root, monkeypatch):
    monkeypatch.chdir(root)
    text = Path(NAME).read_text("utf-8")
    Path(NAME).write_text(text.replace('"counting": 2', '"counting": 1').replace("75424", "70000"), "utf-8")
    new(root, {})
    ran = samattn("update")
    assert ran.exit_code == 0
    assert "recounted" in ran.output
    assert "3 figures, 0 unchanged" in ran.output
    assert Path(NAME).read_text("utf-8") == text
    assert check(load_thresholds(), today=TODAY, base="main").outcome == "pass"


@pytest.mark.parametrize(
    ("old", "new_", "place", "code", "words"),
    [
        ('"value": 75424', '"value": ', "2:79", "not-json", ""),
        ('"value": 75424', '"value": "75424"', "2:1", "damaged-figure", "value '75424'"),
        ('"value": 75424', '"value": NaN', "2:1", "damaged-figure", "value nan"),
        ('"value": 75424', '"value": true', "2:1", "damaged-figure", "value True"),
        ('"value": 75424', '"values": 75424', "2:1", "damaged-figure", "value missing"),
        ('"unit": "params"', '"unit": "FLOP"', "2:1", "damaged-figure", "params 'FLOP'"),
        ('"metric": "params"', '"metric": "parms"', "2:1", "damaged-figure", "metric 'parms'"),
        ('"counting": 2', '"counting": "1"', "2:1", "damaged-figure", "counting '1'"),
        ('"counting": 2', '"counting": 2, "more": 1', "2:1", "damaged-figure", "more"),
        (
            '"counting": 2',
            '"counting": 2, "accepted": {"rule": "drift"}',
            "2:1",
            "damaged-figure",
            "accepted reason",
        ),
        (
            "encoders/other.yaml",
            "encoders/small.yaml",
            "3:1",
            "figure-twice",
            "encoders/small.yaml params",
        ),
        ('{"config"', '<<<<<<< HEAD\n{"config"', "2:1", "not-json", ""),
        ('"kind": "baseline"', '"kind": "recording"', "1:1", "not-a-baseline", ""),
        ('"schema_version": 1', '"schema_version": 9', "1:1", "other-schema-version", "9 1"),
        ('"figures": [', '"figures": 3, "x": [', "1:1", "not-a-baseline", ""),
    ],
)
@pytest.mark.usefixtures("root")
def test_a_damaged_file_is_an_error_at_its_place(old, new_, place, code, words):
    text = Path(NAME).read_text("utf-8")
    assert old in text
    Path(NAME).write_text(text.replace(old, new_, 1), "utf-8")
    with pytest.raises(ConfigError) as caught:
        drift()
    (problem,) = caught.value.problems
    assert (problem.where, caught.value.codes) == (f"{NAME}:{place}", (code,))
    assert all(word in problem.message for word in words.split())
    for command in (["check"], ["baseline", "update"]):
        ran = CliRunner().invoke(app, command)
        assert (ran.exit_code, f"{NAME}:{place}" in ran.output, f"[{code}]" in ran.output) == (2, True, True)


@pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b"{}", b"[" * 5000, b"null"])
@pytest.mark.usefixtures("root")
def test_any_file_at_all_exits_2(content):
    Path(NAME).write_bytes(content)
    ran = CliRunner().invoke(app, ["check"])
    assert (ran.exit_code, NAME in ran.output, "internal" in ran.output) == (2, True, False)


@pytest.mark.usefixtures("root")
def test_what_is_measured_is_not_kept():
    write(Path(), {"samattn.yaml": RULES.replace("metric: params", "metric: measured.peak_memory")})
    assert "[measured-metric]" in samattn("update").output
    assert (drift().outcome, drift().code) == ("unchecked", "not-recorded")


@pytest.mark.usefixtures("root")
def test_without_a_rule_there_is_nothing_to_keep():
    write(
        Path(),
        {"samattn.yaml": "version: 1\nconfigs: [encoders/*]\nrules: [{id: a, metric: params, limit: 1 G}]"},
    )
    ran = samattn("update")
    assert (ran.exit_code, "[no-baseline-rule]" in ran.output) == (2, True)


def test_with_a_base_a_figure_that_was_raised_by_hand_is_a_finding(root):
    new(root, {})
    text = Path(NAME).read_text("utf-8")
    Path(NAME).write_text(text.replace("75424", "88128"), "utf-8")
    deepen(5)
    results = check(load_thresholds(), today=TODAY, base="main").results
    found = [result for result in results if result.rule == "policy.loosened"]
    assert [(result.outcome, str(result.place)) for result in found] == [
        ("error", f"{NAME}:2:1"),
        ("error", f"{NAME}:3:1"),
    ]
    git(root, "checkout", "-q", NAME)
    assert samattn("update", "--accept", "drift", "--reason", "deeper").exit_code == 0
    results = check(load_thresholds(), today=TODAY, base="main").results
    (shown,) = [result for result in results if result.outcome != "pass"]
    assert (shown.rule, shown.config, shown.outcome) == ("drift", "encoders/small.yaml", "waived")
    assert shown.code == "baseline-accepted"
    values = ("params 75.42 K params -> 88.13 K params", "'drift': deeper", "base main")
    assert all(value in shown.summary for value in values)
    commit(root)
    Path(NAME).write_text(Path(NAME).read_text("utf-8").replace("88128", "99999"), "utf-8")
    results = check(load_thresholds(), today=TODAY, base="HEAD").results
    assert [result.rule for result in results if result.outcome == "error"] == ["policy.loosened"]


FORGED = {"rule": "drift", "reason": "deeper", "was": PARAMS}


def loosened() -> list[tuple[str, str]]:
    """The code and the sentence of each finding about the baseline since main."""
    results = check(load_thresholds(), today=TODAY, base="main").results
    return [
        (result.code, result.summary)
        for result in results
        if result.rule == "policy.loosened" and result.outcome == "error"
    ]


def rewrite(config: str, metric: str = "params", **keys: object) -> None:
    """The baseline with other values in the line of a figure."""
    changed = [
        line | keys if (line["config"], line["metric"]) == (config, metric) else line for line in lines()
    ]
    text = ",\n".join(map(json.dumps, changed))
    Path(NAME).write_text(f'{{"kind": "baseline", "schema_version": 1, "figures": [\n{text}\n]}}\n', "utf-8")


@pytest.mark.parametrize(
    ("accepted", "doubts"),
    [
        ({"rule": "no-such-rule", "reason": ".", "was": 1}, ["'no-such-rule'"]),
        (FORGED | {"rule": "fits"}, ["'fits'", "`vs: baseline`"]),
        (FORGED | {"rule": "big"}, ["'big'", "layers.window.flops in big"]),
        (FORGED | {"rule": "others"}, ["'others'", "encoders/small.yaml"]),
        (FORGED | {"was": PARAMS + 1}, ["75,425 params", "75,424 params"]),
        (FORGED, ["226.3 K params", "88.13 K params"]),
    ],
)
def test_a_reason_that_is_forged_lets_no_figure_grow(root, accepted, doubts):
    """Every value is three times as large, and one has a reason that `update` did not write."""
    others = "rules:\n  - {id: others, match: '**/other.yaml', metric: params, vs: baseline, increase: '+0'}"
    write(root, {"samattn.yaml": RULES.replace("rules:", others)})
    new(root, {})
    deepen(5)
    rewrite("encoders/small.yaml", value=3 * PARAMS, accepted=accepted)
    assert drift().outcome == "pass"  # it is what is checked
    ((code, text),) = loosened()
    reason = text.partition("(")[2].partition(")")[0]
    assert code == "baseline-raised"
    assert all(doubt in reason for doubt in doubts)


def test_a_new_figure_is_at_most_the_config_gives(root):
    """A line for a config that is new has no former value, and would leave it room to grow."""
    new(root, {})
    write(root, {"encoders/new.yaml": SMALL})
    assert samattn("update").exit_code == 0
    assert loosened() == []
    rewrite("encoders/new.yaml", value=3 * PARAMS)
    ((code, text),) = loosened()
    assert code == "baseline-too-high"
    assert all(value in text for value in ("params of 226.3 K params", "75.42 K params"))


def test_a_figure_that_is_reported_as_counted_otherwise_is_at_most_the_config_gives(root):
    new(root, {})
    rewrite("encoders/small.yaml", counting=1)
    commit(root)
    rewrite("encoders/small.yaml", counting=2, value=3 * PARAMS)
    assert [code for code, _ in loosened()] == ["baseline-too-high"]


def test_a_baseline_that_is_new_has_no_figure_above_those_of_the_configs(root):
    text = Path(NAME).read_text("utf-8")
    Path(NAME).unlink()
    new(root, {})
    write(root, {NAME: text})
    assert loosened() == []
    rewrite("encoders/small.yaml", "layers.window.flops", value=10**9)
    ((code, text),) = loosened()
    assert (code, "layers.window.flops of 1.00 GFLOP" in text) == ("baseline-too-high", True)


def test_what_is_raised_twice_in_a_change_was_what_it_was_before_the_change(root):
    new(root, {})
    git(root, "checkout", "-q", "-b", "feature")
    for depth in (5, 6):
        deepen(depth)
        assert samattn("update", "--accept", "drift", "--reason", "deeper").exit_code == 0
        commit(root)
    line = next(line for line in lines() if "accepted" in line)
    assert (line["value"], line["accepted"]["was"]) == (PARAMS + 2 * 12_704, PARAMS)
    assert loosened() == []


def test_with_a_base_figures_that_are_new_are_not_a_finding(root):
    Path(NAME).unlink()
    new(root, {})
    for _ in ("a baseline", "a line of it"):
        assert samattn("update" if Path(NAME).exists() else "create").exit_code == 0
        assert not any(
            "baseline" in result.code
            for result in check(load_thresholds(), today=TODAY, base="HEAD").results
            if result.outcome != "pass"
        )
        commit(root)
        write(root, {"encoders/new.yaml": SMALL})


def test_with_a_base_a_figure_that_was_taken_out_by_hand_is_a_finding(root):
    new(root, {})
    kept = [line for line in Path(NAME).read_text("utf-8").splitlines(keepends=True) if "75424" not in line]
    Path(NAME).write_text("".join(kept), "utf-8")
    deepen(5)
    results = check(load_thresholds(), today=TODAY, base="main").results
    found = [result for result in results if result.rule == "policy.loosened"]
    assert [(result.outcome, result.config) for result in found] == [
        ("error", "encoders/other.yaml"),
        ("error", "encoders/small.yaml"),
    ]
    assert (found[0].code, "params 75.42 K params" in found[0].summary) == ("baseline-figure-removed", True)
    Path("encoders/other.yaml").unlink()  # a config that is gone needs none
    results = check(load_thresholds(), today=TODAY, base="main").results
    assert [result.config for result in results if result.rule == "policy.loosened"] == [
        "encoders/small.yaml"
    ]


@pytest.mark.parametrize(
    "names",
    [
        {"metric: params": "metric: totals.params"},
        {"{big": "{large", "profile: big": "profile: large"},
    ],
    ids=["metric", "profile"],
)
@pytest.mark.parametrize("updated", [True, False])
def test_with_a_base_another_name_of_a_metric_or_profile_loses_no_figure(root, names, updated):
    new(root, {})
    text = RULES
    for old, new_ in names.items():
        text = text.replace(old, new_)
    write(root, {"samattn.yaml": text})
    Path("encoders/small.yaml").write_text(SMALL.replace("embed_dim: 32", "embed_dim: 64"), "utf-8")
    if updated:
        samattn("update")
    results = check(load_thresholds(), today=TODAY, base="main").results
    codes = {result.config: result.code for result in results if result.rule == "policy.loosened"}
    assert codes["encoders/small.yaml"] == ("baseline-raised" if updated else "baseline-figure-removed")


@pytest.mark.parametrize(
    ("then", "now"),
    [
        ("metric: totals.params", "metric: params"),
        ("profile: plain, metric: params", "metric: params"),
        ("profile: plain, metric: totals.params", "metric: params"),
    ],
    ids=["metric", "profile", "both"],
)
def test_another_rule_that_is_called_as_one_vs_baseline_now_hides_no_raise(root, then, now):
    """The limit was of the same figure by another name, of which the baseline had none."""
    drift = "  - {id: drift, metric: params, vs: baseline, increase: '+0'}\n"
    cap = f"  - {{id: cap, {then}, limit: 1000000}}\n"
    text = f"version: 1\nconfigs: ['encoders/*.yaml']\nprofiles: {{plain: {{}}}}\nrules:\n{drift}{cap}"
    new(root, {"samattn.yaml": text})
    Path(NAME).unlink()
    samattn("create")
    commit(root)
    write(root, {"samattn.yaml": text.replace(then, now)})
    deepen(5)
    write(root, {NAME: Path(NAME).read_text("utf-8").replace(str(PARAMS), str(PARAMS + 12_704))})
    results = check(load_thresholds(), today=TODAY, base="main").results
    codes = [result.code for result in results if result.outcome == "error"]
    assert codes == ["baseline-raised", "baseline-raised"]  # small, and other: above today's


@pytest.mark.usefixtures("root")
def test_a_byte_order_mark_and_other_ends_of_lines_are_read():
    text = Path(NAME).read_text("utf-8")
    Path(NAME).write_bytes(("\ufeff" + text).replace("\n", "\r\n").encode())
    assert check(load_thresholds(), today=TODAY).outcome == "pass"


def test_figures_of_a_config_that_is_gone_are_by_the_policy(root):
    """Git takes the other one for no new name of it: it is not alike, and the baseline was touched since."""
    new(root, {})
    Path("encoders/small.yaml").rename("encoders/slim.yaml")
    deepen(9, "slim")
    Path(NAME).write_text(Path(NAME).read_text("utf-8") + "\n", "utf-8")
    commit(root)
    for base in (None, "main"):
        results = check(load_thresholds(), today=TODAY, base=base).results
        found = next(result for result in results if result.rule == "policy.removed")
        assert (found.outcome, found.config) == ("error", "encoders/small.yaml")
    assert samattn("update").exit_code == 0
    assert not any(
        result.rule == "policy.removed" for result in check(load_thresholds(), today=TODAY).results
    )


@pytest.mark.parametrize("tracked", [True, False])
def test_a_config_that_was_renamed_is_held_to_its_figures(root, tracked):
    new(root, {})
    Path("encoders/small.yaml").rename("encoders/slim.yaml")
    deepen(5, "slim")
    if tracked:
        commit(root)
    result = drift("slim")
    assert (result.outcome, result.value, result.compared) == ("error", 88_128, PARAMS)
    ran = samattn("update")
    assert ran.exit_code == 1
    assert "above      encoders/slim.yaml  params 75.42 K params -> 88.13 K params" in ran.output
    assert params("slim") == PARAMS
    assert "small" not in Path(NAME).read_text("utf-8")
    deepen(4, "slim")
    git(root, "checkout", "-q", NAME)
    assert drift("slim").outcome == "pass"
    ran = samattn("update", "encoders/slim.yaml")
    assert "renamed    encoders/slim.yaml  params 75.42 K params" in ran.output
    assert [line["config"] for line in lines()] == ["encoders/other.yaml", *["encoders/slim.yaml"] * 2]


@pytest.mark.parametrize("updated", [True, False])
def test_with_a_base_a_grown_config_next_to_a_cheap_one_under_its_name_is_held_to_its_figures(root, updated):
    new(root, {})
    deepen(2)
    deepen(8, "large")
    if updated:
        assert samattn("update").exit_code == 0
        (raised, values), (narrower, configs) = loosened()
        assert (raised, "params 75.42 K params -> 126.2 K params" in values) == ("baseline-raised", True)
        assert (narrower, "'big'" in configs) == ("rule-matches-less", True)  # it matches s*
        assert "encoders/large.yaml" in configs
    else:
        result = drift("large", base="main")
        assert (result.outcome, result.value, result.compared) == ("error", PARAMS + 4 * 12_704, PARAMS)


def test_of_a_baseline_that_is_not_committed_git_tells_no_names(root):
    text = Path(NAME).read_text("utf-8")
    Path(NAME).unlink()
    new(root, {})
    write(root, {NAME: text})
    Path("encoders/small.yaml").rename("encoders/slim.yaml")
    assert drift("slim").code == "new-config"


def test_a_clone_that_is_too_shallow_to_say_what_was_renamed_could_not_be_checked(
    root, tmp_path_factory, monkeypatch
):
    new(root, {})
    git(root, "mv", "encoders/small.yaml", "encoders/slim.yaml")
    commit(root)
    cut = tmp_path_factory.mktemp("clone") / "cut"
    git(root, "clone", "-q", "--depth", "1", f"file://{root}", str(cut))
    monkeypatch.chdir(cut)
    assert drift("other").outcome == "pass"
    result = drift("slim")
    assert (result.outcome, result.code) == ("unchecked", "shallow-clone")
    assert result.summary.endswith("git fetch --unshallow origin")
    ran = samattn("update")
    assert (ran.exit_code, "[shallow-clone]" in ran.output) == (2, True)


def test_with_a_base_what_moved_and_was_raised_by_hand_is_a_finding(root):
    """The folder of the thresholds and a config in it have other names, and the baseline was made anew."""
    Path("team").mkdir()
    for name in ("samattn.yaml", NAME, "encoders"):
        Path(name).rename(Path("team", name))
    new(root, {})
    git(root, "mv", "team", "group")
    git(root, "mv", "group/encoders/small.yaml", "group/encoders/slim.yaml")
    text = SMALL.replace("depth: 4", "depth: 5")
    write(root, {"group/encoders/slim.yaml": text})
    Path("group", NAME).unlink()
    assert samattn("create", "--thresholds", "group/samattn.yaml").exit_code == 0
    commit(root)
    results = check(load_thresholds("group/samattn.yaml"), today=TODAY, base="HEAD~1").results
    found = {result.config: result for result in results if result.outcome != "pass"}
    assert list(found) == ["group/encoders/slim.yaml"]
    (result,) = found.values()
    assert (result.outcome, result.code) == ("error", "baseline-raised")
    assert "params 75.42 K params -> 88.13 K params" in result.summary


def test_a_baseline_that_is_damaged_at_the_base_could_not_be_checked(root):
    text = Path(NAME).read_text("utf-8")
    Path(NAME).write_text(text[:-2], "utf-8")
    new(root, {})
    Path(NAME).write_text(text, "utf-8")
    results = check(load_thresholds(), today=TODAY, base="main").results
    (found,) = [result for result in results if result.outcome != "pass"]
    assert (found.rule, found.outcome, found.code) == ("policy.loosened", "unchecked", "not-json")
    assert f"main:{NAME}:5:2: " in found.summary


def test_with_a_base_growth_is_explained_by_the_key_that_changed(root):
    new(root, {})
    deepen(5)
    result = drift(base="main")
    assert result.causes[0] == "depth: 4 -> 5"
    assert str(result.place) == "encoders/small.yaml:4:1"
