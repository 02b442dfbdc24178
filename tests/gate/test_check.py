from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta, timezone
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from samattn_cli import analyze, load_config, load_device
from samattn_cli.cli.app import app
from samattn_cli.encoder.hash import config_hash
from samattn_cli.errors import ConfigError
from samattn_cli.files.sources import DISK
from samattn_cli.gate.evaluate import number
from samattn_cli.gate.load_thresholds import load_thresholds
from samattn_cli.gate.lookup import MetricError, Reading
from samattn_cli.gate.readings import Encoder
from samattn_cli.gate.recordings import Recordings, alike
from samattn_cli.gate.references import Case
from samattn_cli.gate.run import check
from samattn_cli.reports.recording import Fingerprint, Latency, MeasuredCase, Measurement, Recording
from samattn_cli.reports.text import from_json, to_json
from samattn_cli.studies import passes
from tests.support.running import samattn
from tests.support.sampling import examples
from tests.support.thresholds_files import SMALL, TODAY, checked, folder

FLOPS, PARAMS, PEAK = 2_416_640, 75_424, 383_488
"""Of the small encoder, by `samattn analyze`."""

SAVING = 0.75
"""Four windows of 4 tokens in place of 16: 4 * 4 * 4 scores for 16 * 16."""


def outcome(path: Path, rule: str, **options: object) -> str:
    return one(path, rule, **options).outcome


def one(path: Path, rule: str, **options: object):
    results = checked(path, f"- {{id: a, {rule}}}", **options).results
    assert len(results) == 1, results
    return results[0]


@dataclass(frozen=True)
class Elsewhere:
    """A `Reference`: encoders that are loaded elsewhere; None where there is none."""

    name: str
    load: Callable[[Case], Encoder | None]

    def readings(self, case: Case, metric: str):
        encoder = self.load(case)
        return None if encoder is None else encoder.readings(metric)


def elsewhere(path: Path, *overrides: str, name: str = "base main (1a2b3c4)") -> Elsewhere:
    """The small encoder as it is elsewhere."""
    folder(path, "- {id: a, metric: flops, limit: 1 GFLOP}")
    other = Encoder(load_config(path / "encoders" / "small.yaml", overrides))
    return Elsewhere(name, lambda _: other)


# -- each form of rule, to the last unit -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (f"metric: flops, limit: {FLOPS} FLOP", "pass"),
        (f"metric: flops, limit: {FLOPS - 1} FLOP", "error"),
        (f"metric: flops, limit: {{warn: {FLOPS} FLOP, error: {FLOPS} FLOP}}", "pass"),
        (f"metric: flops, limit: {{warn: {FLOPS - 1} FLOP, error: {FLOPS} FLOP}}", "warn"),
        (f"metric: flops, limit: {{warn: {FLOPS - 2} FLOP, error: {FLOPS - 1} FLOP}}", "error"),
        (f"metric: flops, limit: {{warn: {FLOPS - 1} FLOP}}", "warn"),
        ("metric: flops, limit: 2.41664 MFLOP", "pass"),
        ("metric: macs, limit: 1.20832 MMAC", "pass"),
        (f"metric: params, limit: {PARAMS}", "pass"),
        (f"metric: params, limit: {PARAMS - 1}", "error"),
        ("metric: params, limit: 75.424 K", "pass"),
        (f"metric: peak_memory, limit: {PEAK} B", "pass"),
        ("metric: peak_memory, limit: 374.5 KiB", "pass"),
        ("metric: peak_memory, limit: 374.4 KiB", "error"),
        ("metric: peak_memory, limit: 374.5 KB", "error"),
        (f"metric: flops, at_least: {FLOPS} FLOP", "pass"),
        (f"metric: flops, at_least: {FLOPS + 1} FLOP", "error"),
        (f"metric: flops, at_least: {{warn: {FLOPS + 1} FLOP, error: {FLOPS} FLOP}}", "warn"),
        ("metric: attention_memory_saving_per_head, at_least: 75 %", "pass"),
        ("metric: attention_memory_saving_per_head, at_least: 75.01 %", "error"),
        (f"metric: flops, expect: {FLOPS} FLOP", "pass"),
        (f"metric: flops, expect: {FLOPS + 1} FLOP", "error"),
        (f"metric: flops, expect: {FLOPS - 1} FLOP", "error"),
        (f"metric: flops, expect: {FLOPS + 9} FLOP, tolerance: 9 FLOP", "pass"),
        (f"metric: flops, expect: {FLOPS + 9} FLOP, tolerance: 8 FLOP", "error"),
        (f"metric: flops, expect: {FLOPS - 9} FLOP, tolerance: 8 FLOP", "error"),
        ("metric: params, expect: 75400, tolerance: 0.04 %", "pass"),
        ("metric: params, expect: 75400, tolerance: 0.03 %", "error"),
        ("metric: attention_memory_saving_per_head, expect: 75.1 %, tolerance: 0.1 %", "pass"),
        ("metric: attention_memory_saving_per_head, expect: 75.2 %, tolerance: 0.1 %", "error"),
        ("metric: attention_memory_saving_per_head, expect: 0.75", "pass"),
        ("metric: layers.global.count, expect: 1", "pass"),
        ("metric: layers.global.count, limit: 0", "error"),
        ("metric: layers.window.count, expect: 3", "pass"),
        ("metric: layers.0.windows, expect: 4", "pass"),
        ("metric: layers.0.window_size.1, expect: 2", "pass"),
        ("metric: layers.1.flops, limit: 425984 FLOP", "pass"),
        ("metric: layers.1.flops, limit: 425983 FLOP", "error"),
        ("metric: layers.0.scores_flops_ratio_vs_global, expect: 4x", "pass"),
        ("metric: parts.patch_embed.params, expect: 24608", "pass"),
        ("metric: layers.0.ops.attn.qkv.params, expect: 3168", "pass"),
        ("metric: training.optimizer_bytes, at_least: 1 B", "pass"),
        ("metric: comparison.vs_all_global.flops, at_least: 2416641 FLOP", "pass"),
        ("metric: flops_ratio_vs_global, at_least: 1.04x", "error"),
        ("metric: flops_ratio_vs_global, at_least: 1.03x", "pass"),
    ],
)
def test_a_rule_fails_when_it_should_and_only_then(tmp_path, rule, expected):
    assert outcome(tmp_path, rule) == expected


