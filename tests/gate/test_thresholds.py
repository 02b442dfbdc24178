from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from fractions import Fraction
from pathlib import Path

import jsonschema
import pytest

from samattn_cli.errors import ConfigError, Problem, UsageError, code_of
from samattn_cli.files.globs import Matcher, matches
from samattn_cli.gate.load_thresholds import FILE, load_thresholds
from samattn_cli.gate.schema import thresholds_schema
from samattn_cli.metric_names import ENCODER, ROOTS, is_gain, path_of, unit_of
from samattn_cli.quantities import quantity
from samattn_cli.reports.analysis import Analysis
from tests.support.running import samattn
from tests.support.thresholds_files import thresholds

HEAD = 'version: 1\nconfigs: ["encoders/**/*.yaml"]\n'
ISSUE = """version: 1
configs: ["encoders/**/*.yaml"]
profiles:
  serve: {image_size: 1024, batch_size: 1, dtype: bfloat16, attention: sdpa, device: a100_80}
rules:
  - {id: fits, profile: serve, metric: peak_memory, limit: {warn: 5.5 GiB, error: 6 GiB}, message: "Ask the vision-perf group"}
  - {id: growth, profile: serve, metric: flops, vs: base, increase: {error: "+2%", and_above: 1 GFLOP}}
  - {id: saving, match: "encoders/sam_*.yaml", metric: attention_memory_saving_per_head, expect: 94.3 %, tolerance: 0.1 %}
  - {id: drift, metric: params, vs: baseline, increase: {error: "+0"}}
policy: {new: warn, removed: error, unmatched: error, loosened: error}
waivers:
  - {rule: growth, config: encoders/vit_h.yaml, upto: 3.1 TFLOP, reason: "global attention for recall", expires: 2027-01-31}
"""


def problems(path: Path, text: str) -> tuple[Problem, ...]:
    """The problems of a file, with places that are a line and a column."""
    with pytest.raises(ConfigError) as caught:
        thresholds(path, text)
    file = str(path / "thresholds.yaml")
    return tuple(
        replace(problem, where=problem.where.removeprefix(file).lstrip(":"))
        for problem in caught.value.problems
    )


def matches_problem(problem: Problem, where: str, code: str, words: tuple[str, ...]) -> bool:
    """Whether a problem has this place and code, and names these names and numbers."""
    return (problem.where, code_of(problem.message)) == (where, code) and all(
        word in problem.message for word in words
    )


def with_rule(rule: str) -> str:
    return f"{HEAD}rules:\n- {{{rule}}}\n"


# -- what a file says ------------------------------------------------------------------------------------------------


def test_the_file_of_the_issue_is_read_as_it_is_meant(tmp_path):
    read = thresholds(tmp_path, ISSUE)
    fits, growth, saving, drift = read.rules
    assert read.profiles["serve"].image_size == (1024, 1024)
    assert (fits.limit.warn.amount, fits.limit.error.amount) == (Fraction(11, 2) * 2**30, 6 * 2**30)
    assert fits.message == "Ask the vision-perf group"
    assert (growth.increase.error.amount, growth.increase.error.unit) == (Fraction(2, 100), "%")
    assert growth.increase.and_above.amount == 10**9
    assert (saving.expect.amount, saving.tolerance.amount) == (Fraction(943, 1000), Fraction(1, 1000))
    assert (drift.vs, drift.increase.error.amount, drift.profile) == ("baseline", 0, "")
    assert (read.policy.new, read.policy.unmatched) == ("warn", "error")
    assert (read.waivers[0].upto.amount, read.waivers[0].expires) == (3_100_000_000_000, date(2027, 1, 31))


def test_a_plain_bound_is_the_error(tmp_path):
    rule = thresholds(tmp_path, with_rule("id: a, metric: params, limit: 640 M")).rules[0]
    assert (rule.limit.error.amount, rule.limit.warn) == (640_000_000, None)


