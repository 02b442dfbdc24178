"""What the caching allocator says of many points of a sweep: each is replayed by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..encoder.model import EncoderConfig
from ..errors import UsageError
from .on_device import FITS_IF_TIMES, cuda_of, fits_by_live, refused
from .on_device import fits as fits_one
from .passes import Passes
from .points import Array, Points, at
from .readers import FIGURES

if TYPE_CHECKING:
    from ..device.model import Device

MOST_REPLAYS = 10_000
"""Points that a sweep replays for one encoder; a replay takes about 20 ms."""


WHY_EAGER = f"those whose live bytes are between 1/{FITS_IF_TIMES} and all of the device's memory"
WHY_SDPA = "all of sdpa and fused attention, whose kernels the device decides"


def fits_at(config: EncoderConfig, points: Points, live: Any, device: Device) -> Any:
    """Whether the run of an encoder fits a device, at each point.

    A point is replayed only if its live bytes fit, but are not so few that it fits for certain. Under sdpa and fused
    attention every point has a pass of its own, because the device decides the kernels, and some cannot be launched.

    Args:
        config: the encoder.
        points: integer arrays of one length, by the names of `points.AXES`.
        live: the live bytes at each point, in the run's mode.
        device: the device.

    Raises:
        UsageError: if too many points would have to be replayed.
    """
    usable = device.usable_bytes
    fits: Any = live <= usable
    if cuda_of(device) is None:
        return fits
    by_live = config.run.attention == "eager"
    certain = fits_by_live(live, usable) & (not config.run.allocator)
    near = np.flatnonzero(fits & ~certain).tolist() if by_live else range(len(fits))
    _check_number(config, len(near), WHY_EAGER if by_live else WHY_SDPA)
    known: dict[EncoderConfig, bool] = {}  # windows do not matter to an encoder that has none
    for place in near:
        encoder = _at(config, points, place)
        if encoder not in known:
            known[encoder] = fits_one(Passes(encoder), device)
        fits[place] = known[encoder]
    return fits


def fits_in_bytes(config: EncoderConfig, points: Points, live: Any, memory: int) -> Any:
    """Whether the run of an encoder fits an amount of memory, and can be launched, at each point; see `fits_at`.

    Only kernels of sdpa and fused attention can be refused, so that under eager attention live bytes say it all.

    Raises:
        UsageError: if too many points would need a pass of their own.
    """
    fits: Any = live <= memory
    if config.run.attention == "eager":
        return fits
    near = np.flatnonzero(fits).tolist()
    _check_number(config, len(near), WHY_SDPA)
    for place in near:
        fits[place] = not refused(Passes(_at(config, points, place)))
    return fits


def in_memory_at(
    config: EncoderConfig, points: Points, metrics: Sequence[str], device: Device
) -> dict[str, Array]:
    """Figures of a run in the memory of a CUDA device, at each point.

    Raises:
        UsageError: if the device is not a CUDA device, or there are too many points.
    """
    if cuda_of(device) is None:
        raise UsageError("needs-cuda-device", needs_cuda(metrics[0], device))
    size = len(next(iter(points.values())))
    _check_number(config, size, f"{metrics[0]} of a sweep")
    values: dict[str, Any] = {metric: np.empty(size, np.int64) for metric in metrics}
    for place in range(size):
        passes = Passes(_at(config, points, place), device)
        for metric in metrics:
            values[metric][place] = FIGURES[metric](passes)
    return values


def needs_cuda(metric: str, device: Device) -> str:
    """Why a figure is not known on a device."""
    keys = "compute_capability, multiprocessors and threads_per_multiprocessor"
    return f"{metric} needs a CUDA device: {device.name} has no {keys}"


def _at(config: EncoderConfig, points: Points, place: int) -> EncoderConfig:
    return at(config, {axis: int(values[place]) for axis, values in points.items()})


def _check_number(config: EncoderConfig, number: int, what: str) -> None:
    if number > MOST_REPLAYS:
        raise UsageError(
            "too-many-replays",
            f"{config.name}: {number:,} points need a pass of their own, and at most {MOST_REPLAYS:,} may ({what}); use "
            "larger steps or shorter ranges, or leave out --device or --memory",
        )
