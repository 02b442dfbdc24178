"""A report for a terminal, by Rich."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.padding import Padding
from rich.segment import Segment
from rich.table import Table as RichTable
from rich.text import Text

from ...encoder.model import EncoderConfig
from ...records import dataclass, replace
from ...reports.analysis import Analysis
from ...verdicts import CrossCheck
from .. import layout_of
from ..crosscheck import STATUS_STYLES, Verdict, is_said_in_short, layers_note, verdicts
from ..elements import (
    BAD,
    CAUTION,
    GOOD,
    UNBROKEN,
    Answer,
    Bars,
    Code,
    Equation,
    Finding,
    Lines,
    Math,
    Page,
    Section,
    Table,
)
from ..formulas import unicode
from ..options import Options
from ..shield import visible
from .ascii import in_ascii
from .breaking import Breaking

NARROWEST = 78  # of a table; a narrower terminal wraps its lines, so that no digit is lost
BAR = 24
LABELS = 11
SIGN_STYLES = {GOOD: "bold green", BAD: "bold red", CAUTION: "bold yellow"}
OUTCOME_STYLES = {
    "unchecked": "bold magenta",
    "error": "bold red",
    "warn": "bold yellow",
    "waived": "cyan",
    "pass": "bold green",
}


def render(report: Any, options: Options) -> str:
    """The whole report, the cross-check of an analysis included."""
    page = layout_of(report).page(report, options)
    text = render_page(page, options)
    if not isinstance(report, Analysis) or options.brief:
        return text.rstrip() + "\n"
    if not options.full and is_said_in_short(report.crosscheck):
        return text.rstrip() + "\n"
    return text + render_crosscheck(report.crosscheck, report.config, options)


def render_start(report: Analysis, options: Options) -> str:
    """How the whole report begins, whatever the cross-check finds: the answer in short but for its last line."""
    page = layout_of(report).page(report, replace(options, brief=True))
    return render_page(replace(page, short=page.short[:-1]), replace(options, brief=True))


def render_page(page: Page, options: Options) -> str:
    """Title, the answer in short, subtitle and sections."""
    styles = [SIGN_STYLES.get(answer.sign, "") for answer in page.short]
    page = in_ascii(page) if options.ascii else page
    body: list[RenderableType] = [
        Text(page.title, style="bold"),
        *(_answer(*each, options.width) for each in zip(page.short, styles, strict=True)),
    ]
    body += [] if options.brief or not page.short else [Text()]
    body += [] if options.brief else [Text(page.subtitle, style="dim"), Text()]
    for section in page.sections:
        body += _section(section)
    return to_text(body, options)


def render_crosscheck(crosscheck: CrossCheck, config: EncoderConfig, options: Options) -> str:
    """The verdicts, one a line, with the places that differ."""
    title = Text("Cross-check against the real stack", style="bold")
    if note := layers_note(crosscheck, config):
        title.append(f"  ({note})", style="not bold dim")
    return to_text([title, verdict_grid(verdicts(crosscheck))], options)


def render_tables(tables: Iterable[Table], options: Options) -> str:
    """Tables alone."""
    return to_text((part for table in tables for part in _table(table)), options)


def verdict_grid(lines: Iterable[Verdict]) -> RichTable:
    """Status, name and text of each verdict, differences below."""
    grid = RichTable.grid(padding=(0, 2, 0, 0))
    for _ in range(3):
        grid.add_column(overflow="fold")
    for line in lines:
        grid.add_row(Text(f"  {line.status}", STATUS_STYLES[line.status]), line.name, Text(line.text))
        for difference in line.differences:
            grid.add_row("", "", Text(difference, "red"))
    return grid


def to_text(parts: Iterable[RenderableType], options: Options) -> str:
    """Rich's text at the width and with the colour of `options`."""
    console = Console(
        file=io.StringIO(),
        width=max(options.width, NARROWEST),
        force_terminal=options.color,
        color_system="standard" if options.color else None,
        no_color=not options.color,
        highlight=False,
        emoji=False,
        markup=False,
        legacy_windows=False,
    )
    with console.capture() as capture:
        for part in parts:
            console.print(_Visible(part), soft_wrap=isinstance(part, Text) and bool(part.no_wrap))
    return "".join(f"{line.rstrip()}\n" for line in capture.get().splitlines())


