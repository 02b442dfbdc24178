"""What a chart of a sweep marks: the memory as a line, what fits it, the cheapest window; and what the marks mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod
from typing import Any

from ...figures import PEAKS
from ...records import replace
from ...reports.sweep import Axis, Line, Sweep, in_words
from ...units import format_bytes
from ..charts.lines import Limit, Mark, MarkKind
from .sweep_words import axis_along, formatted, lines_of, name_along, name_of, values_of

MOST_LINES = 12
"""Lines over windows that are drawn."""
FAR = 16
"""How many times beyond the figures the memory may be that is drawn as a line."""
COSTS = ("flops", "macs", "latency_ms")
"""Figures of which the cheapest window is marked."""
MEANINGS = {
    "crossover": "from here on this encoder is cheaper than with every layer global",
    "cliff": "windows stop dividing the grid here, so that padding jumps",
    "measured": "measured on the device",
    "largest that fits": "the next size does not fit {memory}",
    "does not fit": "in {memory}",
    "cheapest": "the window that costs least",
}


# -- windows along the axis ------------------------------------------------------------------------------------------


def over_windows(report: Sweep) -> Sweep:
    """The sweep with windows along its axis if they vary, unless another axis of sizes has more values."""
    windows = next((axis for axis in report.axes if axis.name == "window"), None)
    if windows is None or report.along == "window" or len(windows.values) < len(axis_along(report).values):
        return report
    others = [axis for axis in report.axes if axis is not windows]
    count = prod(len(axis.values) for axis in others)
    lines = tuple(_line(report, windows, number) for number in range(min(count, MOST_LINES)))
    return replace(report, along="window", lines=lines, line_count=count)


def _line(report: Sweep, windows: Axis, number: int) -> Line:
    """A line over windows: the `number`-th combination of the other axes, the last of which varies fastest."""
    first, words, stride = 0, [], 1
    for axis in reversed(report.axes):
        if axis is windows:
            own = stride
        else:
            number, place = divmod(number, len(axis.values))
            first += place * stride
            words += [in_words(axis.name, axis.values[place])] * (len(axis.values) > 1)
        stride *= len(axis.values)
    config = str(report.columns["config"][first])
    return Line(", ".join(reversed(words)), config, first, own, len(windows.values))


def places_of(report: Sweep) -> list[Any]:
    """Where on the axis the points of a line are: numbers, or words if some are not numbers."""
    values = axis_along(report).values
    try:
        return [int(value) if value.isdecimal() else float(value) for value in values]
    except ValueError:
        return list(values)


# -- memory ----------------------------------------------------------------------------------------------------------


def _room(report: Sweep) -> tuple[int, str]:
    """The bytes that a run may take, and whose they are; 0 if neither a device nor a memory was asked for."""
    if report.device:
        nbytes = report.device.usable_bytes
        return nbytes, f"the {format_bytes(nbytes)} that a process can use on {report.device.name}"
    return (
        (report.memory.usable_bytes, format_bytes(report.memory.usable_bytes)) if report.memory else (0, "")
    )


def _peaks(report: Sweep) -> tuple[str, ...]:
    """The peaks that decide what fits, of those that the sweep has."""
    modes = {config.run.mode for config in report.configs}
    return tuple(peak for mode, peak in PEAKS.items() if mode in modes and peak in report.metrics)


def _is_near(report: Sweep, peak: str) -> bool:
    """Whether the memory is near enough to the figures to be drawn with them."""
    values = [value for line in lines_of(report, peak) for value in values_of(report, line, peak)]
    return bool(values) and min(values) / FAR <= _room(report)[0] <= max(values) * FAR


def limits_of(report: Sweep) -> Iterator[Limit]:
    """The memory as a line of each panel with such a peak."""
    nbytes, _ = _room(report)
    whose = f" of {report.device.name}" if report.device else ""
    for peak in _peaks(report) if nbytes else ():
        if _is_near(report, peak):
            yield Limit(name_of(report, peak), nbytes, f"{format_bytes(nbytes)}{whose}")


def fit_in_words(report: Sweep) -> Iterator[str]:
    """Whether everything or nothing fits, and what decides that on a device."""
    room = report.device or report.memory
    if room is None:
        return
    fitting, words = room.fitting, _room(report)[1]
    if fitting in {0, report.points}:
        yield f"{'All points fit' if fitting else 'No point fits'} {words}."
    elif report.device:
        yield "The allocator decides what fits; lines are the live bytes of tensors."


def fit_marks(report: Sweep, line: Line, metric: str) -> Iterator[Mark]:
    """The largest that fits on a line whose sizes grow; on others, each point that does not fit."""
    if metric not in _peaks(report) or "fits" not in report.columns:
        return
    fits = values_of(report, line, "fits")
    if report.along == "window":
        for at in (at for at, each in enumerate(fits) if not each):
            yield mark_at(report, line, metric, "does not fit", at, "does not fit")
    elif line.fits_until is not None:
        at, name = axis_along(report).values.index(line.fits_until), name_along(report)
        text = f"{name} {line.fits_until} fits; {line.too_large_from} is the first that does not"
        yield mark_at(report, line, metric, "largest that fits", at, text)


# -- windows ---------------------------------------------------------------------------------------------------------


def cheapest(report: Sweep, line: Line, metric: str) -> Iterator[Mark]:
    """The cheapest window of a line over windows, if they differ."""
    values = values_of(report, line, metric) if report.along == "window" and metric in COSTS else []
    if len(set(values)) > 1:
        at = values.index(min(values))
        text = f"window {axis_along(report).values[at]} costs least: {formatted(metric, values[at])}"
        yield mark_at(report, line, metric, "cheapest", at, text)


# -- marks -----------------------------------------------------------------------------------------------------------


def mark_at(report: Sweep, line: Line, metric: str, kind: MarkKind, at: int, text: str) -> Mark:
    """A mark on the `at`-th point of a line."""
    x, y = places_of(report)[at], values_of(report, line, metric)[at]
    return Mark(line.label or line.config, name_of(report, metric), kind, x, y, text)


def meanings_of(report: Sweep) -> Mapping[str, str]:
    """What each kind of mark means."""
    _, memory = _room(report)
    return {kind: meaning.format(memory=memory) for kind, meaning in MEANINGS.items()}
