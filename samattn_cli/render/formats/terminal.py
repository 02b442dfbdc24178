"""A report for a terminal: what it is drawn from. `plain` draws it without colour, `styled` with Rich."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

from ...encoder.model import EncoderConfig
from ...records import replace
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
from .ascii import in_ascii
from .parts import Column, Grid, Line, Part, Row, line
from .plain import NotPlainError, draw

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
    body: list[Part] = [
        line(page.title, "bold"),
        *(_answer(*each, options.width) for each in zip(page.short, styles, strict=True)),
    ]
    body += [] if options.brief or not page.short else [line()]
    body += [] if options.brief else [line(page.subtitle, "dim"), line()]
    for section in page.sections:
        body += _section(section)
    return to_text(body, options)


def render_crosscheck(crosscheck: CrossCheck, config: EncoderConfig, options: Options) -> str:
    """The verdicts, one a line, with the places that differ."""
    pieces = [("Cross-check against the real stack", "bold")]
    if note := layers_note(crosscheck, config):
        pieces.append((f"  ({note})", "dim"))
    return to_text([Line(tuple(pieces)), verdict_grid(verdicts(crosscheck))], options)


def render_tables(tables: Iterable[Table], options: Options) -> str:
    """Tables alone."""
    return to_text((part for table in tables for part in _table(table)), options)


def verdict_grid(lines: Iterable[Verdict]) -> Grid:
    """Status, name and text of each verdict, differences below."""
    rows: list[Row] = []
    for each in lines:
        status = line(f"  {each.status}", STATUS_STYLES[each.status])
        rows.append(Row((status, line(each.name), line(each.text))))
        rows += (Row((line(), line(), line(difference, "red"))) for difference in each.differences)
    return Grid((Column(folds=True),) * 3, tuple(rows), gap=2)


def to_text(parts: Iterable[Any], options: Options) -> str:
    """The text of parts, or of what Rich draws, at the width and with the colour of `options`."""
    lines = _lines(list(parts), max(options.width, NARROWEST), options)
    return "".join(f"{each.rstrip()}\n" for each in lines)


def _lines(parts: list[Any], width: int, options: Options) -> list[str]:
    if not options.color:
        with suppress(NotPlainError):
            return draw(parts, width)
    from .styled import drawn

    return drawn(parts, options, width)


def _answer(answer: Answer, style: str, width: int) -> Part:
    """A line of the answer in short; its second line, if any, is indented as the first. A command that needs it has the whole width."""
    if answer.command:
        indent = "" if len(answer.command) > width - 2 else "  "
        return Line(((indent, ""), (answer.command, "cyan")), no_wrap=True)
    text = Line(((answer.verdict, style), (answer.text, "")))
    return Grid((Column(width=1), Column(folds=True)), (Row((line(answer.sign, style), text)),), gap=1)


def _section(section: Section) -> list[Part]:
    if isinstance(section, Finding):
        return [*_finding(section), line()]
    title = line(section.title, "bold")
    if isinstance(section, Equation):
        return [title, _equation(section), line()]
    if isinstance(section, Code):
        return [title, *(line(f"  {row}", no_wrap=True) for row in section.rows), line()]
    if isinstance(section, Lines):
        rows = tuple(Row((line("  -", "yellow"), line(row))) for row in section.rows)
        return [title, Grid((Column(),) * 2 if rows else (), rows, gap=1), line()]
    return [title, *([_bars(section)] if isinstance(section, Bars) else _table(section)), line()]


def _finding(finding: Finding) -> Iterator[Part]:
    status = (finding.status, OUTCOME_STYLES[finding.status])
    yield Line((status, (f"  {finding.title}", "bold")), no_wrap=True)
    for sentence in finding.sentences:
        yield line(sentence, indent=2)
    before = ""
    for label, text in finding.facts:
        shown = "" if label == before else f"  {label}"
        yield _unbroken(shown, text) if label in UNBROKEN else _fact(shown, text)
        before = label


def _fact(label: str, text: str) -> Grid:
    columns = (Column(width=LABELS, style="dim"), Column(folds=True))
    return Grid(columns, (Row((line(label), line(text))),))


def _unbroken(label: str, text: str) -> Line:
    return Line(((label.ljust(LABELS), "dim"), (text, "")), no_wrap=True)


def _equation(equation: Equation) -> Grid:
    sides = [*map(_written, equation.formulas), equation.value]
    rows = tuple(
        Row(
            (
                line("" if number else f"  {equation.left}"),
                line("="),
                line(side, "bold" if number == len(sides) - 1 else ""),
            )
        )
        for number, side in enumerate(sides)
    )
    return Grid((Column(no_wrap=True), Column(), Column(folds=True)), rows, gap=1)


def _table(table: Table) -> Iterator[Part]:
    """The table, then its note, which may be wider."""
    yield _grid(table)
    if table.note:
        yield line(table.note, "dim")


def _grid(table: Table) -> Grid:
    columns = tuple(
        Column(header, right=number not in table.text_columns, folds=True, no_wrap=number == 0)
        for number, header in enumerate(table.headers)
    )
    following = (*table.rows[1:], ())
    rows = tuple(
        Row(
            tuple(_cell(cell, is_strip=number in table.strip_columns) for number, cell in enumerate(row)),
            "bold" if row[0] == "total" else "",
            ends_section=after is None,
        )
        for row, after in zip(table.rows, following, strict=False)
        if row is not None
    )
    return Grid(columns, rows, gap=1, is_ruled=True)


def _cell(cell: str, *, is_strip: bool) -> Line:
    return Line(((_written(cell), ""),), breaks=not is_strip, is_strip=is_strip)


def _written(cell: str) -> str:
    return unicode(cell) if isinstance(cell, Math) else cell


def _bars(bars: Bars) -> Grid:
    rows = tuple(
        Row(
            (
                line(f"  {name}"),
                line("█" * round(share * BAR), "cyan"),
                *(line(figure, right=True) for figure in figures),
            )
        )
        for name, share, figures in bars.rows
    )
    return Grid((Column(),) * max((len(row.cells) for row in rows), default=0), rows, gap=2)
