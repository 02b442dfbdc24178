"""A sweep as a chart: a panel for each metric, a colour for each line, and all global and all windowed next to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...figures import FIGURES, PEAKS
from ...reports.sweep import Line, MeasuredPoints, Sweep
from ...units import format_percent, format_side, format_things
from ..charts import lines as drawn
from ..charts.scales import unit_of
from ..charts.theme import Spec
from .sweep_marks import (
    cheapest,
    fit_in_words,
    fit_marks,
    limits_of,
    mark_at,
    meanings_of,
    over_windows,
    places_of,
)
from .sweep_words import (
    axis_along,
    formatted,
    lines_of,
    name_along,
    name_of,
    subtitle_of,
    title_of,
    values_of,
)

AXES = {"resolution": "image side (px)", "batch_size": "batch (images)", "window": "window (tokens a side)"}
FEW = 4
"""Lines up to which all global is drawn next to each."""
MOST_CLIFFS = 40
"""Padding cliffs of a line, up to which they are marked."""


def chart(report: Sweep) -> Spec:
    """The Vega-Lite spec."""
    report = over_windows(report)
    lines = [*_lines(report), *_ratios(report)]
    marks = tuple(_marks(report))
    return drawn.spec(
        drawn.Picture(
            title=title_of(report),
            subtitle=" ".join((f"{subtitle_of(report)}.", *_notes(report))),
            x_title=AXES.get(report.along, name_along(report)),
            lines=tuple(lines),
            marks=marks,
            line_title=", ".join(axis.name for axis in report.axes if axis.name != report.along) or "config",
            limits=tuple(limits_of(report)),
            meanings=meanings_of(report),
        )
    )


def _notes(report: Sweep) -> Iterator[str]:
    """What is not drawn, and memory that is far from all that is."""
    if left := report.line_count - len(report.lines):
        yield f"{left:,} more lines are not drawn."
    most = max((len(line.jumps) for line in report.lines if len(line.jumps) > MOST_CLIFFS), default=0)
    if most and _has_cliffs(report):
        yield f"Padding cliffs are not marked on lines with more than {MOST_CLIFFS}; one line has {most:,}."
    if gone := len({(each.axis, value) for each in report.left_out for value in each.values}):
        yield f"Left out: {format_things(gone, 'value')} that the encoder does not take."
    yield from fit_in_words(report)


def _name(line: Line) -> str:
    return line.label or line.config


def _lines(report: Sweep) -> Iterator[drawn.Line]:
    xs = places_of(report)
    for metric in report.metrics:
        for line in lines_of(report, metric):
            name, unit = _name(line), unit_of(FIGURES[metric])
            yield drawn.Line(name, name_of(report, metric), unit, xs, values_of(report, line, metric))
            for other in ("all_global", "all_windowed")[: 2 if report.line_count == 1 else 1]:
                values = _others(report, line, f"{metric}_{other}")
                if report.line_count <= FEW and values:
                    yield drawn.Line(name, name_of(report, metric), unit, xs, values, other.replace("_", " "))


def _others(report: Sweep, line: Line, name: str) -> list[Any]:
    """A column's values, if each point of the line has one."""
    values = values_of(report, line, name) if name in report.columns else []
    return [] if any(value is None or value != value for value in values) else values  # noqa: PLR0124 - not a number


def _ratios(report: Sweep) -> Iterator[drawn.Line]:
    """Measured over predicted."""
    xs = places_of(report)
    points = {point.point: point for point in report.measured.points} if report.measured else {}
    for name, what in (("peak_ratio", "peak"), ("latency_ratio", "time")):
        for line in report.lines if points else ():
            ratios = [getattr(points[line.first + at * line.stride], name) for at in range(line.count)]
            if kept := [(x, ratio) for x, ratio in zip(xs, ratios, strict=True) if ratio is not None]:
                places, values = zip(*kept, strict=True)
                yield drawn.Line(_name(line), f"measured over predicted, {what}", "ratio", places, values)


def _marks(report: Sweep) -> Iterator[drawn.Mark]:
    for metric in report.metrics:
        for line in lines_of(report, metric):
            yield from _crossovers(report, line, metric)
            yield from fit_marks(report, line, metric)
            yield from cheapest(report, line, metric)
            if metric == "flops" and report.along == "resolution" and len(line.jumps) <= MOST_CLIFFS:
                yield from _cliffs(report, line)
    if report.measured:
        yield from _measured(report, report.measured)


def _crossovers(report: Sweep, line: Line, metric: str) -> Iterator[drawn.Mark]:
    value = line.pays_from.get(metric)
    at = axis_along(report).values.index(value) if value else 0
    if at:
        yield mark_at(report, line, metric, "crossover", at, f"cheaper than all global from {value} on")


def _has_cliffs(report: Sweep) -> bool:
    return "flops" in report.metrics and report.along == "resolution"


def _cliffs(report: Sweep, line: Line) -> Iterator[drawn.Mark]:
    known = {cliff.point: cliff for cliff in report.cliffs}
    padding = values_of(report, line, "padding")
    for at in line.jumps:
        cliff = known.get(line.first + at * line.stride)
        near = " or ".join(format_side(size) for size in (cliff.below, cliff.above) if size) if cliff else ""
        text = f"{format_percent(padding[at])} more tokens in windows{near and f'; none at {near}'}"
        yield mark_at(report, line, "flops", "cliff", at, text)


def _measured(report: Sweep, measured: MeasuredPoints) -> Iterator[drawn.Mark]:
    xs = places_of(report)
    for point in measured.points:
        peak = PEAKS[report.mode_at(point.point)]
        for metric, value in ((peak, point.peak_bytes), ("latency_ms", point.latency_ms)):
            for line in lines_of(report, metric) if metric in report.metrics else ():
                if value is not None and _on(line, point.point):
                    x = xs[(point.point - line.first) // line.stride]
                    text = f"measured {formatted(metric, value)}"
                    yield drawn.Mark(_name(line), name_of(report, metric), "measured", x, value, text)


def _on(line: Line, row: int) -> bool:
    at, rest = divmod(row - line.first, line.stride)
    return not rest and 0 <= at < line.count
