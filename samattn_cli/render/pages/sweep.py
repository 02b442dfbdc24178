"""A sweep: its tables, what stands out, its rows, and its chart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...encoder.keys import Size
from ...encoder.model import EncoderConfig
from ...records import replace
from ...reports.sweep import Cliff, Line, MeasuredPoint, MeasuredPoints, Sweep
from ...units import format_bytes, format_ms, format_side, format_size, format_things
from ..charts.theme import Spec
from ..elements import Lines, Page, Section, Table
from ..layout import Layout
from ..measured import DRY_RUN
from ..options import Options
from .sweep_short import in_short
from .sweep_tables import figure_tables, not_shown
from .sweep_words import (
    axis_along,
    is_of,
    left_out,
    name_along,
    name_of,
    or_blank,
    point_label,
    set_alike,
    subtitle_of,
    title_of,
)

CHUNK = 10_000
"""Rows that are taken out of the columns at once."""
MOST_SIZES = 4
"""Resolutions that a sentence lists."""
CROSSOVERS_NOTE = (
    "The resolutions at which this encoder is cheaper than with every layer global; never: at none of these, or by "
    "less than 1 %."
)
PADDING_NOTE = (
    "tokens: those that padding adds to windowed layers; FLOPs: the share of the encoder's FLOPs that they take; "
    "no padding at: the nearest resolutions without padding."
)


def page(report: Sweep, options: Options) -> Page:
    """What varies, the figures, and what stands out."""
    short = tuple(in_short(report))
    return Page(title_of(report), subtitle_of(report), tuple(_sections(report, options)), short)


def _sections(report: Sweep, options: Options) -> Iterator[Section]:
    if alike := set_alike(report):
        yield Lines("Windows", alike)
    yield from figure_tables(report, options)
    if report.measured:
        yield _measured(report, report.measured)
    if any(line.pays_from for line in report.lines):
        yield _crossovers(report)
    if report.device:
        yield Lines(f"On {report.device.name} ({report.device.description})", tuple(_fits(report)))
    if report.memory:
        yield Lines(f"In {format_bytes(report.memory.usable_bytes)}", tuple(_fits(report)))
    if report.cliffs:
        yield _cliffs(report)
    dropped = dict.fromkeys(filter(None, (_dropped(report, each) for each in report.configs)))
    if sentences := (*left_out(report), *dropped):
        yield Lines("Notes", sentences)


def chart(report: Sweep) -> Spec:
    """A panel for each metric: see `sweep_chart`."""
    from .sweep_chart import chart as drawn

    return drawn(report)


def rows(report: Sweep) -> Iterator[dict[str, Any]]:
    """A row for each point, figures exact."""
    names = list(report.columns)
    for start in range(0, report.points, CHUNK):
        columns = [_plain(report.columns[name][start : start + CHUNK]) for name in names]
        for values in zip(*columns, strict=True):
            yield dict(zip(names, values, strict=True))


def _plain(column: Any) -> list[Any]:
    values = column.tolist() if hasattr(column, "tolist") else list(column)
    return [None if value != value else value for value in values]  # noqa: PLR0124 - not a number


def columns(report: Sweep) -> Mapping[str, Any]:
    """The same, as arrays."""
    return report.columns


LAYOUT = Layout(page, rows, chart, columns=columns)


# -- where windows pay, and what fits --------------------------------------------------------------------------------


def _crossovers(report: Sweep) -> Table:
    """From which resolution on windows pay, a row for each line."""
    headers = ("", *(name_of(report, metric) for metric in report.metrics))
    rows = tuple(_crossover_row(report, line) for line in report.lines if line.pays_from)
    note = f"{CROSSOVERS_NOTE} {not_shown(report.line_count - len(report.lines))}".strip()
    return Table("Where windows pay", headers, rows, note, text_columns=tuple(range(len(headers))))


def _crossover_row(report: Sweep, line: Line) -> tuple[str, ...]:
    smallest = axis_along(report).values[0]

    def words(value: str) -> str:
        return "never" if not value else "everywhere" if value == smallest else f"from {value} on"

    shown = (is_of(report, metric, line.first) for metric in report.metrics)
    cells = (
        words(line.pays_from[metric]) if is_shown else ""
        for metric, is_shown in zip(report.metrics, shown, strict=True)
    )
    return (line.label or line.config, *cells)


def _fits(report: Sweep) -> Iterator[str]:
    """How many points fit, and the last that fits of each line."""
    if report.device:
        usable = f"the {format_bytes(report.device.usable_bytes)} that a process can use of its {report.device.memory_size}"
        yield f"{report.device.fitting:,} of {report.points:,} points fit in {usable}"
    elif report.memory:
        yield f"{report.memory.fitting:,} of {report.points:,} points fit"
    verdicts = {_fits_until(report, line) for line in report.lines}
    if len(verdicts) == 1 and report.line_count == len(report.lines):
        yield f"{'' if report.line_count == 1 else 'on each line: '}{verdicts.pop()}"
        return
    for line in report.lines:
        yield f"{line.label or line.config}: {_fits_until(report, line)}"
    if report.line_count > len(report.lines):
        yield not_shown(report.line_count - len(report.lines))


def _fits_until(report: Sweep, line: Line) -> str:
    axis = name_along(report)
    if line.too_large_from is None:
        return "all fit"
    if line.fits_until is None:
        return f"{axis} {line.too_large_from}, the first, does not fit"
    return f"{axis} {line.fits_until} fits; {line.too_large_from} is the first that does not"


# -- padding ---------------------------------------------------------------------------------------------------------


def _cliffs(report: Sweep) -> Table:
    """Where padding jumps, what it costs, and the nearest resolutions without it."""
    named = any(cliff.label for cliff in report.cliffs)
    headers = ("resolution", "window", "grid", "padded to", "tokens", "FLOPs", "no padding at")
    rows = tuple(_cliff(cliff, named=named) for cliff in report.cliffs)
    note = PADDING_NOTE
    if left := report.cliff_count - len(report.cliffs):
        note += f" Not shown: {format_things(left, 'row')}; a narrower range shows them."
    return Table("Padding", (*(("",) if named else ()), *headers), rows, note)


def _cliff(cliff: Cliff, *, named: bool) -> tuple[str, ...]:
    return (
        *((cliff.label,) if named else ()),
        format_side(cliff.resolution),
        format_side(cliff.window_size),
        format_size(cliff.grid),
        format_size(cliff.padded_grid),
        f"+{100 * cliff.padding:.1f} %",
        f"{100 * cliff.flops_share:.1f} %",
        ", ".join(format_side(size) for size in (cliff.below, cliff.above) if size),
    )


def _dropped(report: Sweep, config: EncoderConfig) -> str:
    """Which resolutions lose pixels, as they are not multiples of the patch."""
    labels = next((axis.values for axis in report.axes if axis.name == "resolution"), ())
    configs = [replace(config, image_size=_size(label)) for label in labels] or [config]
    sizes = [format_side(each.image_size) for each in configs if any(each.dropped)]
    if not sizes:
        return ""
    more = f" and {len(sizes) - MOST_SIZES} more" if len(sizes) > MOST_SIZES else ""
    verb = "is not a multiple" if len(sizes) == 1 else "are not multiples"
    return (
        f"{', '.join(sizes[:MOST_SIZES])}{more} {verb} of the patch size, {format_side(config.patch)}: pixels beyond the last "
        "whole patch are dropped, and not counted."
    )


def _size(label: str) -> Size:
    """The sides of "512", "512x768" or "16x224x224"."""
    sides = tuple([int(side) for side in label.split("x")])
    return sides if len(sides) > 1 else sides * 2


# -- measured --------------------------------------------------------------------------------------------------------


def _measured(report: Sweep, measured: MeasuredPoints) -> Table:
    """Measured next to predicted, a row for each point."""
    timed = any(point.predicted_ms is not None for point in measured.points)
    headers = ("", "peak", "predicted", "ratio", "median", *(("predicted", "ratio") if timed else ()))
    rows = tuple(_measured_row(report, point, timed=timed) for point in measured.points)
    note = (
        "peak: bytes of torch's allocator; predicted: what it takes for this run; ratio: measured over predicted. "
        f"On {measured.fingerprint}."
    )
    if measured.fingerprint.kind == "cpu":
        note += " The prediction is of tensors, for CUDA's kernels."
    if measured.fingerprint.kind == "dry":
        note += f" {DRY_RUN}"
    return Table("Measured", headers, rows, note)


def _measured_row(report: Sweep, point: MeasuredPoint, *, timed: bool) -> tuple[str, ...]:
    name, predicted = point_label(report, point.point), format_bytes(point.predicted_bytes)
    if point.peak_bytes is None:
        return (name, point.status, predicted, *[""] * (4 if timed else 2))
    ratio = or_blank(point.peak_ratio, "{:.4f}".format)
    median = or_blank(point.latency_ms, format_ms)
    memory_and_time = (format_bytes(point.peak_bytes), predicted, ratio, median)
    if not timed:
        return (name, *memory_and_time)
    predicted_time = or_blank(point.predicted_ms, format_ms)
    return (name, *memory_and_time, predicted_time, or_blank(point.latency_ratio, "{:.2f}".format))