@pytest.mark.parametrize(
    ("increase", "expected"),
    [
        # blocks 2 was windowed and 1 was global; 24,576 FLOPs are what a global layer has more: 1.0274 % of 2,392,064
        ("'+0'", "error"),
        ("'+24576 FLOP'", "pass"),
        ("'+24575 FLOP'", "error"),
        ("'+1.03 %'", "pass"),
        ("'+1.02 %'", "error"),
        ("{error: '+0', and_above: 24576 FLOP}", "pass"),
        ("{error: '+0', and_above: 24575 FLOP}", "error"),
        ("{error: '+2 %', and_above: 1 FLOP}", "pass"),
        ("{warn: '+1 %', error: '+2 %'}", "warn"),
        ("{warn: '+1 %', error: '+1.02 %'}", "error"),
        ("'-1 %'", "error"),
    ],
)
def test_growth_fails_when_it_should_and_only_then(tmp_path, increase, expected):
    references = {"base": elsewhere(tmp_path, "global_attn_indexes=[]")}
    result = one(tmp_path, f"metric: flops, vs: base, increase: {increase}", references=references)
    assert (result.outcome, result.value, result.compared) == (expected, FLOPS, FLOPS - 24_576)
    assert result.compared_with == "base main (1a2b3c4)"
    beyond = None if expected == "pass" else pytest.approx(result.value - result.limit)
    assert result.excess == beyond


def test_less_and_the_same_pass_and_a_fall_may_be_demanded(tmp_path):
    for overrides, increase, expected in [
        ([], "'+0'", "pass"),
        (["global_attn_indexes=[1, 2]"], "'+0'", "pass"),
        ([], "'-1 FLOP'", "error"),
        (["global_attn_indexes=[1, 2]"], "'-24576 FLOP'", "pass"),
        (["global_attn_indexes=[1, 2]"], "'-24577 FLOP'", "error"),
    ]:
        references = {"baseline": elsewhere(tmp_path, *overrides, name="baseline")}
        rule = f"metric: flops, vs: baseline, increase: {increase}"
        assert outcome(tmp_path, rule, references=references) == expected


def test_of_a_kind_of_layer_the_worst_counts(tmp_path):
    more = "profiles: {wide: {set: {overrides: [{blocks: [2], mlp_ratio: 8.0}]}}}"
    rule = "profile: wide, metric: layers.window.flops"
    most = one(tmp_path, f"{rule}, limit: 1 KFLOP", more=more)
    least = one(tmp_path, f"{rule}, at_least: 1 GFLOP", more=more)
    assert (most.value, least.value) == (663_552, 401_408)  # 2 * 16 tokens * 2 * 32 * 128 more in the MLP
    assert "at blocks.2, over" in most.summary
    assert "at blocks.0 and 1 alike, under" in least.summary
    off = one(tmp_path, f"{rule}, expect: 402 KFLOP, tolerance: 1 %", more=more)
    assert (off.outcome, off.value) == ("error", 663_552)


def test_what_a_failure_says(tmp_path):
    result = one(tmp_path, "metric: peak_memory, limit: {warn: 200 KiB, error: 300 KiB}, message: Ask Ada")
    assert result.summary == "peak_memory is 374.5 KiB, over the limit of 300 KiB by 74.50 KiB (24.83 %)"
    assert (result.unit, result.value, result.limit, result.excess) == ("B", PEAK, 307_200, 76_288)
    assert (result.advice, str(result.rule_place)) == ("Ask Ada", f"{tmp_path / 'samattn.yaml'}:5:3")
    assert result.command == f"samattn analyze {tmp_path / 'encoders' / 'small.yaml'}"


def test_a_sentence_does_not_repeat_the_unit_that_is_the_name_of_the_metric(tmp_path):
    rule = '  - {id: small, match: "sam_vit_b", metric: params, limit: "10 M params"}'
    report = check(folder(tmp_path, rule, configs="[sam_vit_b]"), (), today=TODAY)
    (result,) = report.results
    assert (result.value, result.unit) == (89_670_912, "params")
    assert result.summary == "params is 89.67 M, over the limit of 10 M params by 79.67 M (796.71 %)"


def test_a_preset_in_other_capitals_evades_no_rule(tmp_path):
    rule = '  - {id: small, match: "sam_vit_b", metric: params, limit: "10 M params"}'
    file = folder(tmp_path, rule, configs="[SAM_VIT_B]")
    report = check(file, (), today=TODAY)
    assert [(result.rule, result.config) for result in report.results] == [("small", "sam_vit_b")]


def test_a_count_that_is_off_names_the_layers(tmp_path):
    for kind, causes in [("global", ("blocks.1 (global)",)), ("window", ("blocks.0, 2-3 (window 2x2)",))]:
        assert one(tmp_path, f"metric: layers.{kind}.count, limit: 0").causes == causes


def test_unequal_figures_look_unequal(tmp_path):
    result = one(tmp_path, f"metric: flops, limit: {FLOPS - 1} FLOP")
    assert "flops is 2,416,640 FLOP, over the limit of 2416639 FLOP by 1 FLOP" in result.summary


@pytest.mark.parametrize(
    ("rule", "unit", "summary"),
    [
        ("metric: layers.window.count, limit: 2", "", " is 3, over the limit of 2 by 1 (50.00 %)"),
        ("metric: layers.window.count, limit: 0", "", " is 3, over the limit of 0 by 3"),
        (
            "metric: flops_ratio_vs_global, at_least: 4x",
            "",
            " is 1.031, under the minimum of 4x by 2.969 (74.24 %)",
        ),
        (
            "metric: flops_ratio_vs_global, at_least: {warn: 4x, error: 150 %}",
            "%",
            " is 103.05 %, under the minimum of 150 % by 46.95 points",
        ),
        ("metric: flops, expect: 1 MFLOP, tolerance: 1 %", "FLOP", " is 2.42 MFLOP, not 1 MFLOP within 1 %"),
        ("metric: params, expect: 75424", "params", " is 75.42 K, as expected: 75424 exactly"),
    ],
)
def test_a_figure_is_reported_in_its_unit(tmp_path, rule, unit, summary):
    result = one(tmp_path, rule)
    assert (result.unit, result.summary) == (unit, rule[8:].partition(",")[0] + summary)