@pytest.mark.parametrize(
    ("written", "amount", "unit"),
    [
        ("6 GiB", 6 * 2**30, "B"),
        ("6 GB", 6 * 10**9, "B"),
        ("6gib", 6 * 2**30, "B"),
        ("1,024 B", 1024, "B"),
        ("3.1 TFLOP", 3_100_000_000_000, "FLOP"),
        ("3 GFLOPs", 3 * 10**9, "FLOP"),
        ("3 GMACs", 3 * 10**9, "MAC"),
        ("80 ms", 80, "ms"),
        ("1.5 s", 1500, "ms"),
        ("2 us", Fraction(2, 1000), "ms"),
        ("640 M", 640_000_000, "params"),
        ("640 Mparams", 640_000_000, "params"),
        ("640 k", 640_000, "params"),
        ("75.42 K params", 75_420, "params"),
        ("3 gflops", 3 * 10**9, "FLOP"),
        ("3 kFLOPs", 3 * 10**3, "FLOP"),
        ("94.3 %", Fraction(943, 1000), "%"),
        ("17.47x", Fraction(1747, 100), "x"),
        ("+2%", Fraction(2, 100), "%"),
        ("-5 %", Fraction(-5, 100), "%"),
        ("\N{MINUS SIGN}5 %", Fraction(-5, 100), "%"),
        ("+0", 0, ""),
        (28, 28, ""),
        (0.1, Fraction(1, 10), ""),
    ],
)
def test_quantities_are_exact_and_keep_their_unit(written, amount, unit):
    found = quantity(written)
    assert (found.amount, found.unit) == (amount, unit)
    assert found.signed == str(written).startswith(("+", "-", "\N{MINUS SIGN}"))


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("six GiB", "must be a number and a unit, such as 6 GiB, 6 TFLOP or +2%"),
        (
            "\N{ARABIC-INDIC DIGIT THREE} GiB",
            "\N{ARABIC-INDIC DIGIT THREE} is not a number: use one such as 6 or 5.5",
        ),
        ("1.2.3 GiB", "1.2.3 is not a number: use one such as 6 or 5.5"),
        ("6 TFLOB", "TFLOB is not a unit; did you mean 'TFLOP'?"),
        ("6 parsecs", "parsecs is not a unit: use one such as GiB, GB, GFLOP, GMAC, ms, params or %"),
        ("1,00 GB", "1,00 is not a number: use one such as 6 or 5.5"),
        ("60 Gb", "Gb is not a unit; did you mean 'GB'?"),  # bits
        ("30 TFLOPS", "TFLOPS is not a unit; did you mean 'TFLOP'?"),  # a second
        ("700 m", "m is not a unit; did you mean 'M'?"),  # thousandths
        ("5 Ms", "Ms is not a unit; did you mean 'ms'?"),
        ("6 GiBs", "GiBs is not a unit; did you mean 'GiB'?"),
    ],
)
def test_what_is_not_a_quantity_is_reported(written, message):
    with pytest.raises(UsageError) as caught:
        quantity(written)
    assert str(caught.value).startswith(message)


def test_metrics_have_the_units_of_their_keys():
    assert {name: unit_of(name) for name in ("flops", "macs", "params", "peak_memory", "latency")} == {
        "flops": "FLOP",
        "macs": "MAC",
        "params": "params",
        "peak_memory": "B",
        "latency": "ms",
    }
    assert unit_of("layers.7.attention_memory_per_head") == "B"
    assert unit_of("layers.7.elementwise_flops") == "FLOP"
    assert unit_of("layers.window.flops_ratio_vs_global") == ""
    assert unit_of("comparison.vs_all_global.peak_bytes_saving") == ""
    assert unit_of("layers.global.count") == ""
    assert (is_gain("attention_memory_saving_per_head"), is_gain("flops")) == (True, False)


