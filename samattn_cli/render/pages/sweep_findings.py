"""What stands out in a sweep: where windows pay, what fits, where padding jumps, and what was measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ...encoder.keys import Pair
from ...encoder.model import EncoderConfig
from ...reports.sweep import Cliff, Line, MeasuredPoint, MeasuredPoints, Sweep
from ...units import format_bytes, format_ms, format_size, format_things
from ..elements import Table
from .sweep_columns import axis_along, is_of, name_along, name_of, or_nothing, point_label, size_label
from .sweep_tables import left_out

MOST_SIZES = 4
"""That are said one by one."""


def crossovers(report: Sweep) -> Table:
    """From where on windows pay, a row a line."""
    lines = [line for line in report.lines if line.pays_from]
    axis = axis_along(report)
    headers = ("", *(name_of(report, metric) for metric in report.metrics))

    def words(value: str) -> str:
        return "no" if not value else "at all of these" if value == axis.values[0] else f"from {value} on"

    rows = tuple(
        (
            line.label or line.config,
            *(
                words(line.pays_from[metric]) if is_of(report, metric, line.first) else ""
                for metric in report.metrics
            ),
        )
        for line in lines
    )
    left = report.line_count - len(report.lines)
    note = "Cheaper than with every layer global, at these resolutions; no: never, or by less than 1 %."
    return Table(
        "Where windows pay",
        headers,
        rows,
        f"{note} {left_out(left)}".strip(),
        text_columns=tuple(range(len(headers))),
    )


def fits(report: Sweep) -> Iterator[str]:
    """How many points fit the device, and of each line the last that does."""
    assert report.device is not None  # noqa: S101 - asked for only where there is one; told to the type checker
    usable = format_bytes(report.device.usable_bytes)
    yield f"{report.device.fitting:,} of {report.points:,} points fit in the {usable} that a process has of its {report.device.memory_size}"
    verdicts = {_fits_until(report, line) for line in report.lines}
    if len(verdicts) == 1 and report.line_count == len(report.lines):
        yield f"{'' if report.line_count == 1 else 'on each line: '}{verdicts.pop()}"
        return
    for line in report.lines:
        yield f"{line.label or line.config}: {_fits_until(report, line)}"
    if report.line_count > len(report.lines):
        yield left_out(report.line_count - len(report.lines))


def _fits_until(report: Sweep, line: Line) -> str:
    axis = name_along(report)
    if line.too_large_from is None:
        return "all fit"
    if line.fits_until is None:
        return f"{axis} {line.too_large_from}, the first, does not fit"
    return f"{axis} {line.fits_until} fits; {line.too_large_from} is the first that does not"


def dropped(report: Sweep) -> tuple[str, ...]:
    """Which resolutions lose pixels that fill no patch, once for configs of the same patch."""
    return tuple(dict.fromkeys(said for config in report.configs if (said := _dropped(report, config))))


def _dropped(report: Sweep, config: EncoderConfig) -> str:
    sizes = next((axis.values for axis in report.axes if axis.name == "resolution"), ())
    given = [replace(config, image_size=_size(label)) for label in sizes] or [config]
    lost = [size_label(each.image_size) for each in given if any(each.dropped)]
    if not lost:
        return ""
    more = f" and {len(lost) - MOST_SIZES} more" if len(lost) > MOST_SIZES else ""
    which = f"{', '.join(lost[:MOST_SIZES])}{more}"
    verb = "is not a multiple" if len(lost) == 1 else "are not multiples"
    return f"{which} {verb} of the patch, {config.patch_size}: the pixels beyond the last whole patch are dropped, in the figures too."


def _size(label: str) -> Pair:
    """Of "512" or "512x768"."""
    sides = [int(side) for side in label.split("x")]
    return sides[0], sides[-1]


def cliffs(report: Sweep) -> Table:
    """Where padding jumps, what it costs, and where there is none."""
    named = any(cliff.label for cliff in report.cliffs)
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
    note += "resolutions without."
    if left := report.cliff_count - len(report.cliffs):
        note += f" Left out: {format_things(left, 'row')}; a narrower range has them."
    return Table("Padding", headers, rows, note)


def _cliff(cliff: Cliff, *, named: bool) -> tuple[str, ...]:
    return (
        *((cliff.label,) if named else ()),
        size_label(cliff.resolution),
        size_label(cliff.window_size),
        format_size(cliff.grid),
        format_size(cliff.padded_grid),
        f"+{100 * cliff.padding:.1f} %",
        f"{100 * cliff.flops_share:.1f} %",
        ", ".join(size_label(size) for size in (cliff.below, cliff.above) if size),
    )


def measured(report: Sweep, found: MeasuredPoints) -> Table:
    """Measured beside predicted, a row a point."""
    timed = any(point.predicted_ms is not None for point in found.points)
    headers = ("", "peak", "predicted", "ratio", "median", *(("predicted", "ratio") if timed else ()))
    rows = tuple(_measured_row(report, point, timed=timed) for point in found.points)
    note = f"Peak: of torch's allocator, without the cuBLAS workspace; ratio: measured over predicted. On {found.fingerprint}."
    if found.fingerprint.kind == "cpu":
        note += " The prediction is of CUDA's kernels."
    return Table("Measured", headers, rows, note)


def _measured_row(report: Sweep, point: MeasuredPoint, *, timed: bool) -> tuple[str, ...]:
    name, predicted = point_label(report, point.point), format_bytes(point.predicted_bytes)
    if point.peak_bytes is None or point.latency_ms is None:
        return (name, point.status, predicted, *[""] * (4 if timed else 2))
    figures = (
        format_bytes(point.peak_bytes),
        predicted,
        or_nothing(point.peak_ratio, "{:.4f}".format),
        format_ms(point.latency_ms),
    )
    if not timed:
        return (name, *figures)
    time = (
        "" if point.predicted_ms is None else format_ms(point.predicted_ms),
        or_nothing(point.latency_ratio, "{:.2f}".format),
    )
    return (name, *figures, *time)