@pytest.mark.parametrize(("expected", "limit"), [(1_000_000, 1_010_000), (3_000_000, 2_970_000)])
def test_the_limit_of_what_is_expected_is_the_end_that_is_nearer(tmp_path, expected, limit):
    result = one(tmp_path, f"metric: flops, expect: {expected} FLOP, tolerance: 1 %")
    assert (result.limit, result.excess) == (limit, FLOPS - limit)


def test_a_figure_is_whole_where_it_is():
    assert [repr(number(Fraction(value, 2))) for value in (1, 4)] == ["0.5", "2"]


def test_growth_says_from_what_to_what(tmp_path):
    references = {"base": elsewhere(tmp_path, "global_attn_indexes=[]")}
    rule = "metric: flops, vs: base, increase: {error: '+1 %', and_above: 1 KFLOP}"
    assert one(tmp_path, rule, references=references).summary == (
        "flops grew from 2.39 MFLOP in base main (1a2b3c4) to 2.42 MFLOP (+1.03 %), beyond +1 % and above 1 KFLOP"
    )
    rule = "metric: flops, vs: base, increase: '+2 %'"
    assert one(tmp_path, rule, references=references).summary.endswith(" (+1.03 %), within +2 %")


# -- profiles --------------------------------------------------------------------------------------------------------


def test_a_profile_spreads_a_step_over_gpus(tmp_path):
    config = folder(tmp_path, "- {id: a, metric: flops, limit: 1 TFLOP}").folder / "encoders" / "small.yaml"
    for parallel in ("ddp", "fsdp2"):
        more = f"profiles: {{train: {{mode: training, parallel: {parallel}, gpus: 2, device: a100_80}}}}"
        result = one(tmp_path, "profile: train, metric: allocated_bytes, at_least: 0 B", more=more)
        keys = ["run.mode=training", f"run.parallel={parallel}", "run.gpus=2"]
        totals = analyze(load_config(config, keys), verify=False, device=load_device("a100_80")).totals
        assert (result.outcome, result.value) == ("pass", totals.allocated_bytes)


def test_a_profile_without_the_gpus_that_fsdp_needs_is_not_checked(tmp_path):
    more = "profiles: {train: {mode: training, parallel: zero3}}"
    result = one(tmp_path, "profile: train, metric: flops, at_least: 0 FLOP", more=more)
    assert result.outcome == "unchecked"
    assert "set run.gpus" in result.summary


def test_a_profile_is_laid_over_the_config(tmp_path):
    more = (
        "profiles:\n  serve: {image_size: [128, 64], batch_size: 3, dtype: bfloat16, attention: sdpa}\n"
        "  train: {mode: training, optimizer: sgd, checkpointing: true, autocast: bfloat16}\n"
        "  own: {set: {depth: 2, run.tf32: true}, device: h100}\n"
    )
    config = folder(tmp_path, "- {id: a, metric: flops, limit: 1 TFLOP}").folder / "encoders" / "small.yaml"
    serve = ["image_size=[128, 64]", "run.batch_size=3", "run.dtype=bfloat16", "run.attention=sdpa"]
    train = ["run.mode=training", "run.optimizer=sgd", "run.checkpointing=true", "run.autocast=bfloat16"]
    for profile, overrides, device in [
        ("serve", serve, None),
        ("train", train, None),
        ("own", ["depth=2", "run.tf32=true"], load_device("h100")),
    ]:
        totals = analyze(load_config(config, overrides), verify=False, device=device).totals
        peak = totals.training_bytes if profile == "train" else totals.peak_bytes
        rules = [("flops", totals.flops), ("peak_memory", peak)]
        rules += [("latency", totals.latency_ms)] if device else []
        lines = [
            f"- {{id: {name}, profile: {profile}, metric: {name}, at_least: 0 {'FLOP' if name == 'flops' else 'B' if name == 'peak_memory' else 'ms'}}}"
            for name, _ in rules
        ]
        report = checked(tmp_path, "\n".join(lines), more=more)
        assert [(result.metric, result.value) for result in report.results] == rules


def test_a_profile_that_does_not_fit_a_config_is_reported_at_its_place(tmp_path):
    result = one(
        tmp_path,
        "profile: p, metric: flops, limit: 1 GFLOP",
        more="profiles: {p: {set: {windw_size: 3}}}",
    )
    assert (result.rule, result.profile, result.outcome) == ("config", "p", "unchecked")
    assert result.summary == "cannot be loaded: unknown key 'windw_size'; did you mean 'window_size'?"
    assert str(result.place) == f"{tmp_path / 'samattn.yaml'}:3:34"


# -- what could not be checked ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metric", "limit", "code", "words"),
    [
        ("layers.9.flops", "1 GFLOP", "unknown-metric", "'9' 0 3"),
        ("layers.1.flosp", "1", "unknown-metric", "'flosp' 'flops'"),
        ("parts.neck.params", "1", "unknown-metric", "'neck' patch_embed"),
        ("layers.1", "1", "not-a-number", ""),
        ("totals.peak_at", "1", "not-a-number", ""),
        ("config.run.checkpointing", "1", "not-a-number", ""),
        ("latency", "1 ms", "needs-device", "--device"),
        ("device.spare_bytes", "1 B", "unknown-metric", "'spare_bytes' null"),
    ],
)
def test_a_metric_that_there_is_not_could_not_be_checked(tmp_path, metric, limit, code, words):
    result = one(tmp_path, f"metric: {metric}, limit: {limit}")
    assert (result.outcome, result.code) == ("unchecked", code)
    assert all(word in result.summary for word in [metric, *words.split()])


def test_no_layer_of_a_kind_could_not_be_checked_but_counts_as_none(tmp_path):
    more = "profiles: {p: {set: {global_attn_indexes: []}}}"
    result = one(tmp_path, "profile: p, metric: layers.global.flops, limit: 1 GFLOP", more=more)
    assert (result.outcome, result.code) == ("unchecked", "no-such-layer")
    assert outcome(tmp_path, "profile: p, metric: layers.global.count, expect: 0", more=more) == "pass"


