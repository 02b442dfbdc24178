"""A sweep as tables, which are thinned, and as rows, which are not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from ...config.keys import Pair
from ...reports.sweep import Axis, Cliff, Line, MeasuredPoint, MeasuredPoints, Sweep
from ...units import (
    format_bytes,
    format_count,
    format_ms,
    format_percent,
    format_ratio,
    format_size,
    format_things,
)
from ..elements import Lines, Page, Section, Table
from ..options import Options
from .analysis import how_it_runs

Format = Callable[[Any], str]

NAMES = {
    "flops": "FLOPs",
    "macs": "MACs",
    "params": "parameters",
    "elementwise_flops": "elementwise FLOPs",
    "attention_bytes": "score matrices",
    "weights_bytes": "weights",
    "peak_bytes": "peak, inference",
    "training_bytes": "peak, training step",
    "latency_ms": "time of a pass",
}
"""The metrics in words."""

UNITS = {"resolution": "pixels", "batch_size": "images", "window": "tokens of a window"}
"""What growth along an axis is in."""

PLURALS = {"resolution": "resolutions", "window": "windows", "batch_size": "batch sizes", "config": "configs"}

MOST_ROWS = 24
MOST_NAMES = 6
CHUNK = 10_000
"""Rows that are taken out of the columns at once."""
LABEL, CELL = 12, 19
"""Columns of a terminal that the rows' names take in a matrix, and each line of points."""


def page(report: Sweep, options: Options) -> Page:
    """What varies, the figures, and what stands out."""
    return Page(_title(report), _subtitle(report), tuple(_sections(report, options)))


def _title(report: Sweep) -> str:
    names = list(dict.fromkeys(line.config for line in report.lines))
    listed = next((axis.values for axis in report.axes if axis.name == "config"), tuple(names))
    more = f" and {len(listed) - MOST_NAMES} more" if len(listed) > MOST_NAMES else ""
    return f"{', '.join(listed[:MOST_NAMES])}{more}: {report.points:,} points"


def _subtitle(report: Sweep) -> str:
    varied = {axis.name for axis in report.axes}
    run = report.configs[0].run
    fixed = [
        word
        for word in how_it_runs(run)
        if not (word.startswith("batch ") and "batch_size" in varied)
        and not ("dtype" in varied and word == run.dtype)
        and not ("attention" in varied and word.endswith(" attention"))
        and not ("mode" in varied and word.startswith("training"))
    ]
    return "; ".join([*map(_axis, report.axes), ", ".join(fixed)])


def _axis(axis: Axis) -> str:
    if len(axis.values) == 1:
        return f"{axis.name} {axis.values[0]}"
    if len(axis.values) <= MOST_NAMES:
        return f"{axis.name} {', '.join(axis.values)}"
    return f"{len(axis.values):,} {PLURALS.get(axis.name, axis.name)}, {axis.values[0]} to {axis.values[-1]}"


def _sections(report: Sweep, options: Options) -> Iterator[Section]:
    if report.line_count == 1:
        size = 2 if options.wide else 1
        for start in range(0, len(report.metrics), size):
            table = _table(report, report.lines[0], report.metrics[start : start + size])
            yield table if start + size >= len(report.metrics) else replace(table, note="")
    else:
        for metric in report.metrics:
            table = _matrix(report, metric, options.width)
            yield table if metric == report.metrics[-1] else replace(table, note="")
    if report.measured:
        yield _measured(report, report.measured)
    if any(line.pays_from for line in report.lines):
        yield _crossovers(report)
    if report.device:
        yield Lines(f"On {report.device.name} ({report.device.description})", tuple(_fits(report)))
    if report.cliffs:
        yield _cliffs(report)


def _table(report: Sweep, line: Line, metrics: Sequence[str]) -> Table:
    """The points of one line, and of each metric how it grows and what other placements of global layers cost."""
    extras = _extras(report)
    headers, columns = [_along(report), *extras], [_labels(report, line), *extras.values()]
    for metric in metrics:
        for header, cells in _of_metric(report, line, metric):
            headers.append(header)
            columns.append(cells)
    rows = _thinned(report, line)
    shown = tuple(tuple(column[row] for column in columns) for row in rows)
    title = " and ".join(NAMES[metric] for metric in metrics)
    note = " ".join(filter(None, (_meaning(report), _left_out(line.count - len(rows)))))
    return Table(title[0].upper() + title[1:], tuple(headers), shown, note)


def _extras(report: Sweep) -> dict[str, list[str]]:
    """Columns beside the metrics: padding, and whether it fits; of the only line."""
    line, found = report.lines[0], {}
    padding = _values(report, line, "padding")
    if any(padding):
        found["padding"] = [f"+{format_percent(share)}" if share else "" for share in padding]
    if "fits" in report.columns:
        found["fits"] = ["yes" if fits else "no" for fits in _values(report, line, "fits")]
    return found