def test_the_peak_is_that_of_the_run():
    assert path_of("peak_memory") == "totals.peak_bytes"
    assert path_of("peak_memory", training=True) == "totals.training_bytes"
    assert path_of("layers.7.peak_memory", training=True) == "layers.7.training_bytes"
    assert path_of("parts.neck.peak_memory") == "parts.neck.peak_bytes"
    assert path_of("peak_memory_saving_vs_global", training=True).endswith(".training_bytes_saving")


def test_paths_begin_with_the_keys_of_an_analysis():
    assert set(ROOTS) <= set(Analysis.__dataclass_fields__)
    assert {path.partition(".")[0] for path in ENCODER.values()} <= set(ROOTS)


@pytest.mark.parametrize(
    ("pattern", "path", "matched"),
    [
        ("**", "a/b.yaml", True),
        ("encoders/**/*.yaml", "encoders/a.yaml", True),
        ("encoders/**/*.yaml", "encoders/b/c/a.yaml", True),
        ("encoders/*.yaml", "encoders/b/a.yaml", False),
        ("encoders/sam_*.yaml", "encoders/vit_sam_b.yaml", False),
        ("./encoders/?.yaml", "encoders/a.yaml", True),
        ("encoders/[!a].yaml", "encoders/a.yaml", False),
        ("encoders/[ab].yaml", "encoders/b.yaml", True),
        ("a.yaml", "aXyaml", False),
        ("[b.yaml", "[b.yaml", True),
        ("b]", "b]", True),
        ("a[]b", "a[]b", True),
        ("[a-cx-].yaml", "b.yaml", True),
        ("[a-cx-].yaml", "-.yaml", True),
        ("[a-cx-].yaml", "d.yaml", False),
        ("[^a-c].yaml", "d.yaml", True),
        ("e**h.yaml", "encoders/team/h.yaml", True),
        ("e*h.yaml", "encoders/team/h.yaml", False),
        ("**/**/**/a.yaml", "a.yaml", True),
        ("e/**/*", "e", False),
        ("e/**/*", "e/", True),
        ("?", "/", False),
    ],
)
def test_globs(pattern, path, matched):
    assert matches(pattern, path) == matched


@pytest.mark.parametrize(
    ("pattern", "path", "matched"),
    [
        (
            "e/*a*a*a*a*b",
            "e/" + "a" * 4000,
            False,
        ),  # 19 s of CPU time in a name of 255 letters, when it was a regex
        ("e/" + "*a" * 200 + "*b", "e/" + "a" * 4000, False),
        ("e/" + "*a" * 200 + "*b", "e/" + "a" * 4000 + "b", True),
        ("**a" * 200 + "b", "a/" * 2000, False),
        ("**/a/" * 800, "a/" * 2000 + "b", False),
        ("[" * 4096, "x", False),
    ],
    ids=lambda value: value[:12] if isinstance(value, str) else None,
)
def test_a_glob_takes_one_step_a_character(pattern, path, matched, monkeypatch):
    steps = []
    one = Matcher.after
    monkeypatch.setattr(Matcher, "after", lambda *given: steps.append(given) or one(*given))
    assert matches(pattern, path) == matched
    assert len(steps) <= len(path)


# -- what is wrong with a file ---------------------------------------------------------------------------------------

RULE = "id: a, metric: flops, limit: 1 GFLOP"