@pytest.mark.parametrize(
    ("window", "number"), [("4", 2), ("5", 2), ("[4, 9]", 2), ("[4, 3]", 1), ("[3, 4]", 1), ("3", 1)]
)
def test_a_window_that_covers_the_grid_counts_as_global(tmp_path, window, number):
    """Block 1 is global and the grid is 4x4: block 2 attends to all of it through a window, too."""
    more = f"profiles: {{p: {{set: {{overrides: [{{blocks: [2], window_size: {window}}}]}}}}}}"
    counted = one(tmp_path, "profile: p, metric: layers.global.count, limit: 1", more=more)
    assert (counted.outcome, counted.value) == ("pass" if number == 1 else "error", number)
    assert (
        outcome(tmp_path, f"profile: p, metric: layers.window.count, expect: {4 - number}", more=more)
        == "pass"
    )
    if number == 2:
        said = f"window {window}x{window}" if len(window) == 1 else "window 4x9"
        assert counted.causes == (f"blocks.1-2 (global, {said})",)


def test_figures_of_a_window_that_covers_the_grid_are_of_both_kinds(tmp_path):
    """So it evades neither what global layers may cost nor what windows are to save."""
    more = "profiles: {p: {set: {overrides: [{blocks: [2], window_size: 4, mlp_ratio: 8.0}]}}}"
    # by hand: 425,984 FLOPs of a global block, and 2 * 16 tokens * 2 * 32 * 128 more in the MLP
    dear = one(tmp_path, "profile: p, metric: layers.global.flops, limit: 425984 FLOP", more=more)
    assert (dear.outcome, dear.value) == ("error", 688_128)
    assert "at blocks.2" in dear.summary
    saved = one(tmp_path, "profile: p, metric: attention_memory_saving_per_head, at_least: 75 %", more=more)
    assert (saved.outcome, saved.value) == ("error", 0)


def test_the_last_stage_of_swin_is_one_window(tmp_path):
    """Swin-T at 224: a grid of 7x7 and windows of 7 in its last two blocks."""
    file = folder(tmp_path, "- {id: a, metric: layers.global.count, expect: 2}", configs="[swin_t]")
    assert check(file, today=TODAY).outcome == "pass"


@pytest.mark.parametrize("value", [math.nan, math.inf, None, True, "12"])
def test_what_is_no_finite_number_could_not_be_checked(tmp_path, monkeypatch, value):
    monkeypatch.setitem(passes.FIGURES, "flops", lambda _: value)
    assert outcome(tmp_path, "metric: flops, limit: 1 GFLOP") == "unchecked"


def test_a_config_that_cannot_be_loaded_could_not_be_checked(tmp_path):
    file = folder(tmp_path, "- {id: a, metric: flops, limit: 1 GFLOP}\n- {id: b, metric: params, limit: 1 M}")
    bad = tmp_path / "encoders" / "bad.yaml"
    bad.write_text("embed_dm: 3\nextends: sam_vit_b\ndepth: 0\n", "utf-8")
    report = check(file, today=TODAY)
    assert [(result.rule, result.outcome) for result in report.results] == [
        ("a", "pass"),
        ("b", "pass"),
        ("config", "unchecked"),
    ]
    said = report.results[-1]
    assert said.code == "unknown-key"
    assert all(part in said.summary for part in ("'embed_dm'", "'embed_dim'", "1 more problem"))
    assert str(said.place) == f"{bad}:1:1"
    (cause,) = said.causes
    assert (cause.startswith(f"{bad}:3:8: depth "), "[out-of-range]" in cause) == (True, True)


def test_a_broken_config_that_no_rule_is_for_could_not_be_checked_either(tmp_path):
    file = folder(
        tmp_path,
        "- {id: a, match: '**/small.yaml', metric: flops, limit: 1 GFLOP}\npolicy: {unmatched: ignore}",
    )
    (tmp_path / "encoders" / "bad.yaml").write_text("[", "utf-8")
    assert check(file, today=TODAY).outcome == "unchecked"


def test_a_glob_and_a_name_that_lead_to_nothing_could_not_be_checked(tmp_path):
    rule = "- {id: a, metric: flops, limit: 1 TFLOP}"
    for name, summary in [
        ("none/*.yaml", "no file matches 'none/*.yaml'"),
        ("none.yaml", "cannot be loaded: "),
        ("**.yaml", "no file matches '**.yaml'"),
    ]:
        configs = f'["encoders/*.yaml", "{name}"]'
        result = check(folder(tmp_path, rule, configs=configs), today=TODAY).results[-1]
        if name != "**.yaml" or result.outcome != "pass":  # Python 3.13 has it match
            assert result.outcome == "unchecked"
            assert result.summary.startswith(summary)


def test_a_name_leads_from_the_folder_of_the_thresholds_alone(tmp_path, monkeypatch):
    (tmp_path / "none.yaml").write_text(SMALL, "utf-8")
    (tmp_path / "team").mkdir()
    monkeypatch.chdir(tmp_path)
    result = check(
        folder(Path("team"), "- {id: a, metric: flops, limit: 1 TFLOP}", configs="[none.yaml]"), today=TODAY
    ).results[0]
    assert (result.outcome, result.config) == ("unchecked", str(Path("team", "none.yaml")))


def test_nothing_to_compare_with_could_not_be_checked(tmp_path):
    remedies = {
        "base": ("no-repository", str(tmp_path)),
        "baseline": ("no-baseline", "samattn baseline create"),
    }
    for vs, (code, remedy) in remedies.items():
        result = one(tmp_path, f"metric: flops, vs: {vs}, increase: '+0'")
        assert (result.outcome, result.code, remedy in result.summary) == ("unchecked", code, True)


def test_a_base_that_has_no_such_figure_could_not_be_checked(tmp_path):
    references = {"base": elsewhere(tmp_path, "global_attn_indexes=[]", name="base main")}
    result = one(tmp_path, "metric: layers.global.flops, vs: base, increase: '+0'", references=references)
    assert (result.outcome, result.code) == ("unchecked", "no-such-layer")
    assert "in base main" in result.summary


@pytest.mark.parametrize(("action", "expected"), [("error", "error"), ("warn", "warn"), ("ignore", "pass")])
def test_what_is_new_is_by_the_policy(tmp_path, action, expected):
    references = {"base": Elsewhere("base main", lambda _: None)}
    more = f"policy: {{new: {action}}}"
    result = one(tmp_path, "metric: flops, vs: base, increase: '+0'", more=more, references=references)
    assert (result.outcome, result.code) == (expected, "new-config")


