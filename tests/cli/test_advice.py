"""Advice on names that samattn knows, but that the command cannot use."""

from __future__ import annotations

from tests.support.running import samattn


def test_explain_says_where_a_ratio_is_given() -> None:
    done = samattn("explain", "sam_vit_b", "--metric", "flops_ratio_vs_global")
    assert done.returncode == 2
    assert "[figure-not-usable]" in done.stderr
    assert "samattn analyze" in done.stderr


def test_a_format_of_other_reports_is_not_taken_for_a_slip() -> None:
    done = samattn("fit", "sam_vit_b", "--memory", "8GiB", "-o", "a.tex")
    assert done.returncode == 2
    assert "[unknown-extension]" in done.stderr
    assert "did you mean" not in done.stderr
    assert ".csv" in done.stderr