@pytest.mark.parametrize(
    ("text", "where", "code", "words"),
    [
        ("", "", "empty-file", ("'version: 1'",)),
        ("[1]", "1:1", "not-a-mapping", ("'version: 1'",)),
        (
            f"version: 2\nconfigs: [a.yaml]\nrules: [{{{RULE}}}]",
            "1:10",
            "unknown-value",
            ("1", "2"),
        ),
        (
            f"version: '1'\nconfigs: [a.yaml]\nrules: [{{{RULE}}}]",
            "1:10",
            "unknown-value",
            ("1", "'1'"),
        ),
        (
            "version: 1\nconfigs: [a.yaml]",
            "1:1",
            "missing-key",
            ("'fits'", "'peak_memory'", "'6 GiB'"),
        ),
        (
            "version: 1\nconfigs: [a.yaml]\nrules: []",
            "3:8",
            "wrong-length",
            ("1", "'fits'", "'peak_memory'", "'6 GiB'"),
        ),
        (
            f"version: 1\nconfigs: []\nrules: [{{{RULE}}}]",
            "2:10",
            "wrong-length",
            ("1", "'encoders/**/*.yaml'"),
        ),
        (
            f"version: 1\nconfigs: [/etc/*.yaml]\nrules: [{{{RULE}}}]",
            "2:11",
            "absolute-path",
            ("'/etc/*.yaml'",),
        ),
        (
            f"version: 1\nconfigs: ['[z-a]']\nrules: [{{{RULE}}}]",
            "2:11",
            "not-a-glob",
            ("'[z-a]'",),
        ),
        (
            f"{HEAD}rules: [{{{RULE}, match: '[z-a]'}}]",
            "3:55",
            "not-a-glob",
            ("'[z-a]'",),
        ),
        (
            f"{HEAD}rules: [{{{RULE}, match: '{'*' * 4097}'}}]",
            "3:55",
            "not-a-glob",
            ("'*********************************************************...'", "4097", "4096"),
        ),
        (
            f"version: 1\nconfigs: [' ']\nrules: [{{{RULE}}}]",
            "2:11",
            "not-a-glob",
            ("'encoders/**/*.yaml'",),
        ),
        (
            f"{HEAD}rules: [id, {{{RULE}}}]",
            "3:9",
            "wrong-type",
            ("'fits'", "'peak_memory'", "'6 GiB'", "'id'"),
        ),
        (
            f"{HEAD}rules: [{{{RULE}}}]\nwaivers: [{{rule: a, config: '[z-a]', upto: 1 FLOP, reason: r, expires: 2027-01-01}}]",
            "4:29",
            "not-a-glob",
            ("'[z-a]'",),
        ),
        (
            f"version: 1\nconfigs: [5]\nrules: [{{{RULE}}}]",
            "2:11",
            "wrong-type",
            ("'encoders/**/*.yaml'", "5"),
        ),
        (
            f"version: 1\nconfigs: ['-']\nrules: [{{{RULE}}}]",
            "2:11",
            "not-a-glob",
            ("'encoders/**/*.yaml'",),
        ),
        (f"{HEAD}rule: []\nrules: [{{{RULE}}}]", "3:1", "unknown-key", ("'rule'", "'waivers:'")),
        (f"{HEAD}polcy: {{}}\nrules: [{{{RULE}}}]", "3:1", "unknown-key", ("'polcy'", "'policy'")),
        (
            f"{HEAD}policy: {{removed: eror}}\nrules: [{{{RULE}}}]",
            "3:19",
            "unknown-value",
            ("policy.removed", "'error'", "'warn'", "'ignore'", "'eror'"),
        ),
        (
            f"{HEAD}profiles: {{p: {{dtyp: float16}}}}\nrules: [{{{RULE}}}]",
            "3:16",
            "unknown-key",
            ("'profiles.p.dtyp'", "'dtype'"),
        ),
        (
            f"{HEAD}profiles: {{p: {{dtype: bflot16}}}}\nrules: [{{{RULE}}}]",
            "3:23",
            "unknown-value",
            ("profiles.p.dtype", "'float32'", "'bfloat16'", "'float16'", "'bflot16'"),
        ),
        (
            f"{HEAD}profiles: {{p: {{device: h10}}}}\nrules: [{{{RULE}}}]",
            "3:24",
            "file-not-found",
            ("'h10'", "'h100'"),
        ),
        (
            with_rule("id: a, metrc: flops, limit: 1 GFLOP"),
            "4:3",
            "missing-key",
            ("0", "'peak_memory'"),
        ),
        (with_rule(f"{RULE}, profile: serve"), "4:51", "unknown-profile", ("'serve'",)),
        (
            f"{HEAD}profiles: {{serve: {{}}}}\nrules: [{{{RULE}, profile: sreve}}]",
            "4:57",
            "unknown-profile",
            ("'sreve'", "'serve'"),
        ),
        (
            f"{HEAD}rules: [{{{RULE}}}, {{{RULE}}}]",
            "3:14",
            "duplicate-rule-id",
            ("'a'", "2"),
        ),
        (
            with_rule("id: check.base, metric: flops, limit: 1 GFLOP"),
            "4:8",
            "reserved-rule-id",
            ("'check.base'",),
        ),
        (
            with_rule("id: policy.new, metric: flops, limit: 1 GFLOP"),
            "4:8",
            "reserved-rule-id",
            ("'policy.new'",),
        ),
        (with_rule("id: ' ', metric: flops, limit: 1 GFLOP"), "4:8", "empty-text", ("0", "' '")),
        (
            with_rule("id: a, metric: flosp, limit: 1 GFLOP"),
            "4:19",
            "unknown-metric",
            ("'flosp'", "'flops'"),
        ),
        (
            with_rule("id: a, metric: layer.7.flops, limit: 1 GFLOP"),
            "4:19",
            "unknown-metric",
            ("'layer.7.flops'", "'layers'"),
        ),
        (
            with_rule("id: a, metric: measured.power, limit: 1"),
            "4:19",
            "unknown-metric",
            ("'measured.power'", "measured.peak_bytes", "measured.latency_ms"),
        ),
        (
            with_rule("id: a, metric: flops"),
            "4:3",
            "not-one-form",
            ("'a'",),
        ),
        (
            with_rule(f"{RULE}, expect: 2 GFLOP"),
            "4:50",
            "not-one-form",
            ("'a'",),
        ),
        (
            with_rule("id: a, metric: flops, limit: 6"),
            "4:33",
            "missing-unit",
            ("limit.error", "6", "6 TFLOP"),
        ),
        (
            with_rule("id: a, metric: flops, limit: 6 GMAC"),
            "4:33",
            "wrong-unit",
            ("limit.error", "6 GMAC", "6 TFLOP"),
        ),
        (
            with_rule("id: a, metric: peak_memory, at_least: {warn: 6 GFLOP}"),
            "4:49",
            "wrong-unit",
            ("at_least.warn", "6 GFLOP", "6 GiB", "2", "30", "6 GB", "10", "9"),
        ),
        (
            with_rule("id: a, metric: layers.global.count, limit: 6 GB"),
            "4:47",
            "wrong-unit",
            ("limit.error", "6 GB", "layers.global.count", "94", "3", "1", "5", "28"),
        ),
        (
            with_rule("id: a, metric: flops, limit: 5 %"),
            "4:33",
            "wrong-unit",
            ("limit.error", "5", "6 TFLOP"),
        ),
        (
            with_rule("id: a, metric: flops, limit: 6 TFLOB"),
            "4:33",
            "unknown-unit",
            ("0", "limit.error", "'6 TFLOB'", "'TFLOP'"),
        ),
        (
            with_rule("id: a, metric: flops, limit: true"),
            "4:33",
            "not-a-quantity",
            ("0", "limit.error", "6 GiB", "6 TFLOP", "2"),
        ),
        (
            with_rule("id: a, metric: flops, limit: {error: true}"),
            "4:41",
            "not-a-quantity",
            ("0", "limit.error", "6 GiB", "6 TFLOP", "2"),
        ),
        (
            with_rule("id: a, metric: flops, limit: .nan"),
            "4:33",
            "not-a-quantity",
            ("0", "limit.error", "6 GiB", "6 TFLOP", "2"),
        ),
        (with_rule("id: a, metric: flops, limit: {}"), "4:33", "missing-key", ()),
        (
            with_rule("id: a, metric: flops, limit: {warn: 7 GFLOP, error: 6 GFLOP}"),
            "4:40",
            "warn-beyond-error",
            ("limit.warn", "7 GFLOP", "limit.error", "6 GFLOP"),
        ),
        (
            with_rule("id: a, metric: flops, at_least: {warn: 5 GFLOP, error: 6 GFLOP}"),
            "4:43",
            "warn-beyond-error",
            ("at_least.warn", "5 GFLOP", "at_least.error", "6 GFLOP"),
        ),
        (
            with_rule("id: a, metric: attention_memory_saving_per_head, limit: 94 %"),
            "4:60",
            "limit-on-gain",
            (),
        ),
        (
            with_rule("id: a, metric: attention_memory_saving_per_head, at_least: 94"),
            "4:63",
            "share-above-one",
            ("at_least.error", "94", "'94 %'"),
        ),
        (
            with_rule("id: a, metric: flops, tolerance: 1 %, limit: 1 GFLOP"),
            "4:37",
            "unused-key",
            (),
        ),
        (
            with_rule("id: a, metric: flops, expect: 1 GFLOP, tolerance: '+1 %'"),
            "4:54",
            "unexpected-sign",
            ("1",),
        ),
        (
            with_rule("id: a, metric: flops, expect: 1 GFLOP, tolerance: 1 GB"),
            "4:54",
            "wrong-unit",
            ("1 GB", "6 TFLOP"),
        ),
        (with_rule(f"{RULE}, vs: base"), "4:46", "unused-key", ()),
        (
            with_rule("id: a, metric: flops, increase: '+1 %'"),
            "4:36",
            "missing-key",
            (),
        ),
        (
            with_rule("id: a, metric: flops, vs: bas, increase: '+1 %'"),
            "4:30",
            "unknown-value",
            ("0", "'base'", "'baseline'", "'bas'"),
        ),
        (
            with_rule("id: a, metric: flops, vs: base, increase: 2 %"),
            "4:46",
            "missing-sign",
            ("increase.error", "2", "'+2 %'"),
        ),
        (
            with_rule("id: a, metric: flops, vs: base, increase: +0"),
            "4:46",
            "missing-sign",
            ("increase.error", "0", "'+0'"),
        ),
        (
            with_rule("id: a, metric: flops, vs: base, increase: '+2 GB'"),
            "4:46",
            "wrong-unit",
            ("increase.error", "2 GB", "6 TFLOP"),
        ),
        (
            with_rule("id: a, metric: flops, vs: base, increase: '+2'"),
            "4:46",
            "missing-unit",
            ("increase.error", "2", "6 TFLOP"),
        ),
        (
            with_rule("id: a, metric: flops, vs: base, increase: {warn: '+3 %', error: '+2 %'}"),
            "4:53",
            "warn-beyond-error",
            ("increase.warn", "3", "increase.error", "2"),
        ),
        (
            with_rule("id: a, metric: flops, vs: base, increase: {error: '+2 %', and_above: 1 %}"),
            "4:73",
            "not-an-amount",
            ("increase.and_above", "1", "6 TFLOP"),
        ),
        (
            with_rule("id: a, metric: flops, vs: base, increase: {error: '+2 %', and_above: 1}"),
            "4:73",
            "missing-unit",
            ("increase.and_above", "1", "6 TFLOP"),
        ),
        (
            with_rule("id: a, metric: flops, vs: base, increase: {and_above: 1 GFLOP}"),
            "4:46",
            "missing-key",
            (),
        ),
    ],
)
def test_every_problem_has_a_place_a_code_and_names(tmp_path, text, where, code, words):
    assert any(matches_problem(problem, where, code, words) for problem in problems(tmp_path, text))


