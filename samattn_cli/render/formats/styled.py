"""Draws parts of a page with colour, by Rich, and what Rich alone can draw."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.padding import Padding
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from ...records import dataclass
from ..options import Options
from ..shield import visible
from .breaking import Breaking
from .parts import Grid, Line, Part


def drawn(parts: Iterable[Part | RenderableType], options: Options, width: int) -> list[str]:
    """The lines of parts, at a width and with the colour of `options`."""
    console = Console(
        file=io.StringIO(),
        width=width,
        force_terminal=options.color,
        color_system="standard" if options.color else None,
        no_color=not options.color,
        highlight=False,
        emoji=False,
        markup=False,
        legacy_windows=False,
    )
    with console.capture() as capture:
        for part in map(_rich, parts):
            console.print(_Visible(part), soft_wrap=isinstance(part, Text) and bool(part.no_wrap))
    return capture.get().splitlines()


@dataclass(frozen=True)
class _Visible:
    """Something to print, in which escape characters are shown; the escapes of the result are Rich's styles."""

    part: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        for segment in console.render(self.part, options):
            yield segment._replace(text=visible(segment.text, keep="\n"))


def _rich(part: Part | RenderableType) -> RenderableType:
    if isinstance(part, Grid):
        return _table(part)
    if isinstance(part, Line):
        text = _text(part)
        return Padding(text, (0, 0, 0, part.indent)) if part.indent else text
    return part


def _text(line: Line) -> Text:
    if line.is_strip:
        return _strip(line.text)
    if line.breaks:
        return Breaking(line.text)
    text = Text.assemble(*line.pieces, no_wrap=line.no_wrap or None)
    text.justify = "right" if line.right else None
    return text


def _strip(cells: str) -> Text:
    """Letters stand out from bars."""
    text = Text(cells, "cyan")
    text.highlight_regex("[A-Z]", "bold yellow")
    text.highlight_regex(r"\|", "dim")
    return text


def _table(grid: Grid) -> Table:
    table = _ruled(grid.gap) if grid.is_ruled else Table.grid(padding=(0, grid.gap, 0, 0))
    for column in grid.columns:
        table.add_column(
            column.header,
            justify="right" if column.right else "left",
            overflow="fold" if column.folds else "ellipsis",
            no_wrap=column.no_wrap,
            width=column.width,
            style=column.style,
        )
    for row in grid.rows:
        table.add_row(*map(_text, row.cells), style=row.style or None, end_section=row.ends_section)
    return table


def _ruled(gap: int) -> Table:
    """A table with a rule under its headers, and a space more than `gap` between its columns."""
    return Table(
        box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 0, 0, gap), header_style="cyan", show_edge=False
    )