@pytest.mark.parametrize(
    ("action", "of_rule", "of_waiver"),
    [("error", "unchecked", "error"), ("warn", "warn", "warn"), ("ignore", None, None)],
)
def test_what_matches_nothing_is_by_the_policy(tmp_path, action, of_rule, of_waiver):
    more = (
        "waivers: [{rule: a, config: none.yaml, upto: 1 TFLOP, reason: r, expires: 2099-01-01}]\n"
        f"policy: {{unmatched: {action}}}"
    )
    rules = (
        "- {id: a, metric: flops, limit: 1 GFLOP}\n- {id: b, match: none.yaml, metric: flops, limit: 1 GFLOP}"
    )
    found = [
        (result.outcome, result.code, str(result.place).rpartition("yaml:")[2])
        for result in checked(tmp_path, rules, more=more).results
        if result.rule == "policy.unmatched"
    ]
    assert found == (
        []
        if of_rule is None
        else [
            (of_rule, "unmatched-rule", "7:3"),
            (of_waiver, "unmatched-waiver", "3:11"),
        ]
    )


def test_of_a_config_that_cannot_be_loaded_it_is_not_said_that_no_rule_is_for_it(tmp_path):
    """That a rule would be its remedy is not so."""
    rule = "- {id: a, match: encoders/*, metric: flops, limit: 1 GFLOP}"
    results = checked(tmp_path, rule, str(tmp_path / "none.yaml")).results
    assert [(result.rule, result.outcome) for result in results] == [("config", "unchecked")]


def test_a_config_that_no_rule_is_for_is_by_the_policy(tmp_path):
    file = folder(tmp_path, "- {id: a, match: encoders/small.yaml, metric: flops, limit: 1 GFLOP}")
    (tmp_path / "encoders" / "other.yaml").write_text(SMALL, "utf-8")
    assert [(result.config, result.outcome) for result in check(file, today=TODAY).results[1:]] == [
        (str(tmp_path / "encoders" / "other.yaml"), "unchecked")
    ]


# -- waivers ---------------------------------------------------------------------------------------------------------


def waived(path: Path, rule: str, upto: str, *, config: str = "encoders/*.yaml", expires: date = TODAY):
    waiver = f"waivers: [{{rule: a, config: '{config}', upto: {upto}, reason: for now, expires: {expires}}}]"
    return one(path, rule, more=waiver + "\npolicy: {unmatched: ignore}")


@pytest.mark.parametrize(
    ("rule", "upto", "expected"),
    [
        ("metric: flops, limit: 1 MFLOP", f"{FLOPS} FLOP", "waived"),
        ("metric: flops, limit: 1 MFLOP", f"{FLOPS - 1} FLOP", "error"),
        ("metric: flops, limit: {warn: 1 MFLOP}", f"{FLOPS} FLOP", "waived"),
        ("metric: flops, limit: 1 GFLOP", "2 GFLOP", "pass"),
        ("metric: flops, at_least: 3 MFLOP", f"{FLOPS} FLOP", "waived"),
        ("metric: flops, at_least: 3 MFLOP", f"{FLOPS + 1} FLOP", "error"),
        ("metric: flops, expect: 1 MFLOP", f"{FLOPS} FLOP", "waived"),
        ("metric: flops, expect: 1 MFLOP", f"{FLOPS - 1} FLOP", "error"),
        ("metric: flops, expect: 3 MFLOP", f"{FLOPS} FLOP", "waived"),
        ("metric: flops, expect: 3 MFLOP", f"{FLOPS + 1} FLOP", "error"),
        ("metric: flops, expect: 3 MFLOP", "4 MFLOP", "error"),
        ("metric: flops, expect: 1 MFLOP", "1 KFLOP", "error"),
    ],
)
def test_a_waiver_holds_up_to_its_value(tmp_path, rule, upto, expected):
    result = waived(tmp_path, rule, upto)
    assert result.outcome == expected
    if expected == "waived":
        assert result.summary.endswith(f"; waived up to {upto} until 2026-11-22 (UTC): for now")
    if expected == "error":
        assert result.summary.endswith(f"; beyond its waiver up to {upto}")


def test_a_waiver_is_of_its_rule_alone(tmp_path):
    rules = "- {id: a, metric: flops, limit: 1 MFLOP}\n- {id: b, metric: flops, limit: 1 MFLOP}"
    more = "waivers: [{rule: a, config: '**', upto: 1 GFLOP, reason: for now, expires: 2099-01-01}]"
    assert [result.outcome for result in checked(tmp_path, rules, more=more).results] == ["waived", "error"]


def test_any_waiver_that_holds_is_enough_and_of_those_that_do_not_all_are_reported(tmp_path):
    waiver = "{{rule: {}, config: '**', upto: {} FLOP, reason: for now, expires: {}}}"
    other, late, low = (
        waiver.format(*each) for each in [("b", FLOPS, TODAY), ("a", FLOPS, "2026-01-01"), ("a", 9, TODAY)]
    )
    rules = "- {id: a, metric: flops, limit: 1 MFLOP}\n- {id: b, metric: flops, limit: 1 GFLOP}"
    for waivers, outcome_, said in [
        ([other, late, low, waiver.format("a", FLOPS, TODAY)], "waived", "; waived up to"),
        (
            [other, late, low],
            "error",
            "; its waiver expired on 2026-01-01 (UTC); beyond its waiver up to 9 FLOP",
        ),
    ]:
        result = checked(tmp_path, rules, more=f"waivers: [{', '.join(waivers)}]").results[0]
        assert (result.outcome, said in result.summary) == (outcome_, True)


def test_a_waiver_holds_on_its_last_day_and_not_after(tmp_path):
    rule = "metric: flops, limit: 1 MFLOP"
    assert waived(tmp_path, rule, "1 GFLOP", expires=TODAY).outcome == "waived"
    late = waived(tmp_path, rule, "1 GFLOP", expires=TODAY - timedelta(days=1))
    assert late.outcome == "error"
    assert late.summary.endswith("; its waiver expired on 2026-11-21 (UTC)")


