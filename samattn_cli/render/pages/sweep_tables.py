"""The figures of a sweep as tables: one line of points with all that is known of it, or several side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from ...figures import PEAKS
from ...records import replace
from ...reports.sweep import Line, Sweep
from ...units import Figures, format_percent, format_ratio, format_things
from ..elements import Table
from ..options import Options
from .sweep_words import (
    axis_along,
    formatted,
    is_of,
    line_count_of,
    lines_of,
    name_along,
    name_of,
    or_blank,
    rows_of,
    values_of,
)

UNITS = {"resolution": "pixels", "batch_size": "images", "window": "tokens of a window"}
"""What growth along an axis is in."""

ALL_ROWS, MOST_ROWS = 32, 24
"""A table with at most so many rows shows all; of more, it shows so many."""
MOST_MATRICES = 2
"""Tables in which a metric of several lines is shown."""
LABEL, CELL = 12, 19
"""Columns of a terminal that the rows' names take in a matrix, and each line of points."""

COMPARED = {"all_global": "all global", "all_windowed": "windowed"}
"""The headers of the encoders that each point is compared with."""
COMPARED_NOTE = (
    "all global, windowed: the cost with every layer global, or every layer windowed, over this encoder's; above 1.00x "
    "this encoder is cheaper."
)
RATIO_NOTE = "Ratio: all global over this encoder; above 1.00x this encoder is cheaper."


def figure_tables(report: Sweep, options: Options) -> Iterator[Table]:
    """The tables; a note that several have stands under the last of them."""
    tables = list(_tables(report, options))
    for at, table in enumerate(tables):
        is_repeated = any(later.note == table.note for later in tables[at + 1 :])
        yield replace(table, note="") if is_repeated else table


def _tables(report: Sweep, options: Options) -> Iterator[Table]:
    """One or two metrics a table if there is one line, else a metric a table."""
    if report.line_count == 1:
        size = 2 if options.wide else 1
        for start in range(0, len(report.metrics), size):
            yield _line_table(report, report.lines[0], report.metrics[start : start + size])
        return
    for metric in report.metrics:
        if line_count_of(report, metric) == 1:
            yield _line_table(report, lines_of(report, metric)[0], [metric])
        else:
            yield from _matrices(report, metric, options.width)


def not_shown(rows: int, lines: int = 0) -> str:
    """A sentence on the rows and lines that a table does not show; "" if it shows all."""
    counts = [format_things(count, noun) for count, noun in ((rows, "row"), (lines, "line")) if count]
    return f"Not shown: {' and '.join(counts)}; -o FILE.csv writes all." if counts else ""


# -- one line --------------------------------------------------------------------------------------------------------


def _line_table(report: Sweep, line: Line, metrics: Sequence[str]) -> Table:
    """The points of one line, and of each metric its growth and the cost of other placements of global layers."""
    rows = _thinned(report, line)
    grows = len(rows) == line.count  # growth from a row that is not shown would mislead
    columns = [(name_along(report), _labels(report, line)), *_padding(report, line)]
    for metric in metrics:
        columns += _of_metric(report, line, metric, grows=grows)
    cells = tuple(tuple(column[row] for _, column in columns) for row in rows)
    title = " and ".join(name_of(report, metric) for metric in metrics)
    note = " ".join(filter(None, (*_meanings(report, line, grows=grows), not_shown(line.count - len(rows)))))
    return Table(_capitalized(title), tuple(header for header, _ in columns), cells, note)


def _padding(report: Sweep, line: Line) -> Iterator[tuple[str, list[str]]]:
    padding = values_of(report, line, "padding")
    if any(padding):
        yield "padding", [f"+{format_percent(share)}" if share else "" for share in padding]


def _of_metric(report: Sweep, line: Line, metric: str, *, grows: bool) -> Iterator[tuple[str, list[str]]]:
    has_metric = [is_of(report, metric, row) for row in rows_of(line)]
    for header, cells in _columns(report, line, metric, grows=grows):
        yield header, [cell if shown else "" for cell, shown in zip(cells, has_metric, strict=True)]