@pytest.mark.parametrize(
    ("waiver", "where", "code", "words"),
    [
        (
            "rule: b, config: x, upto: 2 GFLOP, reason: r, expires: 2027-01-31",
            "5:10",
            "unknown-rule",
            ("'b'",),
        ),
        (
            "rule: grwth, config: x, upto: 2 GFLOP, reason: r, expires: 2027-01-31",
            "5:10",
            "unknown-rule",
            ("'grwth'", "'growth'"),
        ),
        (
            "rule: growth, config: x, upto: 2 GB, reason: r, expires: 2027-01-31",
            "5:35",
            "wrong-unit",
            ("2 GB", "6 TFLOP"),
        ),
        (
            "rule: growth, config: x, upto: 2, reason: r, expires: 2027-01-31",
            "5:35",
            "missing-unit",
            ("2", "6 TFLOP"),
        ),
        (
            "rule: growth, config: x, upto: 2 GFLOP, reason: ' ', expires: 2027-01-31",
            "5:52",
            "empty-text",
            ("0", "' '"),
        ),
        (
            "rule: growth, config: x, upto: 2 GFLOP, reason: r, expires: 2027-02-29",
            "5:64",
            "not-a-date",
            ("0", "'2027-02-29'", "2027", "01", "31"),
        ),
        (
            "rule: growth, config: x, upto: 2 GFLOP, reason: r, expires: tomorrow",
            "5:64",
            "not-a-date",
            ("0", "'tomorrow'", "2027", "01", "31"),
        ),
        (
            "rule: growth, config: x, reason: r, expires: 2027-01-31",
            "5:3",
            "missing-key",
            ("0", "'3.1 TFLOP'"),
        ),
        (
            "rule: growth, config: x, upto: 2 GFLOP, reason: r",
            "5:3",
            "missing-key",
            ("0", "'2027-01-31'"),
        ),
    ],
)
def test_every_problem_of_a_waiver_has_a_place_a_code_and_names(tmp_path, waiver, where, code, words):
    rules = "rules: [{id: growth, metric: flops, limit: 1 GFLOP}]"
    (problem,) = problems(tmp_path, f"{HEAD}{rules}\nwaivers:\n- {{{waiver}}}")
    assert matches_problem(problem, where, code, words)