@pytest.mark.parametrize(
    "zone", ["AHEAD-14", "BEHIND+12"]
)  # at any time the day is another than in UTC in one of them
def test_a_waiver_ends_with_the_same_day_in_all_time_zones(tmp_path, monkeypatch, zone):
    today = datetime.now(timezone.utc).date()
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    for expires, code, said in (
        (today, 0, f"waived up to 1 GFLOP until {today} (UTC)"),
        (today - timedelta(days=1), 1, f"its waiver expired on {today - timedelta(days=1)} (UTC)"),
    ):
        waiver = f"{{rule: a, config: '**', upto: 1 GFLOP, reason: r, expires: {expires}}}"
        folder(tmp_path, "- {id: a, metric: flops, limit: 1 MFLOP}", more=f"waivers: [{waiver}]")
        ran = CliRunner().invoke(app, ["check", "--thresholds", str(tmp_path / "samattn.yaml")])
        assert ran.exit_code == code
        assert said in " ".join(ran.output.split())


@pytest.fixture(autouse=True)
def time_zone():
    """As it was, after each test."""
    yield
    time.tzset()


def test_a_waiver_is_of_its_config_and_of_no_rule_that_could_not_be_checked(tmp_path):
    rule = "metric: flops, limit: 1 MFLOP"
    assert waived(tmp_path, rule, "1 GFLOP", config="encoders/big.yaml").outcome == "error"
    assert waived(tmp_path, "metric: layers.9.flops, limit: 1 FLOP", "1 GFLOP").outcome == "unchecked"


# -- what was measured -----------------------------------------------------------------------------------------------

LATENCY = Latency(median_ms=12.0, low_ms=11.0, high_ms=13.0, repeats=10)
H100 = Fingerprint(
    device="NVIDIA H100 80GB HBM3",
    kind="cuda",
    total_bytes=load_device("h100").memory_bytes,
    compute_capability="9.0",
    driver="550",
    cuda="12.8",
    cudnn="9",
    torch="2.13.0",
    allocator="native",
    allocation_bytes=512,
    samattn="0.1.0",
    python="3.11.7",
    platform="Linux",
    settings=(),
)


def recorded(path: Path, *overrides: str, made_by: Fingerprint = H100, name: str = "one") -> Path:
    """A recording of the small encoder, in a file."""
    folder(path, "- {id: a, metric: flops, limit: 1 GFLOP}")
    config = load_config(path / "encoders" / "small.yaml", overrides)
    measured = Measurement(
        baseline_bytes=1,
        peak_allocated_bytes=1_000_100,
        peak_reserved_bytes=None,
        peak_requested_bytes=1,
        workspace_bytes=100,
        attention_kernels=(),
        latency=LATENCY,
        layers=(),
    )
    case = MeasuredCase(
        status="measured",
        measured=measured,
        config=config,
        config_hash=config_hash(config),
        predicted_bytes=None,
        measured_at="2026-11-22",
    )
    file = path / f"{name}.json"
    file.write_text(to_json(Recording(fingerprint=made_by, cases=(case,))), "utf-8")
    return file


def test_a_measured_figure_is_that_of_the_recording(tmp_path):
    recordings = Recordings((recorded(tmp_path),))
    for rule, expected in [
        ("metric: measured.peak_memory, limit: 1 MB", "pass"),  # without the cuBLAS workspace
        ("metric: measured.peak_memory, limit: 999999 B", "error"),
        ("metric: measured.latency, limit: 12 ms", "pass"),
        ("metric: measured.latency, limit: 11.9 ms", "error"),
    ]:
        assert outcome(tmp_path, rule, recordings=recordings) == expected


def test_recordings_of_other_hardware_or_software_are_incomparable(tmp_path):
    other = replace(H100, driver="560")
    recordings = Recordings((recorded(tmp_path), recorded(tmp_path, made_by=other, name="two")))
    result = one(tmp_path, "metric: measured.latency, limit: 1 s", recordings=recordings)
    assert (result.outcome, result.code) == ("unchecked", "recordings-differ")
    assert "driver '560' there, '550' here" in result.summary


def test_a_recording_of_another_device_than_the_profiles_is_incomparable(tmp_path):
    recordings = Recordings((recorded(tmp_path),))
    rule = "profile: p, metric: measured.latency, limit: 1 s"
    assert outcome(tmp_path, rule, more="profiles: {p: {device: h100}}", recordings=recordings) == "pass"
    result = one(tmp_path, rule, more="profiles: {p: {device: a100_80}}", recordings=recordings)
    assert (result.outcome, result.code) == ("unchecked", "recordings-differ")
    assert all(name in result.summary for name in ("NVIDIA H100 80GB HBM3", "a100_80"))


def test_without_a_recording_nothing_could_be_checked(tmp_path):
    for recordings in (Recordings(), Recordings((recorded(tmp_path, "run.batch_size=2"),))):
        result = one(tmp_path, "metric: measured.latency, limit: 1 s", recordings=recordings)
        assert (result.outcome, result.code) == ("unchecked", "not-recorded")


@pytest.mark.parametrize(("driver", "expected"), [("550", "pass"), ("560", "unchecked")])
def test_growth_of_what_was_measured_is_by_recordings_alike(tmp_path, driver, expected):
    here = recorded(tmp_path)
    there = recorded(tmp_path, "run.batch_size=2", made_by=replace(H100, driver=driver), name="two")
    base = load_config(tmp_path / "encoders" / "small.yaml", "run.batch_size=2")
    references = {"base": Elsewhere("base main", lambda _: Encoder(base, None, Recordings((there,))))}
    rule = "metric: measured.latency, vs: base, increase: '+0'"
    result = one(tmp_path, rule, recordings=Recordings((here,)), references=references)
    assert result.outcome == expected
    if expected == "unchecked":
        assert (result.code, "driver" in result.summary) == ("recordings-differ", True)


def test_what_was_measured_is_incomparable_with_what_was_not():
    measured, derived = (Reading(1, made_by=H100),), (Reading(1),)
    for here, there in [(measured, derived), (derived, measured)]:
        with pytest.raises(MetricError) as caught:
            alike(here, there)
        assert caught.value.codes == ("recordings-differ",)


def test_a_damaged_recording_could_not_be_checked(tmp_path):
    (tmp_path / "bad.json").write_text("{", "utf-8")
    rule = "metric: measured.latency, limit: 1 s"
    assert outcome(tmp_path, rule, recordings=Recordings((tmp_path / "bad.json",))) == "unchecked"