@dataclass(frozen=True)
class _Visible:
    """Something to print, in which escape characters are shown; the escapes of the result are Rich's styles."""

    part: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        for segment in console.render(self.part, options):
            yield segment._replace(text=visible(segment.text, keep="\n"))


def _answer(answer: Answer, style: str, width: int) -> RenderableType:
    """A line of the answer in short; its second line, if any, is indented as the first. A command that needs it has the whole width."""
    if answer.command:
        indent = "" if len(answer.command) > width - 2 else "  "
        return Text.assemble(indent, (answer.command, "cyan"), no_wrap=True)
    row = RichTable.grid(padding=(0, 1, 0, 0))
    row.add_column(width=1)
    row.add_column(overflow="fold")
    row.add_row(Text(answer.sign, style), Text.assemble((answer.verdict, style), answer.text))
    return row


def _section(section: Section) -> list[RenderableType]:
    if isinstance(section, Finding):
        return [*_finding(section), Text()]
    title = Text(section.title, style="bold")
    if isinstance(section, Equation):
        return [title, _equation(section), Text()]
    if isinstance(section, Code):
        return [title, *(Text(f"  {row}", no_wrap=True) for row in section.rows), Text()]
    if isinstance(section, Lines):
        grid = RichTable.grid(padding=(0, 1, 0, 0))
        for row in section.rows:
            grid.add_row(Text("  -", "yellow"), Text(row))
        return [title, grid, Text()]
    return [title, *([_bars(section)] if isinstance(section, Bars) else _table(section)), Text()]


def _finding(finding: Finding) -> Iterator[RenderableType]:
    title = Text(finding.status, OUTCOME_STYLES[finding.status], no_wrap=True)
    yield title.append(f"  {finding.title}", "bold")
    for sentence in finding.sentences:
        yield Padding(Text(sentence), (0, 0, 0, 2))
    before = ""
    for label, text in finding.facts:
        shown = "" if label == before else f"  {label}"
        yield _unbroken(shown, text) if label in UNBROKEN else _fact(shown, text)
        before = label


def _fact(label: str, text: str) -> RichTable:
    row = RichTable.grid()
    row.add_column(width=LABELS, style="dim")
    row.add_column(overflow="fold")
    row.add_row(label, Text(text))
    return row


def _unbroken(label: str, text: str) -> Text:
    return Text.assemble((label.ljust(LABELS), "dim"), text, no_wrap=True)


def _equation(equation: Equation) -> RichTable:
    grid = RichTable.grid(padding=(0, 1, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column()
    grid.add_column(overflow="fold")
    sides = [*map(_written, equation.formulas), equation.value]
    for number, side in enumerate(sides):
        left = "" if number else f"  {equation.left}"
        grid.add_row(left, "=", Text(side, "bold" if number == len(sides) - 1 else ""))
    return grid


def plain_table() -> RichTable:
    """A table with a rule under its headers and two spaces between its columns."""
    return RichTable(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 0, 0, 1),
        header_style="cyan",
        show_edge=False,
    )


def _table(table: Table) -> Iterator[RenderableType]:
    """The table, then its note, which may be wider."""
    yield _grid(table)
    if table.note:
        yield Text(table.note, "dim")


def _grid(table: Table) -> RichTable:
    grid = plain_table()
    for number, header in enumerate(table.headers):
        text = number in table.text_columns
        grid.add_column(header, justify="left" if text else "right", overflow="fold", no_wrap=number == 0)
    for row in table.rows:
        if row is None:
            grid.add_section()
        else:
            cells = (_cell(cell, is_strip=number in table.strip_columns) for number, cell in enumerate(row))
            grid.add_row(*cells, style="bold" if row[0] == "total" else None)
    return grid


def _cell(cell: str, *, is_strip: bool) -> Text:
    return _strip(cell) if is_strip else Breaking(_written(cell))


def _written(cell: str) -> str:
    return unicode(cell) if isinstance(cell, Math) else cell


def _strip(cells: str) -> Text:
    """Letters stand out from bars."""
    text = Text(cells, "cyan")
    text.highlight_regex("[A-Z]", "bold yellow")
    text.highlight_regex(r"\|", "dim")
    return text


def _bars(bars: Bars) -> RichTable:
    grid = RichTable.grid(padding=(0, 2, 0, 0))
    for name, share, figures in bars.rows:
        bar = Text("█" * round(share * BAR), "cyan")
        grid.add_row(Text(f"  {name}"), bar, *(Text(figure, justify="right") for figure in figures))
    return grid
