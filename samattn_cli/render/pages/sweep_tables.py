"""The figures of a sweep as tables: one line of points with all that is known of it, or several side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from ...figures import PEAKS
from ...reports.sweep import Line, Sweep
from ...units import format_percent, format_ratio
from ..elements import Table
from .sweep_columns import (
    axis_along,
    formatted,
    is_of,
    line_count_of,
    lines_of,
    name_along,
    name_of,
    or_nothing,
    rows_of,
    values_of,
)

UNITS = {"resolution": "pixels", "batch_size": "images", "window": "tokens of a window"}
"""What growth along an axis is in."""

ALL_ROWS, MOST_ROWS = 32, 24
"""Rows up to which all are shown, and how many of more."""
MOST_MATRICES = 2
"""Tables in which a metric of several lines is shown."""
LABEL, CELL = 12, 19
"""Columns of a terminal that the rows' names take in a matrix, and each line of points."""


def line_table(report: Sweep, line: Line, metrics: Sequence[str]) -> Table:
    """The points of one line, and of each metric how it grows and what other placements of global layers cost."""
    extras = _extras(report, line)
    headers, columns = [name_along(report), *extras], [_labels(report, line), *extras.values()]
    rows = _thinned(report, line)
    grows = len(rows) == line.count  # of rows with others left out between it is not theirs
    for metric in metrics:
        for header, cells in _of_metric(report, line, metric, grows=grows):
            headers.append(header)
            columns.append(cells)
    shown = tuple(tuple(column[row] for column in columns) for row in rows)
    title = " and ".join(name_of(report, metric) for metric in metrics)
    note = " ".join(filter(None, (_meaning(report, line, grows=grows), left_out(line.count - len(rows)))))
    return Table(title[0].upper() + title[1:], tuple(headers), shown, note)


def _extras(report: Sweep, line: Line) -> dict[str, list[str]]:
    """Columns next to the metrics: padding."""
    padding = values_of(report, line, "padding")
    shown = [f"+{format_percent(share)}" if share else "" for share in padding]
    return {"padding": shown} if any(padding) else {}


def _of_metric(report: Sweep, line: Line, metric: str, *, grows: bool) -> Iterator[tuple[str, list[str]]]:
    of_row = [is_of(report, metric, row) for row in rows_of(line)]
    for header, cells in _columns(report, line, metric, grows=grows):
        yield header, [cell if of else "" for cell, of in zip(cells, of_row, strict=True)]


def _columns(report: Sweep, line: Line, metric: str, *, grows: bool) -> Iterator[tuple[str, list[str]]]:
    """A metric, whether it fits if it is the peak of the run, its growth, and what others cost."""
    yield name_of(report, metric), [formatted(metric, value) for value in values_of(report, line, metric)]
    judged = [PEAKS[report.mode_at(row)] == metric for row in rows_of(line)]
    if "fits" in report.columns and any(judged):
        fits = values_of(report, line, "fits")
        yield "fits", [{True: "yes", False: "no"}[bool(each)] for each in fits]
    if grows and f"{metric}_growth" in report.columns:
        yield "growth", [or_nothing(value, _growth) for value in values_of(report, line, f"{metric}_growth")]
    for name, header in (("all_global", "all global"), ("all_windowed", "windowed")):
        if f"{metric}_vs_{name}" in report.columns:
            yield (
                header,
                [or_nothing(value, format_ratio) for value in values_of(report, line, f"{metric}_vs_{name}")],
            )


def matrices(report: Sweep, metric: str, width: int) -> Iterator[Table]:
    """A row a point of the axis, a column a line, with what all global costs of it; in two tables where one is too wide."""
    room = max((width - LABEL) // CELL, 2)
    lines, count = lines_of(report, metric), line_count_of(report, metric)
    if count > MOST_MATRICES * room:
        lines = (*lines[: MOST_MATRICES * room - 1], lines[-1])
    rows = _thinned(report, *lines)
    note = ["The ratio: all global over this, above 1.00x a gain."]
    note.append(left_out(lines[0].count - len(rows), count - len(lines)))
    for start in range(0, len(lines), room):
        some = lines[start : start + room]
        yield _matrix(
            report, metric, some, rows, " ".join(filter(None, note)) if some[-1] is lines[-1] else ""
        )


def _matrix(report: Sweep, metric: str, lines: Sequence[Line], rows: Sequence[int], note: str) -> Table:
    columns = [_labels(report, lines[0]), *(_cells(report, line, metric) for line in lines)]
    cells = tuple(tuple(column[row] for column in columns) for row in rows)
    headers = (name_along(report), *(line.label for line in lines))
    name = name_of(report, metric)
    return Table(name[0].upper() + name[1:], headers, cells, note)


def _cells(report: Sweep, line: Line, metric: str) -> list[str]:
    values = zip(
        values_of(report, line, metric),
        values_of(report, line, f"{metric}_vs_all_global"),
        strict=True,
    )
    return [f"{formatted(metric, value, short=True)} {format_ratio(ratio)}" for value, ratio in values]


def _growth(value: float) -> str:
    return f"{value:.2f}"


def _labels(report: Sweep, line: Line) -> list[str]:
    axis, marked = axis_along(report), _rises(report, line)
    return [f"{value}{' *' if at in marked else ''}" for at, value in enumerate(axis.values)]


def _rises(report: Sweep, line: Line) -> set[int]:
    """Where the line of a table has more padding, as a share of its tokens, than at the resolution before."""
    if line.label or report.along != "resolution":
        return set()
    shares = values_of(report, line, "padding")
    return {at for at, (before, share) in enumerate(pairwise(shares), 1) if share > before}


def _thinned(report: Sweep, *lines: Line) -> list[int]:
    """Rows to show: all of a few, else the ends, what stands out, and others evenly between."""
    count = lines[0].count
    if count <= ALL_ROWS:
        return list(range(count))
    axis = axis_along(report)
    edges = {
        edge
        for line in lines
        for edge in (*line.pays_from.values(), line.fits_until, line.too_large_from)
        if edge
    }
    labels = {line.label: line for line in lines}
    notable = [index for index, value in enumerate(axis.values) if value in edges]
    notable += [
        (cliff.point - labels[cliff.label].first) // labels[cliff.label].stride
        for cliff in report.cliffs
        if cliff.label in labels
    ]
    kept = {0, count - 1, *notable[: MOST_ROWS - 2]}
    spread = MOST_ROWS - len(kept)
    kept |= {round(step * (count - 1) / (spread + 1)) for step in range(1, spread + 1)}
    return sorted(kept)


def left_out(rows: int, lines: int = 0) -> str:
    """What a table does not show, and what does."""
    parts = [
        f"{count:,} {noun}{'' if count == 1 else 's'}"
        for count, noun in ((rows, "row"), (lines, "line"))
        if count
    ]
    return f"Left out: {' and '.join(parts)}; -o FILE.csv has all." if parts else ""


def _meaning(report: Sweep, line: Line, *, grows: bool) -> str:
    meaning = ""
    if grows and any(name.endswith("_growth") for name in report.columns):
        unit = UNITS.get(report.along, report.along)
        meaning = f"Growth: the exponent in {unit}, from the point before to this."
    meaning += (
        " all global, windowed: what the encoder with every layer so costs over this, above 1.00x a gain."
    )
    if _rises(report, line):
        meaning += " *: more padding than at the resolution before."
    return meaning.strip()
