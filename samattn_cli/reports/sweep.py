"""The answer of `samattn sweep`: a column for each figure, a row for each point of the grid.

The points are in the order of the axes, the last of which varies fastest. Columns are arrays; in JSON they are lists.
The columns are "config", "frames" (of videos), "height", "width" and "batch_size", one for each axis, and for each metric such as "flops": "flops",
"flops_growth", "flops_all_global" (with every layer global) and "flops_vs_all_global" (that divided by this, so that above 1
this encoder is cheaper). If there are windows, there are "flops_all_windowed" and "flops_vs_all_windowed", too.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import field
from typing import Any, Literal

from ..encoder.keys import Size
from ..encoder.model import EncoderConfig
from ..figures import PEAKS, names, of
from ..records import dataclass
from ..version import __version__
from . import SCHEMA_VERSION
from .recording import Fingerprint
from .shown import Shown

SAID_PLAINLY = ("config", "dtype", "attention", "mode")
"""Axes whose values are clear without the name of the axis."""


def in_words(name: str, value: str) -> str:
    """The value of an axis: "window 7", "batch 4", "bfloat16", "mlp_ratio 3.0"."""
    shown = {"batch_size": "batch"}.get(name, name)
    return value if name in SAID_PLAINLY else f"{shown} {value}"


def default_metrics(modes: Collection[str], *, timed: bool) -> tuple[str, ...]:
    """The metrics of a sweep that asks for none: score matrices, and the figures that are always shown.

    Args:
        modes: those of the runs; a peak of another mode is left out.
        timed: whether there is a device, without which there are no times.
    """
    of_other_modes = {peak for mode, peak in PEAKS.items() if mode not in modes}
    return names(
        figure
        for figure in of("encoder")
        if (figure.shown == "always" or figure.name == "attention_bytes")
        and figure.name not in of_other_modes
        and (timed or not figure.needs)
    )


@dataclass(frozen=True)
class Axis:
    """What is varied: "config", a key of configs such as "mlp_ratio", "batch_size", "window" or "resolution"."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class LeftOut:
    """Values of an axis at which a config is not valid. They are left out for all configs.

    Attributes:
        axis: "resolution", "window" or "batch_size".
        values: from the smallest to the largest.
        config: its name.
        reason: what is wrong at the first of them, and what would be right.
        code: of the kind of fault.
    """

    axis: str
    values: tuple[str, ...]
    config: str
    reason: str
    code: str


@dataclass(frozen=True)
class Line:
    """Points that differ along one axis alone: rows `first`, `first + stride`, ... of the columns, `count` of them.

    Attributes:
        label: what tells it from the other lines.
        config: the name of its config.
        pays_from: by metric, the resolution from which on it costs less than all global: "" where it never does, or
            by less than 1 % at each; left out where nothing is windowed.
        fits_until: the last value of the axis that fits the device before the first that does not, if any does.
        too_large_from: the first value of the axis that does not fit.
        jumps: the places on the axis at which padding jumps, from 0.
    """

    label: str
    config: str
    first: int
    stride: int
    count: int
    pays_from: Mapping[str, str] = field(default_factory=dict)
    fits_until: str | None = None
    too_large_from: str | None = None
    jumps: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Cliff:
    """A point whose padded grid is larger than that of the previous point on its line.

    Attributes:
        point: its row.
        label: what tells its encoder from the others.
        resolution: in pixels.
        window_size: of the first layer that is padded, in tokens.
        grid: of that layer.
        padded_grid: the same with padding.
        padding: tokens that windowed layers add to theirs, as a share of these.
        flops_share: share of the encoder's FLOPs that attention in windows spends on them.
        below: the nearest smaller resolution without padding, if there is one.
        above: the nearest larger one.
    """

    point: int
    label: str
    resolution: Size
    window_size: Size
    grid: Size
    padded_grid: Size
    padding: float
    flops_share: float
    below: Size | None
    above: Size | None


@dataclass(frozen=True)
class Fitting:
    """The device that was asked for, what a process has of its memory, and how many of the points fit."""

    name: str
    description: str
    memory_size: str
    usable_bytes: int
    fitting: int


@dataclass(frozen=True)
class MemoryFitting:
    """The memory that was asked for, and in how many of the points the peak of the run's mode fits."""

    usable_bytes: int
    fitting: int


@dataclass(frozen=True, kw_only=True)
class MeasuredPoint:
    """A point on the real stack, next to what was predicted; a ratio is measured over predicted.

    On a CUDA device or a dry run, `predicted_bytes` and `peak_bytes` are what the allocator hands out, with the cuBLAS workspace;
    on a CPU they are without it. The latency is the median, with its 10th and 90th percentile.
    """

    point: int
    status: str
    message: str
    predicted_bytes: int
    peak_bytes: int | None = None
    peak_ratio: float | None = None
    predicted_ms: float | None = None
    latency_ms: float | None = None
    low_ms: float | None = None
    high_ms: float | None = None
    latency_ratio: float | None = None


@dataclass(frozen=True)
class MeasuredPoints:
    """Points in the order of the columns, and what they were measured on."""

    fingerprint: Fingerprint
    points: tuple[MeasuredPoint, ...]


@dataclass(frozen=True, kw_only=True)
class Sweep(Shown):
    """The answer of `samattn sweep`.

    Attributes:
        configs: one for each combination of what makes another encoder, as it is at its first point.
        axes: what is varied; the columns are in their order.
        along: the axis along which growth is: the exponent of a metric in pixels, images, tokens of a window or
            whatever the axis counts, from the previous point on the line.
        metrics: what was asked for.
        points: how many there are.
        columns: by name, each of `points` values; None where a point has no value.
        lines: the first ones, up to a number that a table can show.
        line_count: how many there are.
        cliffs: where padding jumps, of those lines, with what it costs: the first ones and the last.
        cliff_count: how many there are on them, those that are the same counted once.
        left_out: the values that were asked for and are not in the grid, since a config does not take them.
    """

    configs: tuple[EncoderConfig, ...]
    axes: tuple[Axis, ...]
    along: str
    metrics: tuple[str, ...]
    points: int
    columns: Mapping[str, Any]
    lines: tuple[Line, ...]
    line_count: int
    cliffs: tuple[Cliff, ...] = ()
    cliff_count: int = 0
    device: Fitting | None = None
    memory: MemoryFitting | None = None
    measured: MeasuredPoints | None = None
    left_out: tuple[LeftOut, ...] = ()
    kind: Literal["sweep"] = "sweep"
    schema_version: int = SCHEMA_VERSION
    samattn_version: str = __version__

    def mode_at(self, point: int) -> str:
        """The mode of the run at a point, by its row."""
        return self.configs[point * len(self.configs) // self.points].run.mode
