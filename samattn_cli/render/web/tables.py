"""Tables in HTML: headers with their scope, rules as groups of rows, the total in the foot, figures with every digit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from ...figures import FIGURES
from ...units import Rounded
from ..elements import Table
from .words import escaped, figure, in_lines, number_of

Row = tuple[str, ...]
TOTAL = "total"
LONG = 60
"""Characters of a cell from which its column is wrapped."""
MEANINGS = {word: each.meaning for each in FIGURES.values() for word in (each.title, each.word)}
"""What the headers of columns of figures mean."""


def table_of(table: Table, name: str) -> Iterator[str]:
    """A table under a heading called `name`, in a box that scrolls by itself, then its note."""
    body = [row for row in table.rows if row is not None]
    foot = [row for row in body if row[0] == TOTAL and row is body[-1]]
    groups = _groups([row for row in table.rows if row is None or row not in foot])
    sides = tuple(map(partial(_side, table), range(len(table.headers))))
    yield f'<div class="scroll" role="region" aria-labelledby="{name}" tabindex="0"><table aria-labelledby="{name}"{_order_of_rows(body)}>'
    yield f"<thead><tr>{''.join(_headers(table, sides))}</tr></thead>"
    yield from _part("tbody", groups, table, sides)
    yield from _part("tfoot", [foot] if foot else [], table, sides)
    yield "</table></div>"
    if table.note:
        yield f'<p class="note">{in_lines(table.note)}</p>'


def _order_of_rows(rows: Sequence[Row]) -> str:
    """What says that the rows belong together as they are: some are indented, below the row that they tell more about."""
    return ' class="fixed"' if any(row[0].startswith(" ") for row in rows) else ""


def _groups(rows: Sequence[Row | None]) -> list[list[Row]]:
    """The rows between rules."""
    groups: list[list[Row]] = [[]]
    for row in rows:
        if row is None:
            groups.append([])
        else:
            groups[-1].append(row)
    return [group for group in groups if group]


def _headers(table: Table, sides: Row) -> Iterator[str]:
    for number, header in enumerate(table.headers):
        text = escaped(header) or f'<span class="hidden">{"name" if number == 0 else "more"}</span>'
        unit = _unit_of([row[number] for row in table.rows if row is not None])
        yield f'<th scope="col"{sides[number]}{unit}{_meaning(header)}>{text}</th>'


def _meaning(header: str) -> str:
    return f' title="{escaped(MEANINGS[header])}"' if header in MEANINGS else ""


def _unit_of(cells: Sequence[str]) -> str:
    """The unit of all figures of a column, which a copy of the table has in its header."""
    units = {cell.unit for cell in cells if isinstance(cell, Rounded)}
    unit = units.pop() if len(units) == 1 else ""
    return f' data-unit="{escaped(unit)}"' if unit else ""


def _part(tag: str, groups: Sequence[Sequence[Row]], table: Table, sides: Row) -> Iterator[str]:
    for group in groups:
        yield f"<{tag}>"
        for row in group:
            yield f"<tr>{''.join(_cells(row, table, sides))}</tr>"
        yield f"</{tag}>"


def _cells(row: Row, table: Table, sides: Row) -> Iterator[str]:
    """The first cell names the row."""
    for number, cell in enumerate(row):
        tag, scope = ("th", ' scope="row"') if number == 0 else ("td", "")
        text = (
            f'<span class="strip">{escaped(cell)}</span>' if number in table.strip_columns else figure(cell)
        )
        side = ' class="sub"' if number == 0 and cell.startswith(" ") else sides[number]
        yield f"<{tag}{scope}{side}{_order(cell)}>{text}</{tag}>"


def _side(table: Table, number: int) -> str:
    """The class of a column: figures are at the right, long texts are wrapped."""
    cells = [row[number] for row in table.rows if row is not None]
    if number in table.strip_columns or number == 0:
        return ""
    if number not in table.text_columns and any(number_of(cell) is not None for cell in cells):
        return ' class="n"'
    return ' class="wide"' if max(map(len, cells), default=0) > LONG else ""


def _order(cell: str) -> str:
    """The number that a cell is sorted by, where neither its text nor its figure is that."""
    number = None if isinstance(cell, Rounded) else number_of(cell)
    return "" if number is None or cell == str(number) or cell.isdecimal() else f' data-order="{number:g}"'