def test_every_problem_is_reported_at_once(tmp_path):
    text = ISSUE.replace("flops", "flop").replace("94.3 %", "94.3 GB").replace("warn,", "wrn,")
    lines = [problem.where.partition(":")[0] for problem in problems(tmp_path, text)]
    assert lines == ["7", "8", "10"]


# -- where the file is -----------------------------------------------------------------------------------------------


def test_the_file_is_found_upwards(tmp_path, monkeypatch):
    (tmp_path / FILE).write_text(ISSUE, "utf-8")
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    found = load_thresholds()
    assert (found.label, found.folder.resolve()) == (str(Path("..", "..", FILE)), tmp_path.resolve())


def test_a_missing_file_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for reference, where, code in [
        (None, "samattn.yaml", "no-thresholds"),
        ("x.yaml", "x.yaml", "file-not-found"),
        (tmp_path, str(tmp_path), "is-a-directory"),
    ]:
        with pytest.raises(ConfigError, match="--thresholds") as caught:
            load_thresholds(reference)
        assert [(each.where, code_of(each.message)) for each in caught.value.problems] == [(where, code)]


def test_the_schema_takes_the_file_of_the_issue_and_refuses_mistakes():
    schema = json.loads(samattn("schema", "--thresholds").stdout)
    assert schema == json.loads(json.dumps(thresholds_schema()))
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    data = {"version": 1, "configs": ["a"], "rules": [{"id": "a", "metric": "flops", "limit": "6 GB"}]}
    assert validator.is_valid(data)
    assert not validator.is_valid(data | {"polcy": {}})
    assert not validator.is_valid(data | {"version": 2})
