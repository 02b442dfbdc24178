from __future__ import annotations

import json
from datetime import date
from fractions import Fraction
from pathlib import Path

import jsonschema
import pytest

from samattn_cli.errors import ConfigError, UsageError
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


def problems(path: Path, text: str) -> list[str]:
    """What is wrong with a file, without the name of the file."""
    with pytest.raises(ConfigError) as caught:
        thresholds(path, text)
    return [str(problem).replace(str(path / "thresholds.yaml"), "FILE") for problem in caught.value.problems]


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
def test_what_is_no_quantity_is_said(written, message):
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
    ("text", "message"),
    [
        ("", "FILE: is empty: a thresholds file is a mapping, such as 'version: 1'"),
        ("[1]", "FILE:1:1: a thresholds file is a mapping of keys, such as 'version: 1'"),
        (
            f"version: 2\nconfigs: [a.yaml]\nrules: [{{{RULE}}}]",
            "FILE:1:10: version must be 1 (such as 1), not 2",
        ),
        (
            f"version: '1'\nconfigs: [a.yaml]\nrules: [{{{RULE}}}]",
            "FILE:1:10: version must be 1 (such as 1), not '1'",
        ),
        (
            "version: 1\nconfigs: [a.yaml]",
            "FILE:1:1: rules is missing (such as [{id: 'fits', metric: 'peak_memory', limit: '6 GiB'}])",
        ),
        (
            "version: 1\nconfigs: [a.yaml]\nrules: []",
            "FILE:3:8: rules must hold at least 1 (such as [{id: 'fits', metric: 'peak_memory', limit: '6 GiB'}]), not []",
        ),
        (
            f"version: 1\nconfigs: []\nrules: [{{{RULE}}}]",
            "FILE:2:10: configs must hold at least 1 (such as ['encoders/**/*.yaml']), not []",
        ),
        (
            f"version: 1\nconfigs: [/etc/*.yaml]\nrules: [{{{RULE}}}]",
            "FILE:2:11: configs start from the folder of this file: '/etc/*.yaml' does not",
        ),
        (
            f"version: 1\nconfigs: ['[z-a]']\nrules: [{{{RULE}}}]",
            "FILE:2:11: '[z-a]' is not a glob: bad character range z-a",
        ),
        (
            f"{HEAD}rules: [{{{RULE}, match: '[z-a]'}}]",
            "FILE:3:55: '[z-a]' is not a glob: bad character range z-a",
        ),
        (
            f"{HEAD}rules: [{{{RULE}, match: '{'*' * 4097}'}}]",
            f"FILE:3:55: '{'*' * 57}...' is not a glob: it has 4097 characters, and a path has 4096 at most",
        ),
        (
            f"version: 1\nconfigs: [' ']\nrules: [{{{RULE}}}]",
            "FILE:2:11: configs must be globs of files, or presets, such as 'encoders/**/*.yaml'",
        ),
        (
            f"{HEAD}rules: [id, {{{RULE}}}]",
            "FILE:3:9: rules must be a mapping of keys (such as {id: 'fits', metric: 'peak_memory', limit: '6 GiB'}), not 'id'",
        ),
        (
            f"{HEAD}rules: [{{{RULE}}}]\nwaivers: [{{rule: a, config: '[z-a]', upto: 1 FLOP, reason: r, expires: 2027-01-01}}]",
            "FILE:4:29: '[z-a]' is not a glob: bad character range z-a",
        ),
        (
            f"version: 1\nconfigs: [5]\nrules: [{{{RULE}}}]",
            "FILE:2:11: configs must be text (such as 'encoders/**/*.yaml'), not 5",
        ),
        (
            f"version: 1\nconfigs: ['-']\nrules: [{{{RULE}}}]",
            "FILE:2:11: configs must be globs of files, or presets, such as 'encoders/**/*.yaml'",
        ),
        (f"{HEAD}rule: []\nrules: [{{{RULE}}}]", "FILE:3:1: unknown key 'rule'; it belongs in 'waivers:'"),
        (f"{HEAD}polcy: {{}}\nrules: [{{{RULE}}}]", "FILE:3:1: unknown key 'polcy'; did you mean 'policy'?"),
        (
            f"{HEAD}policy: {{removed: eror}}\nrules: [{{{RULE}}}]",
            "FILE:3:19: policy.removed must be 'error', 'warn' or 'ignore', not 'eror'; did you mean 'error'?",
        ),
        (
            f"{HEAD}profiles: {{p: {{dtyp: float16}}}}\nrules: [{{{RULE}}}]",
            "FILE:3:16: unknown key 'profiles.p.dtyp'; did you mean 'dtype'?",
        ),
        (
            f"{HEAD}profiles: {{p: {{dtype: bflot16}}}}\nrules: [{{{RULE}}}]",
            "FILE:3:23: profiles.p.dtype must be 'float32', 'bfloat16' or 'float16', not 'bflot16'; did you mean 'bfloat16'?",
        ),
        (
            f"{HEAD}profiles: {{p: {{device: h10}}}}\nrules: [{{{RULE}}}]",
            "FILE:3:24: there is no file and no device called 'h10'; did you mean 'h100'?",
        ),
        (
            with_rule("id: a, metrc: flops, limit: 1 GFLOP"),
            "FILE:4:3: rules.0.metric is missing (such as 'peak_memory')",
        ),
        (with_rule(f"{RULE}, profile: serve"), "FILE:4:51: there is no profile 'serve'"),
        (
            f"{HEAD}profiles: {{serve: {{}}}}\nrules: [{{{RULE}, profile: sreve}}]",
            "FILE:4:57: there is no profile 'sreve'; did you mean 'serve'?",
        ),
        (
            f"{HEAD}rules: [{{{RULE}}}, {{{RULE}}}]",
            "FILE:3:14: the id 'a' is that of 2 rules: each needs its own",
        ),
        (
            with_rule("id: check.base, metric: flops, limit: 1 GFLOP"),
            "FILE:4:8: the id 'check.base' is taken: reports call other findings so",
        ),
        (
            with_rule("id: policy.new, metric: flops, limit: 1 GFLOP"),
            "FILE:4:8: the id 'policy.new' is taken: reports call other findings so",
        ),
        (with_rule("id: ' ', metric: flops, limit: 1 GFLOP"), "FILE:4:8: rules.0.id ' ': must not be empty"),
        (
            with_rule("id: a, metric: flosp, limit: 1 GFLOP"),
            "FILE:4:19: there is no metric 'flosp'; did you mean 'flops'?",
        ),
        (
            with_rule("id: a, metric: layer.7.flops, limit: 1 GFLOP"),
            "FILE:4:19: there is no metric 'layer.7.flops'; did you mean 'layers'?",
        ),
        (
            with_rule("id: a, metric: measured.power, limit: 1"),
            "FILE:4:19: there is no metric 'measured.power', but measured.peak_bytes and measured.latency_ms",
        ),
        (
            with_rule("id: a, metric: flops"),
            "FILE:4:3: the rule 'a' says nothing: give one of limit, at_least, expect, increase",
        ),
        (
            with_rule(f"{RULE}, expect: 2 GFLOP"),
            "FILE:4:50: the rule 'a' says limit and expect at once: give one of limit, at_least, expect, increase",
        ),
        (
            with_rule("id: a, metric: flops, limit: 6"),
            "FILE:4:33: limit.error 6 has no unit: flops is in FLOP, such as 6 TFLOP",
        ),
        (
            with_rule("id: a, metric: flops, limit: 6 GMAC"),
            "FILE:4:33: limit.error 6 GMAC is not an amount of flops, which is in FLOP, such as 6 TFLOP",
        ),
        (
            with_rule("id: a, metric: peak_memory, at_least: {warn: 6 GFLOP}"),
            "FILE:4:49: at_least.warn 6 GFLOP is not an amount of peak_memory, which is in B, such as 6 GiB (2**30 bytes each) or 6 GB (10**9)",
        ),
        (
            with_rule("id: a, metric: layers.global.count, limit: 6 GB"),
            "FILE:4:47: limit.error 6 GB is not an amount of layers.global.count, which is a share, ratio or count, such as 94.3 %, 1.5x or 28",
        ),
        (
            with_rule("id: a, metric: flops, limit: 5 %"),
            "FILE:4:33: limit.error 5 % is not an amount of flops, which is in FLOP, such as 6 TFLOP",
        ),
        (
            with_rule("id: a, metric: flops, limit: 6 TFLOB"),
            "FILE:4:33: rules.0.limit.error '6 TFLOB': TFLOB is not a unit; did you mean 'TFLOP'?",
        ),
        (
            with_rule("id: a, metric: flops, limit: true"),
            "FILE:4:33: rules.0.limit.error true: must be a number and a unit, such as 6 GiB, 6 TFLOP or +2%",
        ),
        (
            with_rule("id: a, metric: flops, limit: {error: true}"),
            "FILE:4:41: rules.0.limit.error true: must be a number and a unit, such as 6 GiB, 6 TFLOP or +2%",
        ),
        (
            with_rule("id: a, metric: flops, limit: .nan"),
            "FILE:4:33: rules.0.limit.error .nan: must be a number and a unit, such as 6 GiB, 6 TFLOP or +2%",
        ),
        (with_rule("id: a, metric: flops, limit: {}"), "FILE:4:33: limit has neither warn nor error"),
        (
            with_rule("id: a, metric: flops, limit: {warn: 7 GFLOP, error: 6 GFLOP}"),
            "FILE:4:40: limit.warn 7 GFLOP is above limit.error 6 GFLOP: it never warns",
        ),
        (
            with_rule("id: a, metric: flops, at_least: {warn: 5 GFLOP, error: 6 GFLOP}"),
            "FILE:4:43: at_least.warn 5 GFLOP is below at_least.error 6 GFLOP: it never warns",
        ),
        (
            with_rule("id: a, metric: attention_memory_saving_per_head, limit: 94 %"),
            "FILE:4:60: limit is for costs, and more of attention_memory_saving_per_head is better: use at_least or expect",
        ),
        (
            with_rule("id: a, metric: attention_memory_saving_per_head, at_least: 94"),
            "FILE:4:63: at_least.error 94 is more than all: attention_memory_saving_per_head is a share; did you mean '94 %'?",
        ),
        (
            with_rule("id: a, metric: flops, tolerance: 1 %, limit: 1 GFLOP"),
            "FILE:4:37: tolerance goes with expect",
        ),
        (
            with_rule("id: a, metric: flops, expect: 1 GFLOP, tolerance: '+1 %'"),
            "FILE:4:54: tolerance +1 % goes both ways: leave out its sign",
        ),
        (
            with_rule("id: a, metric: flops, expect: 1 GFLOP, tolerance: 1 GB"),
            "FILE:4:54: tolerance 1 GB is not an amount of flops, which is in FLOP, such as 6 TFLOP",
        ),
        (with_rule(f"{RULE}, vs: base"), "FILE:4:46: vs goes with increase"),
        (
            with_rule("id: a, metric: flops, increase: '+1 %'"),
            "FILE:4:36: increase needs 'vs: base' or 'vs: baseline': over what?",
        ),
        (
            with_rule("id: a, metric: flops, vs: bas, increase: '+1 %'"),
            "FILE:4:30: rules.0.vs must be 'base' or 'baseline', not 'bas'; did you mean 'base'?",
        ),
        (
            with_rule("id: a, metric: flops, vs: base, increase: 2 %"),
            "FILE:4:46: increase.error 2 % needs its sign, as text: '+2 %'",
        ),
        (
            with_rule("id: a, metric: flops, vs: base, increase: +0"),
            "FILE:4:46: increase.error 0 needs its sign, as text: '+0'",
        ),
        (
            with_rule("id: a, metric: flops, vs: base, increase: '+2 GB'"),
            "FILE:4:46: increase.error +2 GB is not an amount of flops, which is in FLOP, such as 6 TFLOP",
        ),
        (
            with_rule("id: a, metric: flops, vs: base, increase: '+2'"),
            "FILE:4:46: increase.error +2 has no unit: flops is in FLOP, such as 6 TFLOP",
        ),
        (
            with_rule("id: a, metric: flops, vs: base, increase: {warn: '+3 %', error: '+2 %'}"),
            "FILE:4:53: increase.warn +3 % is above increase.error +2 %: it never warns",
        ),
        (
            with_rule("id: a, metric: flops, vs: base, increase: {error: '+2 %', and_above: 1 %}"),
            "FILE:4:73: increase.and_above 1 % must be an amount without a sign, such as 6 TFLOP",
        ),
        (
            with_rule("id: a, metric: flops, vs: base, increase: {error: '+2 %', and_above: 1}"),
            "FILE:4:73: increase.and_above 1 has no unit: flops is in FLOP, such as 6 TFLOP",
        ),
        (
            with_rule("id: a, metric: flops, vs: base, increase: {and_above: 1 GFLOP}"),
            "FILE:4:46: increase has neither warn nor error",
        ),
    ],
)
def test_what_is_wrong_is_said_at_its_place(tmp_path, text, message):
    found = problems(tmp_path, text)
    assert message in found


