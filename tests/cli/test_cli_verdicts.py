"""Exit codes of verdicts that a sound samattn never gives, made with a patched cross-check."""

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from samattn_cli.cli.app import app
from samattn_cli.verdicts import Check, CrossCheck, Difference

EXACT = Check("exact", compared=3, total=5, route="meta")
DIFFERENT = Check(
    "differs", compared=3, total=5, route="meta", differences=(Difference("blocks.3.attn", "matmul", 10, 11),)
)
ALL_EXACT = CrossCheck(EXACT, EXACT, EXACT, EXACT, layers_run=12)


@pytest.fixture
def run(monkeypatch):
    def run(crosscheck, *arguments):
        monkeypatch.setattr("samattn_cli.studies.verify.verify", lambda *_, **__: crosscheck)
        return CliRunner().invoke(app, arguments)

    return run


def test_a_difference_is_named_and_exits_1(run):
    result = run(replace(ALL_EXACT, fvcore=DIFFERENT), "analyze", "sam_vit_b")
    assert result.exit_code == 1
    assert "differs  fvcore" in result.stdout
    assert "blocks.3.attn matmul: derived 10, found 11" in result.stdout


def test_a_difference_is_reported_on_stderr_where_the_report_goes_to_a_file(run, tmp_path):
    target = tmp_path / "report.json"
    result = run(replace(ALL_EXACT, fvcore=DIFFERENT), "analyze", "sam_vit_b", "-o", str(target))
    assert result.exit_code == 1
    assert "cross-check differs: fvcore: blocks.3.attn matmul: derived 10, found 11" in result.stderr
    assert json.loads(target.read_text("utf-8"))["crosscheck"]["fvcore"]["status"] == "differs"


def test_a_check_that_could_not_run_exits_2(run):
    failed = Check("failed", reason="on meta: RuntimeError: no")
    result = run(replace(ALL_EXACT, memory_trace=failed), "analyze", "sam_vit_b")
    assert result.exit_code == 2
    assert "failed  memory trace     on meta: RuntimeError: no" in result.stdout


def test_real_tensors_are_reported(run):
    result = run(replace(ALL_EXACT, fvcore=replace(EXACT, route="real")), "analyze", "sam_vit_b")
    assert result.exit_code == 0
    assert "counted on real tensors" in " ".join(result.stdout.split())


@pytest.mark.parametrize(
    ("check", "exit_code"),
    [(EXACT, 0), (DIFFERENT, 1), (Check("skipped", reason="no torch"), 2), (Check("failed"), 2)],
)
def test_verify_passes_only_what_is_exact(run, check, exit_code):
    result = run(replace(ALL_EXACT, flop_counter=check), "verify", "sam_vit_b")
    assert result.exit_code == exit_code


def test_an_internal_error_is_never_0_and_never_1(monkeypatch):
    def broken(*_, **__):
        raise ZeroDivisionError("oh")

    monkeypatch.setattr("samattn_cli.studies.analyze.analyze", broken)
    result = CliRunner().invoke(app, ["analyze", "sam_vit_b"])
    assert result.exit_code == 2
    assert "internal error: ZeroDivisionError: oh" in result.stderr
