"""What a sweep's figures are called, and how they are taken out of its columns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ...encoder.keys import Pair
from ...figures import FIGURES, PEAKS
from ...reports.sweep import Axis, Line, Sweep
from ...units import format_amount, format_count, format_size

MODE_AXES = ("mode", "run.mode")


def name_of(report: Sweep, metric: str) -> str:
    """A metric in words; the time of a training step is that of the whole of it."""
    return FIGURES[metric].word_in({config.run.mode for config in report.configs})


def formatted(metric: str, value: Any, *, short: bool = False) -> str:
    """A metric with its unit."""
    unit = FIGURES[metric].unit
    if unit in {"B", "ms"}:
        return format_amount(value, unit)
    return format_count(value, "" if short or unit == "params" else unit)


def or_nothing(value: float | None, format_: Callable[[float], str]) -> str:
    """A number that may be none, or not one."""
    return "" if value is None or value != value else format_(value)  # noqa: PLR0124 - not a number


def values_of(report: Sweep, line: Line, name: str) -> list[Any]:
    """A column's values on a line, as Python's own."""
    column = report.columns[name][line.first : line.first + line.stride * line.count : line.stride]
    return list(column.tolist() if hasattr(column, "tolist") else column)


def lines_of(report: Sweep, metric: str) -> tuple[Line, ...]:
    """The lines to show a metric on: of lines that differ in the mode only one, if the metric does not depend on it."""
    axis = _mode_axis(report)
    if axis is None or FIGURES[metric].by_mode:
        return report.lines
    judges = next((mode for mode, peak in PEAKS.items() if peak == metric), "")
    mode = judges if judges in axis.values else axis.values[0]
    word = mode if axis.name == "mode" else f"{axis.name} {mode}"
    return tuple(
        replace(line, label=_without(line.label, word))
        for line in report.lines
        if report.mode_at(line.first) == mode
    )


def line_count_of(report: Sweep, metric: str) -> int:
    """How many such lines there are, also of those that are not shown."""
    axis = _mode_axis(report)
    return (
        report.line_count
        if axis is None or FIGURES[metric].by_mode
        else report.line_count // len(axis.values)
    )


def _mode_axis(report: Sweep) -> Axis | None:
    """The axis of modes, if lines differ in it."""
    several = (axis for axis in report.axes if len(axis.values) > 1 and axis.name != report.along)
    return next((axis for axis in several if axis.name in MODE_AXES), None)


def is_of(report: Sweep, metric: str, point: int) -> bool:
    """Whether a metric is of a point: where modes vary each peak is of the points of its mode alone."""
    modes = {config.run.mode for config in report.configs}
    return metric not in PEAKS.values() or len(modes) == 1 or PEAKS[report.mode_at(point)] == metric


def _without(label: str, word: str) -> str:
    """The label of a line without one of its words."""
    return f", {label}, ".replace(f", {word}, ", ", ", 1).removeprefix(", ").removesuffix(", ")


def rows_of(line: Line) -> range:
    """The points of a line, by their rows."""
    return range(line.first, line.first + line.stride * line.count, line.stride)


def axis_along(report: Sweep) -> Axis:
    """The axis that lines go along."""
    return next(axis for axis in report.axes if axis.name == report.along)


def name_along(report: Sweep) -> str:
    """What to call it."""
    return {"batch_size": "batch"}.get(report.along, report.along)


def size_label(size: Pair) -> str:
    """One number for a square."""
    return str(size[0]) if size[0] == size[1] else format_size(size)


def point_label(report: Sweep, row: int) -> str:
    """What tells a point from the others."""
    words = []
    for axis in reversed(report.axes):
        row, place = divmod(row, len(axis.values))
        if len(axis.values) > 1:
            words.append(axis.values[place])
    return " ".join(reversed(words)) or "all"
