"""A report as LaTeX for a paper: tables, lists and equations, which need the packages amsmath and booktabs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...records import replace
from .. import layout_of
from ..elements import Bars, Code, Equation, Finding, Lines, Math, Section, Table
from ..formulas import aligned, escaped, latex
from ..options import WIDE, Options


def render(report: Any, options: Options) -> str:
    """Paragraphs, tables and equations, without a preamble."""
    page = layout_of(report).page(report, replace(options, width=WIDE, full=True))
    lines = [rf"\section*{{{escaped(page.title)}}}", escaped(page.subtitle), ""]
    for section in page.sections:
        lines += [rf"\subsection*{{{escaped(section.title)}}}", *_section(section), ""]
    return "\n".join(lines)


def _section(section: Section) -> Iterator[str]:
    if isinstance(section, Equation):
        yield from (r"\[", *aligned(section), r"\]")
    elif isinstance(section, Lines):
        yield from (r"\begin{itemize}", *(rf"\item {escaped(row)}" for row in section.rows), r"\end{itemize}")
    elif isinstance(section, Code):
        yield from (r"\begin{verbatim}", *section.rows, r"\end{verbatim}")
    elif isinstance(section, Finding):
        items = (rf"\item[{label}] {escaped(text)}" for label, text in section.facts)
        yield from (*map(escaped, section.sentences), r"\begin{description}", *items, r"\end{description}")
    elif isinstance(section, Bars):
        rows = tuple((name, *figures) for name, _, figures in section.rows)
        yield from _table(Table("", ("part", "share", "FLOPs"), rows))
    else:
        yield from _table(section)


def _table(table: Table) -> Iterator[str]:
    columns = "".join("l" if number in table.text_columns else "r" for number, _ in enumerate(table.headers))
    yield from (rf"\begin{{tabular}}{{{columns}}}", r"\toprule", _row(table.headers), r"\midrule")
    yield from (r"\midrule" if row is None else _row(row) for row in table.rows)
    yield from (r"\bottomrule", r"\end{tabular}")
    if table.note:
        yield from ("", escaped(table.note))


def _row(cells: tuple[str, ...]) -> str:
    texts = (f"${latex(cell)}$" if isinstance(cell, Math) else escaped(cell) for cell in cells)
    return " & ".join(texts) + r" \\"