# -- figures ---------------------------------------------------------------------------------------------------------


def test_every_figure_alone_is_that_of_the_whole_analysis():
    for name, overrides in [("swin_t", []), ("sam_vit_b", ["run.mode=training", "run.batch_size=2"])]:
        config, device = load_config(name, overrides), load_device("h100")
        data = json.loads(to_json(analyze(config, device=device, verify=False)))
        encoder = Encoder(config, device)
        paths = [
            path for path in _numbers(data) if path.partition(".")[0] in {"totals", "comparison", "training"}
        ]
        paths += list(_numbers(data["layers"][5], "layers.5"))
        paths += list(_numbers(data["parts"][0], f"parts.{data['parts'][0]['name']}"))
        assert len(paths) > 100
        for path in paths:
            assert [reading.value for reading in encoder.readings(path)] == [_at(data, path)], path


def _numbers(data, prefix=""):
    """The paths of the numbers of JSON."""
    entries = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in entries:
        path = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield path
        yield from _numbers(value, path)


def _at(data, path):
    for key in path.split("."):
        if isinstance(data, list):
            named = [item for item in data if item.get("name") == key] if isinstance(data[0], dict) else []
            data = named[0] if named else data[int(key)]
        else:
            data = data[key]
    return data


def test_a_rule_on_flops_runs_no_training_step(tmp_path, monkeypatch):
    def broken(*_, **__):
        raise AssertionError("a training step was run")

    monkeypatch.setattr(passes, "training_step", broken)
    metrics = (
        "flops",
        "layers.1.flops",
        "layers.window.flops",
        "parts.patch_embed.flops",
        "comparison.vs_all_global.flops",
    )
    rules = "\n".join(
        f"- {{id: r{index}, metric: {metric}, limit: 1 GFLOP}}" for index, metric in enumerate(metrics)
    )
    assert checked(tmp_path, rules).outcome == "pass"
    with pytest.raises(AssertionError, match="training step"):
        checked(tmp_path, "- {id: a, metric: training_memory, limit: 1 GB}")


def test_the_names_of_a_layers_figures(tmp_path):
    folder(tmp_path, "- {id: a, metric: flops, limit: 1 GFLOP}")
    encoder = Encoder(load_config(tmp_path / "encoders" / "small.yaml"))
    assert encoder.readings("layers.0.attention_memory_saving_vs_global")[0].value == SAVING
    assert encoder.readings("layers.window.flops_ratio_vs_global")[0].value == 425_984 / 401_408
    with pytest.raises(MetricError, match=r"'layers\.middle\.flops'.* \[unknown-metric\]"):
        encoder.readings("layers.middle.flops")


# -- the command -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "fail_on", "code"),
    [
        ("metric: flops, limit: 1 GFLOP", "error", 0),
        ("metric: flops, limit: {warn: 1 MFLOP}", "error", 0),
        ("metric: flops, limit: {warn: 1 MFLOP}", "warn", 1),
        ("metric: flops, limit: 1 MFLOP", "error", 1),
        ("metric: flops, limit: 1 MFLOP", "warn", 1),
        ("metric: flops, limit: 1 MFLOP", "never", 0),
        ("metric: layers.9.flops, limit: 1 MFLOP", "error", 2),
        ("metric: layers.9.flops, limit: 1 MFLOP", "never", 2),
        ("metric: flops, limit: 1 MFLOP}\n- {id: b, metric: latency, limit: 1 ms", "error", 2),
        ("metric: flops, limit: 1 GB", "never", 2),
    ],
)
def test_exit_codes(tmp_path, monkeypatch, rule, fail_on, code):
    monkeypatch.chdir(tmp_path)
    try:
        folder(tmp_path, f"- {{id: a, {rule}}}")
    except ConfigError:
        assert code == 2
    result = CliRunner().invoke(app, ["check", "--fail-on", fail_on])
    assert result.exit_code == code


def test_an_internal_error_is_neither_1_nor_0(tmp_path, monkeypatch):
    folder(tmp_path, "- {id: a, metric: flops, limit: 1 GFLOP}")
    monkeypatch.chdir(tmp_path)

    def broken(*_, **__):
        raise RuntimeError("oops")

    monkeypatch.setattr(Encoder, "readings", broken)
    result = CliRunner().invoke(app, ["check", "--fail-on", "never"])
    assert (result.exit_code, "internal error: RuntimeError: oops" in result.stderr) == (2, True)


def test_configs_may_be_named_and_reports_are_written_on_failure(tmp_path):
    folder(tmp_path, "- {id: a, match: 'encoders/*.yaml', metric: flops, limit: 1 MFLOP}")
    (tmp_path / "encoders" / "other.yaml").write_text(SMALL, "utf-8")
    result = samattn("check", "small.yaml", "-o", "../r.json", "-o", "../r.md", cwd=tmp_path / "encoders")
    assert (result.returncode, result.stdout) == (1, "")
    data = json.loads((tmp_path / "r.json").read_text("utf-8"))
    assert (data["kind"], data["configs"]) == ("check", ["small.yaml"])
    assert [(entry["rule"], entry["config"], entry["outcome"]) for entry in data["results"]] == [
        ("a", "small.yaml", "error")
    ]
    assert "over the limit" in (tmp_path / "r.md").read_text("utf-8")
    assert from_json((tmp_path / "r.json").read_text("utf-8")).outcome == "error"
    assert samattn("check", "-", cwd=tmp_path).returncode == 2
    assert samattn("check", "nothing.yaml", cwd=tmp_path).returncode == 2
    assert samattn("check", "sam_vit_b", cwd=tmp_path).returncode == 2  # no rule is for it