def _of_metric(report: Sweep, line: Line, metric: str) -> Iterator[tuple[str, list[str]]]:
    yield NAMES[metric], [formatted(metric, value) for value in _values(report, line, metric)]
    if f"{metric}_growth" in report.columns:
        yield "growth", [_or_nothing(value, _growth) for value in _values(report, line, f"{metric}_growth")]
    for name, header in (("all_global", "all global"), ("all_windowed", "windowed")):
        if f"{metric}_vs_{name}" in report.columns:
            yield (
                header,
                [_or_nothing(value, format_ratio) for value in _values(report, line, f"{metric}_vs_{name}")],
            )


def _matrix(report: Sweep, metric: str, width: int) -> Table:
    """A row a point of the axis, a column a line, with what all global costs of it."""
    room = max((width - LABEL) // CELL, 2)
    lines = report.lines
    if report.line_count > room:
        lines = (*lines[: room - 1], lines[-1])
    rows = _thinned(report, *lines)
    columns = [_labels(report, lines[0]), *(_cells(report, line, metric) for line in lines)]
    cells = tuple(tuple(column[row] for column in columns) for row in rows)
    headers = (_along(report), *(line.label for line in lines))
    note = ["The ratio: all global over this, above 1.00x a gain."]
    if any(_values(report, line, "padding")[row] for line in lines for row in rows):
        note.append("p: padded.")
    note.append(_left_out(lines[0].count - len(rows), report.line_count - len(lines)))
    name = NAMES[metric]
    return Table(name[0].upper() + name[1:], headers, cells, " ".join(filter(None, note)))


def _cells(report: Sweep, line: Line, metric: str) -> list[str]:
    values = zip(
        _values(report, line, metric),
        _values(report, line, f"{metric}_vs_all_global"),
        _values(report, line, "padding"),
        _values(report, line, "fits") if "fits" in report.columns else [True] * line.count,
        strict=True,
    )
    return [
        f"{'p ' if padding else ''}{formatted(metric, value, short=True)} {format_ratio(ratio)}{'' if fits else ' !'}"
        for value, ratio, padding, fits in values
    ]


def formatted(metric: str, value: Any, *, short: bool = False) -> str:
    """A metric with its unit."""
    if metric.endswith("_bytes"):
        return format_bytes(value)
    if metric.endswith("_ms"):
        return format_ms(value)
    unit = "" if short else {"macs": "MAC", "params": ""}.get(metric, "FLOP")
    return format_count(value, unit)


def _growth(value: float) -> str:
    return f"{value:.2f}"


def _or_nothing(value: float | None, format_: Callable[[float], str]) -> str:
    return "" if value is None or value != value else format_(value)  # noqa: PLR0124 - not a number


def _values(report: Sweep, line: Line, name: str) -> list[Any]:
    """A column's values on a line, as Python's own."""
    column = report.columns[name][line.first : line.first + line.stride * line.count : line.stride]
    return list(column.tolist() if hasattr(column, "tolist") else column)


def _labels(report: Sweep, line: Line) -> list[str]:
    axis = next(axis for axis in report.axes if axis.name == report.along)
    marked = {
        (cliff.point - line.first) // line.stride
        for cliff in report.cliffs
        if report.line_count == 1 and report.along == "resolution"
    }
    return [f"{value}{' *' if at in marked else ''}" for at, value in enumerate(axis.values)]


def _along(report: Sweep) -> str:
    return {"batch_size": "batch"}.get(report.along, report.along)


def _thinned(report: Sweep, *lines: Line) -> list[int]:
    """Rows to show: all of a few, else the ends, what stands out, and others evenly between."""
    count = lines[0].count
    if count <= MOST_ROWS:
        return list(range(count))
    axis = next(axis for axis in report.axes if axis.name == report.along)
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


def _left_out(rows: int, lines: int = 0) -> str:
    parts = [f"{rows:,} rows"] * bool(rows) + [f"{lines:,} columns"] * bool(lines)
    return f"Left out: {' and '.join(parts)}; -o FILE.csv has all." if parts else ""


def _meaning(report: Sweep) -> str:
    meaning = ""
    if any(name.endswith("_growth") for name in report.columns):
        unit = UNITS.get(report.along, report.along)
        meaning = f"Growth: the exponent in {unit} since the point before, e of {unit}^e."
    meaning += (
        " all global, windowed: what the encoder with every layer so costs over this, above 1.00x a gain."
    )
    if report.cliffs and report.along == "resolution":
        meaning += " *: padding jumps."
    return meaning.strip()


def _crossovers(report: Sweep) -> Table:
    """From where on windows pay, a row a line."""
    lines = [line for line in report.lines if line.pays_from]
    axis = next(axis for axis in report.axes if axis.name == report.along)
    headers = ("", *(NAMES[metric] for metric in report.metrics))

    def words(value: str) -> str:
        return "no" if not value else "at all of these" if value == axis.values[0] else f"from {value} on"

    rows = tuple(
        (line.label or line.config, *(words(line.pays_from[metric]) for metric in report.metrics))
        for line in lines
    )
    left = report.line_count - len(report.lines)
    note = "Cheaper than with every layer global, at these resolutions; no: never, or by less than 1 %."
    return Table(
        "Where windows pay",
        headers,
        rows,
        f"{note} {_left_out(left)}".strip(),
        text_columns=tuple(range(len(headers))),
    )


def _fits(report: Sweep) -> Iterator[str]:
    assert report.device is not None  # noqa: S101 - asked for only where there is one; told to the type checker
    usable = format_bytes(report.device.usable_bytes)
    fitting = sum(map(bool, report.columns["fits"]))
    yield f"{fitting:,} of {format_things(report.points, 'point')} fit in the {usable} that a process has of its {report.device.memory_size}"
    for line in report.lines:
        yield f"{line.label or line.config}: {_fits_until(report, line)}"
    if report.line_count > len(report.lines):
        yield _left_out(report.line_count - len(report.lines))


def _fits_until(report: Sweep, line: Line) -> str:
    axis = _along(report)
    if line.too_large_from is None:
        return "all fit"
    if line.fits_until is None:
        return f"{axis} {line.too_large_from}, the first, does not fit"
    return f"{axis} {line.fits_until} fits; {line.too_large_from} is the first that does not"


def _cliffs(report: Sweep) -> Table:
    names = {axis.name for axis in report.axes if len(axis.values) > 1}
    named = bool(names - {"resolution", "window", "batch_size"})
    headers = (
        *(("",) if named else ()),
        "resolution",
        "window",
        "grid",
        "padded to",
        "tokens",
        "FLOPs",
        "none at",
    )
    rows = tuple(_cliff(cliff, named=named) for cliff in report.cliffs)
    note = "Tokens that padding adds to windowed layers, the share of the encoder's FLOPs that they take, and the nearest "
    note += f"resolutions without. {_left_out(report.cliff_count - len(report.cliffs))}"
    return Table("Padding", headers, rows, note.strip())


def _cliff(cliff: Cliff, *, named: bool) -> tuple[str, ...]:
    return (
        *((cliff.label,) if named else ()),
        _label(cliff.resolution),
        _label(cliff.window_size),
        format_size(cliff.grid),
        format_size(cliff.padded_grid),
        f"+{100 * cliff.padding:.1f} %",
        f"{100 * cliff.flops_share:.1f} %",
        ", ".join(_label(size) for size in (cliff.below, cliff.above) if size),
    )


def _label(size: Pair) -> str:
    return str(size[0]) if size[0] == size[1] else format_size(size)


def _measured(report: Sweep, measured: MeasuredPoints) -> Table:
    """Measured beside predicted, a row a point."""
    timed = any(point.predicted_ms is not None for point in measured.points)
    headers = ("", "peak", "predicted", "ratio", "median", *(("predicted", "ratio") if timed else ()))
    rows = tuple(_measured_row(report, point, timed=timed) for point in measured.points)
    note = f"Peak: of torch's allocator, without the cuBLAS workspace; ratio: measured over predicted. On {measured.fingerprint}."
    if measured.fingerprint.kind == "cpu":
        note += " The prediction is of CUDA's kernels."
    return Table("Measured", headers, rows, note)


def _measured_row(report: Sweep, point: MeasuredPoint, *, timed: bool) -> tuple[str, ...]:
    name, predicted = point_label(report, point.point), format_bytes(point.predicted_bytes)
    if point.peak_bytes is None or point.latency_ms is None:
        return (name, point.status, predicted, *[""] * (4 if timed else 2))
    figures = (
        format_bytes(point.peak_bytes),
        predicted,
        _or_nothing(point.peak_ratio, "{:.4f}".format),
        format_ms(point.latency_ms),
    )
    if not timed:
        return (name, *figures)
    time = (
        "" if point.predicted_ms is None else format_ms(point.predicted_ms),
        _or_nothing(point.latency_ratio, "{:.2f}".format),
    )
    return (name, *figures, *time)


def point_label(report: Sweep, row: int) -> str:
    """What tells a point from the others."""
    words = []
    for axis in reversed(report.axes):
        row, place = divmod(row, len(axis.values))
        if len(axis.values) > 1:
            words.append(axis.values[place])
    return " ".join(reversed(words)) or "all"


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
