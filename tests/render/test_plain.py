"""What is drawn without colour is what Rich draws."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from samattn_cli import analyze, load_config
from samattn_cli.encoder.presets import presets
from samattn_cli.render.formats import terminal
from samattn_cli.render.formats.parts import Column, Grid, Line, Row, line
from samattn_cli.render.formats.plain import SINGLE, NotPlainError, draw
from samattn_cli.render.formats.styled import drawn
from samattn_cli.render.options import Options
from samattn_cli.render.shield import visible
from tests.support.sampling import examples, sampled

OPTIONS = Options(width=80)


def both(parts: list[Any], width: int) -> tuple[list[str], list[str]]:
    """The lines of parts, plain and by Rich, without spaces at their ends."""
    lines = draw(parts, width), drawn(parts, OPTIONS, width)
    return [each.rstrip() for each in lines[0]], [each.rstrip() for each in lines[1]]


@pytest.mark.parametrize("name", sampled(presets(), 50))
def test_a_report_is_as_rich_draws_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    report = analyze(load_config(name), verify=False)
    asked: list[list[Any]] = []

    def ask(parts: Any, _options: Options) -> str:
        asked.append(list(parts))
        return ""

    monkeypatch.setattr(terminal, "to_text", ask)
    terminal.render(report, Options(width=80, full=True, all_layers=True))
    assert asked
    for parts in asked:
        for width in (78, 131):
            plain, rich = both(parts, width)
            assert plain == rich


WORDS = st.lists(
    st.text("abc._/-  ", min_size=0, max_size=24) | st.sampled_from(["⌈x⌉", "·", "20 × 3", "█" * 30, ""]),
    max_size=8,
).map(" ".join)
LINES = WORDS | st.tuples(WORDS, WORDS).map(lambda lines: "\n".join(f"a{each}" for each in lines))
CELLS = st.builds(
    Line, st.tuples(st.tuples(LINES, st.just(""))), right=st.booleans(), breaks=st.booleans()
).map(lambda cell: Line(cell.pieces, right=cell.right and not cell.breaks, breaks=cell.breaks))
COLUMNS = st.builds(
    Column,
    header=WORDS,
    right=st.booleans(),
    folds=st.just(True),
    no_wrap=st.booleans(),
    width=st.none() | st.integers(1, 12),
)


@st.composite
def grids(sample: st.DrawFn) -> Grid:
    columns = tuple(sample(st.lists(COLUMNS, min_size=1, max_size=5)))
    row = st.builds(Row, st.tuples(*(CELLS for _ in columns)), ends_section=st.booleans())
    rows = tuple(sample(st.lists(row, min_size=1, max_size=4)))
    return Grid(columns, rows, gap=sample(st.integers(0, 2)), is_ruled=sample(st.booleans()))


@settings(max_examples=examples(200))
@given(grids(), st.integers(78, 120))
def test_a_grid_is_as_rich_draws_it(grid: Grid, width: int) -> None:
    try:
        plain, rich = both([grid], width)
    except NotPlainError:
        reject()
    assert plain == rich


@settings(max_examples=examples(200))
@given(LINES, st.integers(20, 60), st.integers(0, 4))
def test_a_line_is_as_rich_draws_it(text: str, width: int, indent: int) -> None:
    plain, rich = both([line(text, indent=indent)], width)
    assert plain == rich


def test_the_characters_take_one_cell_and_are_shown() -> None:
    """All others are left to Rich: wide letters, combining marks, controls."""
    characters = [chr(code) for low, high in SINGLE for code in range(ord(low), ord(high) + 1)]
    assert [each for each in characters if cell_len(each) != 1 or visible(each) != each] == []
    others = (line("窓"), line("e\u0301"), line("\x1b[0m"), line("\t"), "text")
    for each in others:
        with pytest.raises(NotPlainError):
            draw([each], 80)


def test_no_colour_needs_no_rich(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "samattn_cli.render.formats.styled", None)
    assert "Total" in terminal.to_text([line("Total", "bold")], OPTIONS)
    with pytest.raises(ImportError):
        terminal.to_text([line("Total", "bold")], Options(width=80, color=True))
