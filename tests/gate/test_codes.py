"""What could not be checked, and what no rule says, has a code, which every format shows; the verdict of a rule has none."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from samattn_cli.gate.formats import CHECKS
from samattn_cli.render import TEXTS, render
from samattn_cli.render.options import Options
from samattn_cli.reports.text import from_json, to_json
from tests.support.running import ROOT
from tests.support.thresholds_files import checked

LIMIT = "- {id: a, metric: flops, limit: 1 TFLOP}"
WAIVER = "waivers: [{rule: a, config: none.yaml, upto: 1 TFLOP, reason: r, expires: 2099-01-01}]"
ERRORS = {"SamattnError", "UsageError", "GitError", "MetricError", "OutputError", "OutsideError"}


@pytest.mark.parametrize(
    ("rules", "configs", "more", "code"),
    [
        ("- {id: a, metric: layers.9.flops, limit: 1 GFLOP}", (), "", "unknown-metric"),
        ("- {id: a, metric: latency, limit: 1 ms}", (), "", "needs-device"),
        ("- {id: a, metric: measured.latency, limit: 1 ms}", (), "", "not-recorded"),
        ("- {id: a, metric: flops, vs: base, increase: '+0'}", (), "", "no-repository"),
        ("- {id: a, metric: flops, vs: baseline, increase: '+0'}", (), "", "no-baseline"),
        (LIMIT, ("none.yaml",), "", "file-not-found"),
        (LIMIT, (), "profiles: {p: {}}", ""),
        (f"{LIMIT}\n- {{id: b, match: none, metric: flops, limit: 1 TFLOP}}", (), "", "unmatched-rule"),
        (LIMIT, (), WAIVER, "unmatched-waiver"),
    ],
)
def test_every_format_shows_the_code(tmp_path, rules, configs, more, code):
    report = checked(tmp_path, rules, *(str(tmp_path / name) for name in configs), more=more)
    assert {result.code for result in report.results} - {""} == ({code} if code else set())
    assert all(result.code for result in report.results if result.outcome == "unchecked")
    assert from_json(to_json(report)) == report
    for name in {*TEXTS, *CHECKS}:
        assert (code in render(report, name, Options()).replace("\\", "")) is True


def test_the_verdict_of_a_rule_has_no_code(tmp_path):
    (result,) = checked(tmp_path, "- {id: a, metric: flops, limit: 1 FLOP}").results
    assert (result.outcome, result.code, "[" in result.summary) == ("error", "", False)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "samattn_cli" / "gate").rglob("*.py")), ids=lambda path: path.stem
)
def test_every_error_of_the_gate_is_raised_with_a_code(path: Path):
    calls = [call for call in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(call, ast.Call)]
    raised = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id in ERRORS]
    assert [ast.unparse(call) for call in raised if len(call.args) < 2] == []