@pytest.mark.parametrize(
    ("waiver", "message"),
    [
        (
            "rule: b, config: x, upto: 2 GFLOP, reason: r, expires: 2027-01-31",
            "5:10: there is no rule 'b'",
        ),
        (
            "rule: grwth, config: x, upto: 2 GFLOP, reason: r, expires: 2027-01-31",
            "5:10: there is no rule 'grwth'; did you mean 'growth'?",
        ),
        (
            "rule: growth, config: x, upto: 2 GB, reason: r, expires: 2027-01-31",
            "5:35: upto 2 GB is not an amount of flops, which is in FLOP, such as 6 TFLOP",
        ),
        (
            "rule: growth, config: x, upto: 2, reason: r, expires: 2027-01-31",
            "5:35: upto 2 has no unit: flops is in FLOP, such as 6 TFLOP",
        ),
        (
            "rule: growth, config: x, upto: 2 GFLOP, reason: ' ', expires: 2027-01-31",
            "5:52: waivers.0.reason ' ': must not be empty",
        ),
        (
            "rule: growth, config: x, upto: 2 GFLOP, reason: r, expires: 2027-02-29",
            "5:64: waivers.0.expires '2027-02-29': must be a date, such as 2027-01-31",
        ),
        (
            "rule: growth, config: x, upto: 2 GFLOP, reason: r, expires: tomorrow",
            "5:64: waivers.0.expires 'tomorrow': must be a date, such as 2027-01-31",
        ),
        (
            "rule: growth, config: x, reason: r, expires: 2027-01-31",
            "5:3: waivers.0.upto is missing (such as '3.1 TFLOP')",
        ),
        (
            "rule: growth, config: x, upto: 2 GFLOP, reason: r",
            "5:3: waivers.0.expires is missing (such as '2027-01-31')",
        ),
    ],
)
def test_what_is_wrong_with_a_waiver_is_said_at_its_place(tmp_path, waiver, message):
    rules = "rules: [{id: growth, metric: flops, limit: 1 GFLOP}]"
    assert problems(tmp_path, f"{HEAD}{rules}\nwaivers:\n- {{{waiver}}}") == [f"FILE:{message}"]


def test_every_problem_is_said_at_once(tmp_path):
    found = problems(
        tmp_path, ISSUE.replace("flops", "flop").replace("94.3 %", "94.3 GB").replace("warn,", "wrn,")
    )
    assert [problem.split(":")[1] for problem in found] == ["7", "8", "10"]


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
    with pytest.raises(ConfigError, match=r"samattn.yaml: there is none in .*: name one with --thresholds"):
        load_thresholds()
    with pytest.raises(ConfigError, match=r"^x.yaml: there is no such file: name one with --thresholds$"):
        load_thresholds("x.yaml")
    with pytest.raises(ConfigError, match="is a directory"):
        load_thresholds(tmp_path)


def test_the_schema_takes_the_file_of_the_issue_and_refuses_mistakes():
    schema = json.loads(samattn("schema", "--thresholds").stdout)
    assert schema == json.loads(json.dumps(thresholds_schema()))
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    data = {"version": 1, "configs": ["a"], "rules": [{"id": "a", "metric": "flops", "limit": "6 GB"}]}
    assert validator.is_valid(data)
    assert not validator.is_valid(data | {"polcy": {}})
    assert not validator.is_valid(data | {"version": 2})
