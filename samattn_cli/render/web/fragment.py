"""A report as an element of a notebook: its answer, its picture, its tables. It has no script, and its styles stay inside it."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import Any

from .. import layout_of
from ..charts.theme import Spec
from ..elements import Finding, Lines, Section
from ..options import Options
from .picture import figure_of
from .sections import content, short
from .style import IN_A_NOTEBOOK, of_a_notebook
from .words import Names, escaped, in_lines

WIDTH = 1000
"""Columns of text: tables scroll, so that all columns of a table fit."""
PLACE = "samattn-place-"
"""How names of places begin, before they are made unlike those of other cells."""
OPEN = ("Answer", "Findings")
"""Titles of lines that are not folded."""


def fragment(report: Any) -> str:
    """The element of a report: its answer, its findings and its picture; its tables are folded, except for the first one."""
    layout = layout_of(report)
    page = layout.page(report, Options(width=WIDTH))
    spec = layout.chart(report) if layout.chart else None
    return _element("\n".join(_body(page, spec)))


def _body(page: Any, spec: Spec | None) -> Iterator[str]:
    names = Names(prefix=PLACE)
    yield f'<p class="title">{escaped(page.title)}</p>'
    yield f'<p class="note">{in_lines(page.subtitle)}</p>'
    if page.short:
        yield from short(page.short)
    first = [part for part in page.sections if _is_first(part)]
    for part in first:
        yield from _open(part, names)
    if spec is not None:
        yield figure_of(spec, PLACE)
    for number, part in enumerate(part for part in page.sections if part not in first):
        yield from _folded(part, names, is_open=number == 0)


def chart_alone(spec: Spec) -> str:
    """The element of a chart."""
    return _element(figure_of(spec, PLACE))


def _element(body: str) -> str:
    """An element, whose places have names that no other cell of the notebook has unless it shows the same."""
    own = f"samattn-{sha256(body.encode()).hexdigest()[:12]}-"
    whole = f'<div class="{IN_A_NOTEBOOK}">\n<style>\n{of_a_notebook()}\n</style>\n{body}\n</div>'
    return whole.replace(PLACE, own)


def _is_first(part: Section) -> bool:
    return isinstance(part, Finding) or (isinstance(part, Lines) and part.title in OPEN)


def _open(part: Section, names: Names) -> Iterator[str]:
    name = names(part.title or "Finding")
    status = f'<span class="status {part.status}">{part.status}</span> ' if isinstance(part, Finding) else ""
    yield f'<p class="part" id="{name}">{status}{escaped(part.title)}</p>'
    yield from content(part, name)


def _folded(part: Section, names: Names, *, is_open: bool) -> Iterator[str]:
    """A section that a click on its title opens and closes."""
    title = part.title or "Table"
    name = names(title)
    yield f'<details{" open" * is_open}><summary id="{name}">{escaped(title)}</summary>'
    yield from content(part, name)
    yield "</details>"
