"""The points of a sweep as lines along one axis: how figures grow along a line, and where it crosses a limit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np

from ..reports.sweep import Axis, Line, in_words
from .points import SIDES
from .repeated import Computed, Where, rows_at

COUNTED = ("resolution", "batch_size", "window")
"""Axes that every encoder has, in the order of preference for the direction of lines."""
MOST_LINES = 12
"""Lines that the report describes one by one."""
WORTH = 0.01
"""Windows pay if the all-global encoder costs at least this share more at some point."""

Array = np.ndarray[Any, np.dtype[Any]]
Columns = Mapping[str, Any]


def along_of(axes: Sequence[Axis]) -> str:
    """The axis of lines: one of `COUNTED`, else one of ascending numbers, else the last one with several values."""
    several = {axis.name: axis for axis in axes if len(axis.values) > 1}
    counted = [name for name in COUNTED if name in several]
    numbers = [name for name, axis in several.items() if _ascends(axis.values)]
    last = [*several][-1:] or [axes[-1].name]
    return [*counted, *numbers, *last][0]


def _ascends(values: Sequence[str]) -> bool:
    try:
        numbers = [float(value) for value in values]
    except ValueError:
        return False
    return numbers[0] > 0 and all(one < two for one, two in pairwise(numbers))


def _sizes(along: str, columns: Columns, where: Where) -> Array:
    """The quantity of the axis at some points: pixels, images, tokens of a window."""
    axes = [axis for axis in SIDES if axis in columns]
    if along == "resolution":
        return np.asarray(np.prod([columns[axis].at(where).astype(float) for axis in axes], axis=0))
    sizes = np.asarray(columns[along].at(where).astype(float))
    return sizes ** len(axes) if along == "window" else sizes


def growth(axes: Sequence[Axis], along: str, columns: Columns, metrics: Sequence[str]) -> dict[str, Computed]:
    """The exponent e of each metric m between adjacent points of a line: m ~ size**e.

    e = log(m / m before) / log(size / size before). NaN at the first point, and where m is 0 at one of the two.
    """
    axis = next(axis for axis in axes if axis.name == along)
    if along not in COUNTED and not _ascends(axis.values):
        return {}
    if len(axis.values) == 1 or not _has_sizes(along, columns):
        return {}
    stride = prod(len(axis.values) for axis in axes[axes.index(axis) + 1 :])
    return {
        f"{metric}_growth": _exponents(along, columns, metric, (len(axis.values), stride))
        for metric in metrics
    }


def _has_sizes(along: str, columns: Columns) -> bool:
    if along in COUNTED:
        return True
    try:
        columns[along].values.astype(float)
    except (TypeError, ValueError):
        return False
    return True


def _exponents(along: str, columns: Columns, metric: str, steps: tuple[int, int]) -> Computed:
    """A column; `steps`: the points of a line, and the rows from one to the next."""
    count, stride = steps
    values = columns[metric]
    known = {name: columns[name] for name in (*SIDES, along) if name in columns}

    def at(where: Where) -> Array:
        rows = rows_at(where, len(values))
        exponents = np.full(len(rows), np.nan)
        later = rows // stride % count > 0
        now = rows[later]
        with np.errstate(divide="ignore", invalid="ignore"):
            rise = _rise(_rows_of(values, now), _rows_of(values, now - stride))
            step = _rise(_sizes(along, known, now), _sizes(along, known, now - stride))
            exponents[later] = np.where((step == 0) | np.isinf(rise), np.nan, rise / step)
        return exponents

    return Computed(at, np.dtype(float), len(values))


def _rows_of(values: Any, rows: Array) -> Array:
    return np.asarray(values.at(rows) if isinstance(values, Computed) else values[rows])


def _rise(now: Array, before: Array) -> Array:
    return np.asarray(np.log(now.astype(float)) - np.log(before.astype(float)))


def lines_of(
    axes: Sequence[Axis], along: str, columns: Columns, metrics: Sequence[str], windowed: Sequence[bool]
) -> tuple[tuple[Line, ...], int]:
    """The first lines and the last one, and how many there are; `windowed`: whether each encoder has windows."""
    others = [axis for axis in axes if axis.name != along]
    count = prod(len(axis.values) for axis in others)
    chosen = range(count) if count <= MOST_LINES else [*range(MOST_LINES - 1), count - 1]
    return tuple(_line(axes, along, columns, metrics, windowed, number) for number in chosen), count


def _line(
    axes: Sequence[Axis],
    along: str,
    columns: Columns,
    metrics: Sequence[str],
    windowed: Sequence[bool],
    number: int,
) -> Line:
    names = [axis.name for axis in axes]
    counts = [1 if name == along else len(axis.values) for name, axis in zip(names, axes, strict=True)]
    index = [int(place) for place in np.unravel_index(number, counts)]
    strides = [prod(len(axis.values) for axis in axes[at + 1 :]) for at in range(len(axes))]
    at = names.index(along)
    first = sum(place * stride for place, stride in zip(index, strides, strict=True))
    where = slice(first, first + strides[at] * len(axes[at].values), strides[at])
    words = [
        in_words(axis.name, axis.values[place])
        for axis, place in zip(axes, index, strict=True)
        if axis.name != along and len(axis.values) > 1
    ]
    has_windows = windowed[first * len(windowed) // len(columns["height"])]
    until, beyond = _fitting(axes[at], columns, where)
    return Line(
        label=", ".join(words),
        config=str(columns["config"][first]),
        first=first,
        stride=strides[at],
        count=len(axes[at].values),
        pays_from=dict(_pays(axes[at], columns, metrics, where)) if has_windows else {},
        fits_until=until,
        too_large_from=beyond,
    )


def _pays(axis: Axis, columns: Columns, metrics: Sequence[str], where: slice) -> Iterator[tuple[str, str]]:
    """For each metric, the resolution from which the all-global encoder costs more; "" if never by `WORTH`."""
    if axis.name != "resolution" or len(axis.values) == 1:
        return
    for metric in metrics:
        ratios = columns[f"{metric}_vs_all_global"][where]
        not_yet = np.flatnonzero(~(ratios > 1))
        start = int(not_yet[-1]) + 1 if len(not_yet) else 0
        pays = start < len(ratios) and ratios[start:].max() >= 1 + WORTH
        yield metric, axis.values[start] if pays else ""


def _fitting(axis: Axis, columns: Columns, where: slice) -> tuple[str | None, str | None]:
    if "fits" not in columns:
        return None, None
    beyond = np.flatnonzero(~columns["fits"][where])
    if not len(beyond):
        return None, None
    first = int(beyond[0])
    return (axis.values[first - 1] if first else None), axis.values[first]