def test_check_imports_neither_torch_nor_numpy(tmp_path):
    folder(
        tmp_path,
        "- {id: a, metric: peak_memory, limit: 1 GiB}\n- {id: b, metric: layers.0.flops, limit: 1 GFLOP}",
    )
    code = (
        "import os, sys; sys.argv = ['samattn', 'check']; leave = os._exit\n"
        "heavy = ['torch', 'numpy', 'fvcore', 'sympy', 'pydantic.main']\n"
        "os._exit = lambda code: (print('HEAVY', code, [n for n in heavy if n in sys.modules], flush=True), leave(code))\n"
        "from samattn_cli.cli import run; run()"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert result.stdout.endswith("HEAVY 0 []\n")


# -- any file at all -------------------------------------------------------------------------------------------------

WORDS = [
    *("1", "0", "-1", "1.5", "1e999", ".nan", "'+2%'", "+0", "1 GiB", "1 GB", "6 TFLOP", "-6 TFLOP", "94.3 %", "80 ms", "1 M"),
    *("flops", "params", "peak_memory", "latency", "layers.1.flops", "layers.window.count", "layers.x.y", "totals.peak_at"),
    *("measured.latency", "attention_memory_saving_per_head", "training.flops", "device.fits", "config.name", "layers.0.grid.9"),
    *("base", "baseline", "error", "warn", "ignore", "serve", "'**'", "none.yaml", "'['", "'[!]'", "''", "~", "true", "[]", "{}"),
    *("{error: 1 GB}", "{warn: '+1%'}", "2020-01-01", "2099-13-01", "'\\0'", "&a [*a]", "!!int 3", "encoders/bad.yaml"),
]  # fmt: skip
LINES = """version: 1
configs:
- encoders/*.yaml
profiles:
  serve:
    batch_size: 2
    device: h100
policy:
  unmatched: error
rules:
- id: a
  metric: flops
  limit: 1 GFLOP
- id: b
  metric: params
  profile: serve
  expect: 75424
  tolerance: 1 %
- id: c
  match: encoders/*.yaml
  metric: attention_memory_saving_per_head
  at_least: 10 %
- id: d
  metric: latency
  profile: serve
  limit: {warn: 1 us, error: 1 s}
waivers:
- rule: a
  config: '**'
  upto: 2 GFLOP
  reason: for now
  expires: 2099-01-01
""".splitlines()  # fmt: skip


@st.composite
def mutated(draw):
    lines = list(LINES)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(lines) - 1))
        key, colon, _ = lines[at].partition(": ")
        how = draw(st.sampled_from(["value", "value", "value", "drop", "double", "key", "bytes"]))
        if how == "value":
            lines[at] = f"{key}{colon or ' '}{draw(st.sampled_from(WORDS))}"
        elif how == "drop" and len(lines) > 1:
            del lines[at]
        elif how == "double":
            lines.insert(at, lines[at])
        elif how == "key":
            lines[at] = draw(st.sampled_from(["  limit: 1 GB", "  vs: base", "  increase: '+1 %'", "  profile: x", "- id: z"]))  # fmt: skip
        else:
            lines[at] += draw(st.text(max_size=3))
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory):
    path = tmp_path_factory.mktemp("fuzz")
    (path / "encoders").mkdir()
    (path / "encoders" / "small.yaml").write_text(SMALL, "utf-8")
    return path


@settings(
    max_examples=examples(150), derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
@given(mutated(), st.booleans())
def test_any_thresholds_file_gets_an_answer_and_never_0_on_what_could_not_be_checked(fuzzed, text, broken):
    file, bad = fuzzed / "samattn.yaml", fuzzed / "encoders" / "bad.yaml"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    bad.write_text("embed_dim: x\n", "utf-8") if broken else bad.unlink(missing_ok=True)
    result = CliRunner().invoke(app, ["check", "--thresholds", str(file), "--format", "json"])
    assert result.exit_code in {0, 1, 2}
    assert "internal error" not in result.stderr
    assert "Traceback" not in result.stderr
    if result.exit_code == 0:
        assert_all_was_checked(file, json.loads(result.stdout))


def assert_all_was_checked(file, data):
    rules = load_thresholds(file).thresholds.rules
    assert data["results"]
    assert not {"error", "unchecked"} & {entry["outcome"] for entry in data["results"]}
    checked_rules = {entry["rule"] for entry in data["results"] if entry["value"] is not None}
    unmatched = {
        entry["rule_place"]["line"] for entry in data["results"] if entry["rule"] == "policy.unmatched"
    }
    assert all(rule.id in checked_rules for rule in rules) or unmatched or "ignore" in file.read_text("utf-8")
    configs = {entry["config"] for entry in data["results"]}
    assert all(str(path) in configs for path in map(Path, data["configs"]))
    if (file.parent / "encoders" / "bad.yaml").is_file():
        assert str(file.parent / "encoders" / "bad.yaml") not in data["configs"]


def test_a_config_that_is_a_link_to_nothing_could_not_be_checked(tmp_path):
    folder(tmp_path, "- {id: a, metric: flops, limit: 1 GFLOP}")
    for name, target in (("dangling", "nothing.yaml"), ("loop", "loop.yaml")):
        (tmp_path / f"encoders/{name}.yaml").symlink_to(target)
    results = check(load_thresholds(tmp_path / "samattn.yaml"), today=TODAY).results
    found = [Path(result.config).name for result in results if result.outcome == "unchecked"]
    assert found == ["dangling.yaml", "loop.yaml"]


def test_configs_through_a_link_to_a_folder_are_found_and_a_loop_of_links_ends(tmp_path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/h.yaml").write_text("extends: sam_vit_b\n", "utf-8")
    (tmp_path / "encoders").mkdir()
    (tmp_path / "encoders/ext").symlink_to("../elsewhere")
    (tmp_path / "elsewhere/again").symlink_to("../encoders")
    found = [path.relative_to(tmp_path).as_posix() for path in DISK.glob(tmp_path, "encoders/**/*.yaml")]
    assert found == ["encoders/ext/h.yaml"]
    assert DISK.glob(tmp_path, "encoders/*.yaml") == []
    (tmp_path / "encoders/aaa").mkdir()
    (tmp_path / "encoders/aaa/zzz").symlink_to("../prod")
    (tmp_path / "encoders/prod").mkdir()
    (tmp_path / "encoders/prod/h.yaml").touch()
    found = DISK.glob(tmp_path, "encoders/**/*.yaml")
    assert tmp_path / "encoders/prod/h.yaml" in found  # by its own name, whichever link was added
    assert len(found) == 2


def test_an_excess_of_next_to_nothing_is_not_said_to_be_none(tmp_path):
    assert "by 1 FLOP (<0.01 %)" in one(tmp_path, f"metric: flops, limit: {FLOPS - 1} FLOP").summary
