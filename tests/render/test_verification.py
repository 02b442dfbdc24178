"""The report of `samattn verify` as a page, as rows and in a terminal."""

from __future__ import annotations

from samattn_cli.render import render
from samattn_cli.render.options import Options
from samattn_cli.reports.verification import Verification, Verified
from samattn_cli.verdicts import Check, CrossCheck, Difference
from tests.support.html_pages import Outline

EXACT = Check("exact", compared=3, total=1200)
OFF = Check("differs", compared=2, total=7, differences=(Difference("blocks.0", "conv", 5, 7),))
REPORT = Verification(
    (
        Verified("good", CrossCheck(EXACT, EXACT, EXACT, EXACT, layers_run=2)),
        Verified("bad", CrossCheck(EXACT, OFF, EXACT, EXACT, layers_run=2)),
        Verified("<b>.yaml", error="<b>.yaml:1:1: unknown key"),
    )
)


def test_the_page_has_each_verdict_and_what_was_compared() -> None:
    outline = Outline(render(REPORT, "html", Options(command=("verify", "good", "bad"))))
    assert not outline.of("b")
    shown = outline.text("main")
    assert "exact: good: counts and memory equal" in shown
    assert "differs: bad from the real PyTorch stack" in shown
    assert "blocks.0 conv: derived 5, found 7" in shown
    assert "<b>.yaml:1:1: unknown key" in shown
    assert "1,200 FLOPs" in shown
    assert "samattn verify good bad" in shown


def test_rows_have_the_integers_and_a_config_that_was_not_loaded_fails() -> None:
    lines = render(REPORT, "csv", Options()).splitlines()
    assert lines[0] == "config,check,status,total,compared,differences,layers_run,reason"
    assert lines[2] == "good,fvcore,exact,1200,3,0,2,"
    assert lines[6] == "bad,fvcore,differs,7,2,1,2,"
    assert lines[9] == "<b>.yaml,parameters,failed,,0,0,0,<b>.yaml:1:1: unknown key"


def test_a_terminal_begins_with_the_worst_verdict() -> None:
    lines = render(REPORT, "terminal", Options(width=80)).splitlines()
    assert lines[1] == "✗ differs: bad from the real PyTorch stack (below)"
    assert lines[2] == "✗ could not be checked: <b>.yaml (below)"
    assert lines[3].startswith("✓ exact: good: ")
