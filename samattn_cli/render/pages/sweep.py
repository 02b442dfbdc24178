"""A sweep as tables, which are thinned, as rows, which are not, and as a picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ...reports.sweep import Sweep
from ..elements import Lines, Page, Section, Table
from ..layout import Layout
from ..options import Options
from .sweep_chart import chart
from .sweep_columns import line_count_of, lines_of
from .sweep_findings import cliffs, crossovers, dropped, fits, measured
from .sweep_heading import set_alike, subtitle_of, title_of
from .sweep_tables import line_table, matrices

CHUNK = 10_000
"""Rows that are taken out of the columns at once."""


def page(report: Sweep, options: Options) -> Page:
    """What varies, the figures, and what stands out."""
    return Page(title_of(report), subtitle_of(report), tuple(_sections(report, options)))


def _sections(report: Sweep, options: Options) -> Iterator[Section]:
    if alike := set_alike(report):
        yield Lines("Windows", alike)
    yield from _figures(report, options)
    yield from _findings(report)


def _figures(report: Sweep, options: Options) -> Iterator[Section]:
    """The tables, each note once, with the last table that it is of."""
    tables = list(_tables(report, options))
    for at, table in enumerate(tables):
        is_said_later = any(later.note == table.note for later in tables[at + 1 :])
        yield replace(table, note="") if is_said_later else table


def _findings(report: Sweep) -> Iterator[Section]:
    if report.measured:
        yield measured(report, report.measured)
    if any(line.pays_from for line in report.lines):
        yield crossovers(report)
    if report.device:
        yield Lines(f"On {report.device.name} ({report.device.description})", tuple(fits(report)))
    if report.cliffs:
        yield cliffs(report)
    if said := dropped(report):
        yield Lines("To know", said)


def _tables(report: Sweep, options: Options) -> Iterator[Table]:
    """The figures: of one line one or two metrics a table, else a metric a table."""
    if report.line_count == 1:
        size = 2 if options.wide else 1
        for start in range(0, len(report.metrics), size):
            yield line_table(report, report.lines[0], report.metrics[start : start + size])
        return
    for metric in report.metrics:
        if line_count_of(report, metric) == 1:
            yield line_table(report, lines_of(report, metric)[0], [metric])
        else:
            yield from matrices(report, metric, options.width)


def rows(report: Sweep) -> Iterator[dict[str, Any]]:
    """A row a point, figures exact."""
    names = list(report.columns)
    for start in range(0, report.points, CHUNK):
        taken = [_plain(report.columns[name][start : start + CHUNK]) for name in names]
        for values in zip(*taken, strict=True):
            yield dict(zip(names, values, strict=True))


def _plain(column: Any) -> list[Any]:
    values = column.tolist() if hasattr(column, "tolist") else list(column)
    return [None if value != value else value for value in values]  # noqa: PLR0124 - not a number


LAYOUT = Layout(page, rows, chart)
