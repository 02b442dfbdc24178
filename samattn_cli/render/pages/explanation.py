"""An explanation: the formula, the formula with numbers, the number, and its terms."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

from ...figures import FIGURES
from ...reports.explanation import Explanation, FormulaRow, SymbolValue, ToolFigure
from ...units import format_bytes, format_count, format_things
from ..elements import Answer, Equation, Lines, Math, Page, Section, Table
from ..formulas import with_numbers
from ..layout import Layout
from ..options import Options
from .analysis import heading_of

LONGEST = 200
"""Of a formula with numbers in it that is still to be read."""


MOST_TERMS = 8
"""Terms of a sum that a line of the answer has."""
OTHERS = "--others"
"""The option that shows what other tools report."""
AT_THIS_SIZE = "at this size"
WHY = "No formula is shown: it would be wrong for other batch or image sizes."

OTHER_NUMBERS = (
    "Other numbers are fixed in this encoder, such as kernel sizes and windows that are run one by one."
)


def page(report: Explanation, options: Options) -> Page:
    """The whole of it."""
    title, shape = heading_of(report.config)
    where = report.where or "the encoder"
    short = () if report.formula else tuple(_in_short(report))
    return Page(f"{title}: {report.what} of {where}", shape, tuple(_sections(report, options)), short)


def rows(report: Explanation) -> Iterator[dict[str, Any]]:
    """A row for each that the figure is made of, and one for the whole."""
    for row in report.rows:
        yield _row(row.name, len(row.names), row.formula, row.value, row.symbols)
    yield _row(report.where or report.config.name, 1, report.formula, report.value, report.symbols)


def _row(name: str, count: int, formula: str, value: int, symbols: tuple[SymbolValue, ...]) -> dict[str, Any]:
    numbers = " ".join(f"{symbol.name}={symbol.value}" for symbol in symbols)
    return {"name": name, "count": count, "formula": formula, "value": value, "symbols": numbers}


def _in_short(report: Explanation) -> Iterator[Answer]:
    """The number, and what it is the sum of: an equation that is too long for one line has a table of its own."""
    total = f"{report.what} = {_short(report, report.value)}"
    summed = report.combined == "sum" and 1 < len(report.rows) <= MOST_TERMS
    yield Answer(f"{total} = {' + '.join(_term(report, row) for row in report.rows)}" if summed else total)


def _term(report: Explanation, row: FormulaRow) -> str:
    """What one row adds: "28 x 88.43 G"."""
    times = f"{len(row.names)} × " if len(row.names) > 1 else ""
    return f"{times}{_short(report, row.value)}"


def _sections(report: Explanation, options: Options) -> Iterator[Section]:
    if report.formula:
        yield _equation(report)
    elif report.where:
        yield Lines(AT_THIS_SIZE.capitalize(), (f"{report.what} = {_both(report, report.value)}", WHY))
    if report.not_at:
        yield Lines(
            "Elsewhere",
            (f"With {_listed(report.not_at)} other operations run; the formula does not count them.",),
        )
    if len(report.rows) > 1:
        yield _made_of(report)
    if symbols := _symbols(report):
        yield Table("Symbols", ("", "stands for", "here"), symbols, OTHER_NUMBERS, text_columns=(0, 1))
    if report.kernels:
        yield Lines("The kernel of attention that torch runs", report.kernels)
    yield Lines("What is counted", (report.definition,))
    yield Lines("What is left out", report.left_out)
    if report.others and options.full:
        yield _others(report)
    elif report.others:
        yield Lines(
            "What other tools report", (f"{OTHERS} shows the figures of {_listed(_tools(report), 'and')}.",)
        )


def _equation(report: Explanation) -> Equation:
    values = {symbol.name: symbol.value for symbol in report.symbols}
    numbers = with_numbers(report.formula, values)
    formulas = [report.formula, *([numbers] if values and len(numbers) <= LONGEST else [])]
    return Equation("Formula", report.what, tuple(map(Math, formulas)), _both(report, report.value))


def _both(report: Explanation, value: int) -> str:
    """The number exactly, and in its unit."""
    short = _short(report, value)
    return f"{value:,}" if short == f"{value:,}" else f"{value:,} ({short})"


def _short(report: Explanation, value: int) -> str:
    return format_bytes(value) if FIGURES[report.metric].unit == "B" else format_count(value)


def _made_of(report: Explanation) -> Table:
    """The operations of a layer, or the kinds of part and layer of an encoder."""
    often = report.combined == "sum" and any(len(row.names) > 1 for row in report.rows)
    headers = ("", "formula", *(["each"] if often else []), "together" if often else report.what)
    rows = (_cells(report, row, often=often) for row in report.rows)
    total = "total" if report.combined == "sum" else "largest"
    last = (total, *[""] * (len(headers) - 2), _short(report, report.value))
    return Table("Made of", headers, (*rows, None, last), text_columns=(0, 1))


def _cells(report: Explanation, row: FormulaRow, *, often: bool) -> tuple[str, ...]:
    each = [_short(report, row.value)] if often else []
    return (_name(row), Math(row.formula) if row.formula else AT_THIS_SIZE, *each, _times(report, row))


def _listed(names: tuple[str, ...], word: str = "or") -> str:
    """The names in a sentence."""
    *most, last = names
    return f"{', '.join(most)} {word} {last}" if most else last


def _tools(report: Explanation) -> tuple[str, ...]:
    return tuple(dict.fromkeys(figure.tool for figure in report.others))


def _times(report: Explanation, row: FormulaRow) -> str:
    count = len(row.names)
    return _short(report, row.value * (count if report.combined == "sum" else 1))


def _name(row: FormulaRow) -> str:
    """An operation, or one layer and how many are like it."""
    if len(row.names) == 1:
        return row.name
    if len(set(row.names)) == 1:
        return f"{row.name} (x{len(row.names)})"
    return f"{row.name} and {format_things(len(row.names) - 1, 'other')}"


def _symbols(report: Explanation) -> tuple[tuple[str, ...], ...]:
    """Each symbol once, with the values that it has in the order of the rows."""
    rows = [report.symbols, *(row.symbols for row in report.rows)]
    fullest_first = sorted(rows, key=len, reverse=True)
    meanings = {symbol.name: symbol.meaning for symbol in chain.from_iterable(fullest_first)}
    values: dict[str, dict[str, None]] = {name: {} for name in meanings}
    for symbol in chain.from_iterable(rows):
        values[symbol.name][f"{symbol.value:,}"] = None
    return tuple((name, meaning, ", ".join(values[name])) for name, meaning in meanings.items())


def _others(report: Explanation) -> Table:
    rows = tuple((figure.tool, _figure(figure), figure.reason) for figure in report.others)
    versions = dict.fromkeys(f"{figure.tool} {figure.version}" for figure in report.others)
    note = f"Worked out by the rules of {', '.join(versions)}."
    return Table("What other tools say", ("", "figure", "why"), rows, note, text_columns=(0, 2))


def _figure(figure: ToolFigure) -> str:
    return "" if figure.value is None else f"{format_count(figure.value)} {figure.quantity}"


LAYOUT = Layout(page, rows)
