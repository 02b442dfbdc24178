"""Candidates of a fit that are passed over the Tape together: part by part, or one pass for those whose operations are the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

from ..device.model import Device
from ..encoder.model import EncoderConfig
from ..tape.script import at_lane
from ..tape.symbols.lanes import Lanes, Lot
from .joint_runs import Run, joint_runs
from .on_device import cuda_of, on, script_on
from .passes import Passes
from .piecewise import at_points, is_piecewise
from .points import Array

FEWEST = 4
"""So many candidates must have the same operations, that a pass of all of them takes less time than one of each."""


def runs_together(
    config: EncoderConfig,
    points: dict[str, Array],
    places: Sequence[int],
    device: Device,
    *,
    are_like: bool = True,
) -> dict[int, Run]:
    """The runs of an encoder at some points, in its run's mode; without those that would each need a pass of their own.

    Args:
        config: the encoder.
        points: all points.
        places: the indexes of some.
        device: a CUDA device.
        are_like: whether many of those have the same operations in all parts.
    """
    trains = config.run.mode == "training"
    if cuda_of(device) is None or len(places) < FEWEST or not is_piecewise(config, training=trains):
        return {}
    found = joint_runs(config, points, places, device)
    if found or not are_like:
        return found
    with np.errstate(all="ignore"):
        for lot, own, run in _lots(config, points, np.array(places), device):
            found |= {int(own[lane]): run(lane) for lane in lot.left.tolist()}
    return found


def _lots(
    config: EncoderConfig, points: dict[str, Array], places: Array, device: Device
) -> Iterator[tuple[Lot, Array, Callable[[int], Run]]]:
    """Candidates whose operations are the same, and the run of each; until too few are."""
    waiting = [places]
    while waiting:
        own = waiting.pop()
        if len(own) < FEWEST:
            continue
        lot = Lot(np.arange(len(own)))
        encoder = at_points(config, points)(own, lot)
        run = _run_of(on(Passes(encoder, device), device), device)
        if run is None:
            return
        waiting += [own[others] for others in lot.taken()]
        yield lot, own, run
        if len(lot.left) < FEWEST:
            return


def _run_of(passes: Passes, device: Device) -> Callable[[int], Run] | None:
    """The run of each encoder of a pass; None if its requests cannot be written down."""
    live, is_refused = passes.peak_bytes, passes.refused is not None
    found = () if is_refused else script_on(passes, device)
    if found is None:
        return None
    script = found[0] if found else ()

    def run(lane: int) -> Run:
        own = int(live.numbers[lane]) if isinstance(live, Lanes) else live
        return Run(own, is_refused, partial(at_lane, script, lane), lambda: None)

    return run
