"""The answer of a sweep in short: what fits, the cheapest window, from where on windows pay; else the extremes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from math import prod
from typing import Any

from ...figures import PEAKS
from ...reports.sweep import Line, Sweep
from ...units import format_bytes, format_percent, format_things
from ..elements import BAD, CAUTION, GOOD, Answer
from .sweep_words import axis_along, formatted, is_of, name_along, name_of, point_label

MOST_LINES = 3
"""Lines of the sweep that have a line of the answer each."""
MOST_POINTS = 100_000
"""Points of which the cheapest is looked for."""
NEVER = "never"
"""Of a figure in which windows do not pay at any size of the sweep."""
NUMBERED = ("resolution", "batch_size", "window")
"""Axes whose values grow."""
COST = ("latency_ms", "flops", "macs")
"""What a window is cheap in: the first of these that the sweep has."""


def in_short(report: Sweep) -> Iterator[Answer]:
    """At most seven lines, most often one or two."""
    found = [*_fits(report), *_windows(report), *_pays(report)]
    yield from found or _extremes(report)
    yield from _left_out(report)


def _left_out(report: Sweep) -> Iterator[Answer]:
    """How many values of each axis are left out."""
    for axis in dict.fromkeys(each.axis for each in report.left_out):
        values = {value for each in report.left_out if each.axis == axis for value in each.values}
        name = {"batch_size": "batch size"}.get(axis, axis)
        yield Answer(
            f": {format_things(len(values), name)} that the encoder does not take (see Notes)",
            CAUTION,
            "left out",
        )


# -- what fits -------------------------------------------------------------------------------------------------------


def _fits(report: Sweep) -> Iterator[Answer]:
    """The largest that fits a device or a memory."""
    if report.device:
        where, fitting = (
            f"{report.device.name} ({format_bytes(report.device.usable_bytes)})",
            report.device.fitting,
        )
    elif report.memory:
        where, fitting = f"in {format_bytes(report.memory.usable_bytes)}", report.memory.fitting
    else:
        return
    if len({(line.fits_until, line.too_large_from) for line in report.lines}) == 1:
        yield _verdict(report, report.lines[0], where, fitting)
        return
    yield Answer(f" {where}: {fitting:,} of {format_things(report.points, 'point')}", CAUTION, "fits")
    if report.line_count <= MOST_LINES:
        for line in report.lines:
            yield Answer(f"{line.label or line.config}: {_until(report, line)}")


def _verdict(report: Sweep, line: Line, where: str, fitting: int) -> Answer:
    """Of a line, or of several that are alike."""
    name = name_along(report)
    if line.too_large_from is None:
        return Answer(f" {where} at every point", GOOD, "fits")
    if line.fits_until is None:
        others = f"; {fitting:,} of {format_things(report.points, 'point')} fit" if fitting else ""
        return Answer(f" {where} at {name} {line.too_large_from}, the first{others}", BAD, "does not fit")
    return Answer(f" {where} {_until(report, line)}", GOOD, "fits")


def _until(report: Sweep, line: Line) -> str:
    """The last value that fits on a line."""
    name = name_along(report)
    if line.too_large_from is None:
        return "all fit"
    if line.fits_until is None:
        return f"{name} {line.too_large_from}, the first, does not fit"
    up_to, at = ("up to", "at ") if report.along in NUMBERED else ("with", "with ")
    return f"{up_to} {name} {line.fits_until}, and not {at}{line.too_large_from}"


# -- windows ---------------------------------------------------------------------------------------------------------


def _windows(report: Sweep) -> Iterator[Answer]:
    """The cheapest window, and its padding; where that depends on something else, the window for each value."""
    metric = next((name for name in COST if name in report.metrics), "")
    names = [axis.name for axis in report.axes]
    if (
        not metric
        or "window" not in names
        or not 1 < len(report.axes[names.index("window")].values) < report.points + 1
    ):
        return
    if report.points > MOST_POINTS:
        return
    cheapest = _cheapest(report, names.index("window"), _plain(report.columns[metric]))
    if cheapest:
        yield Answer(_cheapest_in_words(report, cheapest, name_of(report, metric)))


def _cheapest(report: Sweep, at: int, values: Sequence[Any]) -> dict[str, list[int]]:
    """The points at which each window is the cheapest of those that differ from it in the window alone."""
    sizes = [len(axis.values) for axis in report.axes]
    stride = prod(sizes[at + 1 :])
    starts = [
        before * sizes[at] * stride + after
        for before, after in product(range(prod(sizes[:at])), range(stride))
    ]
    found: dict[str, list[int]] = {}
    for start in starts:
        points = [start + number * stride for number in range(sizes[at])]
        known = [point for point in points if values[point] is not None and values[point] == values[point]]
        if known:
            best = min(known, key=values.__getitem__)
            found.setdefault(report.axes[at].values[(best - start) // stride], []).append(best)
    return found


def _cheapest_in_words(report: Sweep, cheapest: dict[str, list[int]], metric: str) -> str:
    padding = _plain(report.columns["padding"]) if "padding" in report.columns else [0.0] * report.points
    (window, points), *others = sorted(cheapest.items(), key=lambda item: -len(item[1]))
    worst = max(padding[point] or 0.0 for point in points)
    pads = (
        f"padding adds {'up to ' if len(points) > 1 else ''}{format_percent(worst)} tokens"
        if worst
        else "no padding"
    )
    if not others:
        return f"cheapest window in {metric}: {window}, {pads}"
    of = sum(map(len, cheapest.values()))
    counts = ", ".join(f"{other} at {len(at)}" for other, at in others[:MOST_LINES])
    return f"cheapest window in {metric}: {window} at {len(points)} of {of} ({pads}), {counts}"


# -- where windows pay -----------------------------------------------------------------------------------------------


def _pays(report: Sweep) -> Iterator[Answer]:
    """From which size on the encoder is cheaper than with every layer global."""
    lines = [line for line in report.lines if line.pays_from]
    texts = {line.label or line.config: _pays_on(report, line) for line in lines}
    if len(set(texts.values())) == 1:
        yield Answer(_sentence(next(iter(texts.values()))))
    elif len(texts) <= MOST_LINES:
        yield from (Answer(f"{label}: {_sentence(text)}") for label, text in texts.items())
    elif texts:
        yield Answer(_pays_on_many(report, lines))


def _sentence(where: str) -> str:
    return (
        f"windows {where.replace(NEVER, f'{NEVER} pay', 1)}"
        if where.startswith(NEVER)
        else f"windows pay {where}"
    )


def _pays_on(report: Sweep, line: Line) -> str:
    """In which figures windows pay from which size on."""
    by_size: dict[str, list[str]] = {}
    for metric, size in line.pays_from.items():
        if is_of(report, metric, line.first):
            by_size.setdefault(size, []).append(name_of(report, metric))
    return ", ".join(f"{_from(report, size)} in {_listed(names)}" for size, names in by_size.items())


def _listed(names: Sequence[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def _from(report: Sweep, size: str) -> str:
    if not size:
        return NEVER
    return "at every size" if size == axis_along(report).values[0] else f"from {size} px on"


def _pays_on_many(report: Sweep, lines: Sequence[Line]) -> str:
    """Of many lines, the smallest and largest size of the first figure."""
    sizes, metric = [*axis_along(report).values, ""], report.metrics[0]
    found = sorted({line.pays_from[metric] for line in lines if metric in line.pays_from}, key=sizes.index)
    name = name_of(report, metric)
    if not found:
        return "where windows pay differs from line to line: see the table"
    if len(found) == 1:
        return f"{_sentence(f'{_from(report, found[0])} in {name}')}; other figures differ from line to line"
    return f"windows pay {_from(report, found[0])} to {_from(report, found[-1])} in {name}: it differs from line to line"


# -- extremes --------------------------------------------------------------------------------------------------------


def _extremes(report: Sweep) -> Iterator[Answer]:
    """The lowest and the highest cost, and peak."""
    if report.points > MOST_POINTS:
        return
    peaks = [metric for metric in PEAKS.values() if metric in report.metrics]
    for metric in dict.fromkeys([report.metrics[0], *peaks[:1]]):
        values = _plain(report.columns[metric])
        points = [at for at, value in enumerate(values) if value is not None and is_of(report, metric, at)]
        if points:
            low, high = min(points, key=values.__getitem__), max(points, key=values.__getitem__)
            yield Answer(
                f"{name_of(report, metric)}: {_at(report, metric, low, values)} to {_at(report, metric, high, values)}"
            )


def _at(report: Sweep, metric: str, point: int, values: Sequence[Any]) -> str:
    return f"{formatted(metric, values[point])} ({_place(report, point)})"


def _place(report: Sweep, point: int) -> str:
    """The values of the axes; of one axis with its name."""
    varied = [axis.name for axis in report.axes if len(axis.values) > 1]
    label = point_label(report, point)
    return f"{name_along(report)} {label}" if varied == [report.along] else label


def _plain(column: Any) -> list[Any]:
    return list(column.tolist() if hasattr(column, "tolist") else column)
