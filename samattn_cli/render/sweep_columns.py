"""What a sweep's figures are called, and how they are taken out of its columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..config.keys import Pair
from ..reports.sweep import Axis, Line, Sweep
from ..units import format_bytes, format_count, format_ms, format_size

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


def formatted(metric: str, value: Any, *, short: bool = False) -> str:
    """A metric with its unit."""
    if metric.endswith("_bytes"):
        return format_bytes(value)
    if metric.endswith("_ms"):
        return format_ms(value)
    unit = "" if short else {"macs": "MAC", "params": ""}.get(metric, "FLOP")
    return format_count(value, unit)


def or_nothing(value: float | None, format_: Callable[[float], str]) -> str:
    """A number that may be none, or not one."""
    return "" if value is None or value != value else format_(value)  # noqa: PLR0124 - not a number


def values_of(report: Sweep, line: Line, name: str) -> list[Any]:
    """A column's values on a line, as Python's own."""
    column = report.columns[name][line.first : line.first + line.stride * line.count : line.stride]
    return list(column.tolist() if hasattr(column, "tolist") else column)


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
