"""The tables of formats and of kinds of report, and how a package above `render` adds to them."""

import subprocess
import sys
from dataclasses import dataclass

import pytest

from samattn_cli import render
from samattn_cli.render import Format
from samattn_cli.render.elements import Lines, Page
from samattn_cli.render.layout import Layout
from samattn_cli.render.options import Options


@dataclass(frozen=True)
class Poem:
    """A report of a kind that samattn does not have."""

    lines: tuple[str, ...]
    kind: str = "poem"


def page(report: Poem, _: Options) -> Page:
    return Page("A poem", "of two lines", (Lines("Lines", report.lines),))


def rows(report: Poem):
    yield from ({"line": line} for line in report.lines)


POEM = Poem(("one", "two"))


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setattr(render, "FORMATS", dict(render.FORMATS))
    monkeypatch.setattr(render, "LAYOUTS", dict(render.LAYOUTS))
    upper = Format(".up", lambda report, _: " ".join(report.lines).upper() + "\n")
    render.register({"upper": upper}, {"poem": lambda: Layout(page, rows)})


@pytest.mark.usefixtures("registered")
def test_a_registered_format_and_kind_go_through_every_text_format():
    shown = {name: render.render(POEM, name, Options()) for name in ("upper", "csv", "terminal", "markdown")}
    assert shown["upper"] == "ONE TWO\n"
    assert shown["csv"] == "line\none\ntwo\n"
    assert shown["terminal"] == "A poem\nof two lines\n\nLines\n  - one\n  - two\n"
    assert shown["markdown"] == "# A poem\n\nof two lines\n\n## Lines\n\n- one\n- two\n\n"


@pytest.mark.usefixtures("registered")
def test_a_kind_without_a_chart_cannot_be_drawn():
    with pytest.raises(TypeError, match="'poem' has no chart"):
        render.render_file(POEM, "svg", Options())


def test_what_is_not_text_is_not_printed(monkeypatch):
    monkeypatch.setitem(render.FORMATS, "bytes", Format("", lambda *_: b"\0"))
    with pytest.raises(TypeError, match="bytes is not text"):
        render.render(POEM, "bytes", Options())


def test_render_knows_nothing_of_the_gate_and_imports_no_renderer_before_it_is_needed():
    code = """
import sys
from samattn_cli import render
assert "junit" not in render.FORMATS and "check" not in render.LAYOUTS
assert not {name for name in sys.modules if ".render.pages" in name or ".render.formats" in name or ".gate" in name}
from samattn_cli.gate.formats import CHECKS
assert render.FORMATS["junit"] is CHECKS["junit"] and "check" in render.LAYOUTS
"""
    subprocess.run([sys.executable, "-c", code], check=True)
