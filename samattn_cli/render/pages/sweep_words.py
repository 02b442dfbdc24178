"""What a sweep's points, lines, axes and figures are called, and how figures are taken out of its columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

from ...encoder.model import EncoderConfig
from ...encoder.placement import Placement
from ...errors import Message
from ...figures import FIGURES, PEAKS
from ...records import replace
from ...reports.sweep import Axis, Line, Sweep
from ...units import format_amount, format_count, format_side, format_size, format_things
from .analysis import how_it_runs

MODE_AXES = ("mode", "run.mode")
PLURALS = {"resolution": "resolutions", "window": "windows", "batch_size": "batch sizes", "config": "configs"}
MOST_NAMES = 6
"""Names that a heading lists."""


# -- the whole sweep -------------------------------------------------------------------------------------------------


def title_of(report: Sweep) -> str:
    """The configs, and the number of points."""
    names = tuple(dict.fromkeys(line.config for line in report.lines))
    listed = next((axis.values for axis in report.axes if axis.name == "config"), names)
    more = f" and {len(listed) - MOST_NAMES} more" if len(listed) > MOST_NAMES else ""
    return f"{', '.join(listed[:MOST_NAMES])}{more}: {format_things(report.points, 'point')}"


def subtitle_of(report: Sweep) -> str:
    """The axes except for the configs, which the title names; then the image size and the run, where they do not vary."""
    axes = [_axis(axis) for axis in report.axes if axis.name != "config"]
    return "; ".join([*axes, *filter(None, [", ".join(_fixed(report))])])


def _fixed(report: Sweep) -> list[str]:
    """What is the same at every point, in words."""
    varied = {axis.name for axis in report.axes}
    run = report.configs[0].run
    fixed = [
        word
        for word in _shared(report.configs)
        if not (word.startswith("batch ") and "batch_size" in varied)
        and not ("dtype" in varied and word == run.dtype)
        and not ("attention" in varied and word.endswith(" attention"))
        and not ("implementation" in varied and " of " in word)
        and not ("mode" in varied and word.startswith("training"))
    ]
    sizes = {config.image_size for config in report.configs}
    if "resolution" not in varied and len(sizes) == 1:
        fixed.insert(0, f"image {format_size(*sizes)}")
    return [*fixed, f"on {report.device.name}"] if report.device else fixed


def _shared(configs: Sequence[EncoderConfig]) -> Iterator[str]:
    """How encoders run, as far as they all do: of training with different optimizers, "training"."""
    first, *others = (", ".join(how_it_runs(config)).split(", ") for config in configs)
    for word in first:
        begins = (word, *(word.partition(f" {joint} ")[0] for joint in ("and", "with", "over")))
        shared = (each for each in begins if all(_has(words, each) for words in others))
        yield from islice(shared, 1)


def _has(words: Sequence[str], begin: str) -> bool:
    return any(word == begin or word.startswith(f"{begin} ") for word in words)


def _axis(axis: Axis) -> str:
    if len(axis.values) == 1:
        return f"{axis.name} {axis.values[0]}"
    if len(axis.values) <= MOST_NAMES:
        return f"{axis.name} {', '.join(axis.values)}"
    return f"{len(axis.values):,} {PLURALS.get(axis.name, axis.name)}, {axis.values[0]} to {axis.values[-1]}"


def set_alike(report: Sweep) -> tuple[str, ...]:
    """A sentence for each config with windows of several sizes, all of which the axis of windows sets to one size."""
    if not any(axis.name == "window" for axis in report.axes):
        return ()
    return tuple(dict.fromkeys(filter(None, map(_several_windows, report.configs))))


def _several_windows(config: EncoderConfig) -> str:
    placements = (placement for stage in config.stages for placement in stage.placements)
    own = dict.fromkeys(_windows(placement) for placement in placements if not placement.is_global)
    if len(own) <= 1:
        return ""
    return f"{config.name} has windows of {', '.join(own)}: a window size of the sweep replaces each of them"


def _windows(placement: Placement) -> str:
    """Windows of a size by that size, a number of them in words."""
    return placement.words if placement.size is None else format_side(placement.size)


def left_out(report: Sweep) -> Iterator[Message]:
    """A sentence for each config and reason for which values of an axis are left out."""
    of_all = " (for all configs)" if len({config.name for config in report.configs}) > 1 else ""
    for each in report.left_out:
        name = {"batch_size": "batch size"}.get(each.axis, each.axis)
        some, more = each.values[:MOST_NAMES], len(each.values) - MOST_NAMES
        listed = f"{', '.join(some)}{f' and {more} more' if more > 0 else ''}"
        yield Message(
            each.code, f"left out{of_all}: {name} {listed}, which {each.config} does not take: {each.reason}"
        )


# -- figures ---------------------------------------------------------------------------------------------------------


def name_of(report: Sweep, metric: str) -> str:
    """A metric in words; the time of a training step is that of the whole step."""
    return FIGURES[metric].word_in({config.run.mode for config in report.configs})


def formatted(metric: str, value: Any, *, short: bool = False) -> str:
    """A value of a metric with its unit."""
    figure = FIGURES[metric]
    if not figure.is_count:
        return format_amount(value, figure.unit)
    return format_count(value, "" if short or figure.unit == "params" else figure.unit)


def or_blank(value: float | None, format_: Callable[[float], str]) -> str:
    """A number in words; "" for None and for NaN."""
    return "" if value is None or value != value else format_(value)  # noqa: PLR0124 - not a number


def values_of(report: Sweep, line: Line, name: str) -> list[Any]:
    """A column's values on a line, as Python's own numbers."""
    column = report.columns[name][line.first : line.first + line.stride * line.count : line.stride]
    return list(column.tolist() if hasattr(column, "tolist") else column)


def is_of(report: Sweep, metric: str, point: int) -> bool:
    """Whether a point has a metric: where modes vary, each peak belongs to the points of its mode."""
    modes = {config.run.mode for config in report.configs}
    return metric not in PEAKS.values() or len(modes) == 1 or PEAKS[report.mode_at(point)] == metric


# -- lines and points ------------------------------------------------------------------------------------------------


def lines_of(report: Sweep, metric: str) -> tuple[Line, ...]:
    """The lines to show a metric on: one of those that differ only in the mode, if the metric does not depend on it."""
    axis = _mode_axis(report)
    if axis is None or FIGURES[metric].by_mode:
        return report.lines
    mode_of_peak = next((mode for mode, peak in PEAKS.items() if peak == metric), "")
    mode = mode_of_peak if mode_of_peak in axis.values else axis.values[0]
    word = mode if axis.name == "mode" else f"{axis.name} {mode}"
    return tuple(
        replace(line, label=_without(line.label, word))
        for line in report.lines
        if report.mode_at(line.first) == mode
    )


def line_count_of(report: Sweep, metric: str) -> int:
    """The number of such lines, including those that are not shown."""
    axis = _mode_axis(report)
    if axis is None or FIGURES[metric].by_mode:
        return report.line_count
    return report.line_count // len(axis.values)


def _mode_axis(report: Sweep) -> Axis | None:
    """The axis of modes, if lines differ in it."""
    several = (axis for axis in report.axes if len(axis.values) > 1 and axis.name != report.along)
    return next((axis for axis in several if axis.name in MODE_AXES), None)


def _without(label: str, word: str) -> str:
    """The label of a line without one of its words."""
    return f", {label}, ".replace(f", {word}, ", ", ", 1).removeprefix(", ").removesuffix(", ")


def rows_of(line: Line) -> range:
    """The points of a line, by their rows."""
    return range(line.first, line.first + line.stride * line.count, line.stride)


def axis_along(report: Sweep) -> Axis:
    """The axis of each line."""
    return next(axis for axis in report.axes if axis.name == report.along)


def name_along(report: Sweep) -> str:
    """What that axis is called."""
    return {"batch_size": "batch"}.get(report.along, report.along)


def point_label(report: Sweep, row: int) -> str:
    """The values of the axes at a point."""
    words = []
    for axis in reversed(report.axes):
        row, place = divmod(row, len(axis.values))
        if len(axis.values) > 1:
            words.append(axis.values[place])
    return " ".join(reversed(words)) or "all"