def _columns(report: Sweep, line: Line, metric: str, *, grows: bool) -> Iterator[tuple[str, list[str]]]:
    """A metric, whether it fits if it is the peak of the run, its growth, and the cost of other placements."""
    yield name_of(report, metric), [formatted(metric, value) for value in values_of(report, line, metric)]
    is_peak = [PEAKS[report.mode_at(row)] == metric for row in rows_of(line)]
    if "fits" in report.columns and any(is_peak):
        yield "fits", ["yes" if fits else "no" for fits in values_of(report, line, "fits")]
    if grows and f"{metric}_growth" in report.columns:
        growth = values_of(report, line, f"{metric}_growth")
        yield "growth", [or_blank(value, "{:.2f}".format) for value in growth]
    for name, header in COMPARED.items():
        if (column := f"{metric}_vs_{name}") in report.columns:
            yield header, [or_blank(value, format_ratio) for value in values_of(report, line, column)]


def _meanings(report: Sweep, line: Line, *, grows: bool) -> Iterator[str]:
    """What the columns mean."""
    if grows and any(name.endswith("_growth") for name in report.columns):
        unit = UNITS.get(report.along, report.along)
        yield f"growth: the exponent in {unit}, from the previous row to this one."
    if any(f"_vs_{name}" in column for column in report.columns for name in COMPARED):
        yield COMPARED_NOTE
    if _rises(report, line):
        yield "*: more padding than at the previous resolution."


# -- several lines ---------------------------------------------------------------------------------------------------


def _matrices(report: Sweep, metric: str, width: int) -> Iterator[Table]:
    """A row for each value of the axis, a column for each line, with all global as a ratio; two tables if one is too wide."""
    room = max((width - LABEL) // CELL, 2)
    lines, count = lines_of(report, metric), line_count_of(report, metric)
    if count > MOST_MATRICES * room:
        lines = (*lines[: MOST_MATRICES * room - 1], lines[-1])
    rows = _thinned(report, *lines)
    hidden = not_shown(lines[0].count - len(rows), count - len(lines))
    note = f"{RATIO_NOTE} {hidden}".strip()
    for start in range(0, len(lines), room):
        some = lines[start : start + room]
        yield _matrix(report, metric, some, rows, note if some[-1] is lines[-1] else "")


def _matrix(report: Sweep, metric: str, lines: Sequence[Line], rows: Sequence[int], note: str) -> Table:
    columns = [_labels(report, lines[0]), *(_cells(report, line, metric) for line in lines)]
    cells = tuple(tuple(column[row] for column in columns) for row in rows)
    headers = (name_along(report), *(line.label for line in lines))
    return Table(_capitalized(name_of(report, metric)), headers, cells, note)


def _cells(report: Sweep, line: Line, metric: str) -> list[str]:
    values, ratios = (values_of(report, line, name) for name in (metric, f"{metric}_vs_all_global"))
    return [
        Figures(formatted(metric, value, short=True), " ", format_ratio(ratio))
        for value, ratio in zip(values, ratios, strict=True)
    ]


# -- rows ------------------------------------------------------------------------------------------------------------


def _capitalized(title: str) -> str:
    return title[0].upper() + title[1:]


def _labels(report: Sweep, line: Line) -> list[str]:
    axis, marked = axis_along(report), _rises(report, line)
    return [f"{value}{' *' if at in marked else ''}" for at, value in enumerate(axis.values)]


def _rises(report: Sweep, line: Line) -> set[int]:
    """Where a line of resolutions has more padding, as a share of its tokens, than at the previous one."""
    if line.label or report.along != "resolution":
        return set()
    shares = values_of(report, line, "padding")
    return {at for at, (before, share) in enumerate(pairwise(shares), 1) if share > before}


def _thinned(report: Sweep, *lines: Line) -> list[int]:
    """Rows to show: all if they are few, else the first and the last, those that stand out, and others evenly between."""
    count = lines[0].count
    if count <= ALL_ROWS:
        return list(range(count))
    kept = {0, count - 1, *_notable(report, *lines)[: MOST_ROWS - 2]}
    spread = MOST_ROWS - len(kept)
    kept |= {round(step * (count - 1) / (spread + 1)) for step in range(1, spread + 1)}
    return sorted(kept)


def _notable(report: Sweep, *lines: Line) -> list[int]:
    """Rows that stand out: where windows begin to pay, where the device is full, and where padding jumps."""
    edges = {
        edge
        for line in lines
        for edge in (*line.pays_from.values(), line.fits_until, line.too_large_from)
        if edge
    }
    by_label = {line.label: line for line in lines}
    return [index for index, value in enumerate(axis_along(report).values) if value in edges] + [
        (cliff.point - by_label[cliff.label].first) // by_label[cliff.label].stride
        for cliff in report.cliffs
        if cliff.label in by_label
    ]
