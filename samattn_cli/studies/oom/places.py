"""The places of a run that ask for a size: each operation once, with what is live before it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...encoder.model import EncoderConfig
from ...records import replace
from ...reports.oom import Printed
from ...tape.allocator import OWN_STEP, SHARED_SEGMENT
from ..passes import Passes

if TYPE_CHECKING:
    from ...tape.inside import Cuda
    from ...tape.timeline import Asked, Timeline

OLD_STEP = 128 << 10
"""Before torch 1.0, a segment was rounded up to 128 KiB."""


def run_of(config: EncoderConfig, cuda: Cuda, capacity: int | None = None) -> Timeline:
    """The requests of a run of an encoder in its mode."""
    from ...tape.timeline import timeline

    passes = Passes(config).aimed(cuda.target)
    return timeline(passes.step if passes.trains else passes.forward, cuda, capacity)


def asks_for(asked: Asked, tried: Printed) -> bool:
    """Whether the allocator prints a size for a request that finds no room."""
    if has_step(tried):
        return tried.low_bytes <= asked.segment_bytes <= tried.high_bytes
    old = -(-asked.nbytes // OLD_STEP) * OLD_STEP
    return any(tried.low_bytes <= nbytes <= tried.high_bytes for nbytes in (asked.nbytes, old))


def has_step(tried: Printed) -> bool:
    """Whether a printed size can be a multiple of 2 MiB, as those of torch's allocator have been since torch 1.0."""
    return not tried.is_request and tried.high_bytes // OWN_STEP * OWN_STEP >= tried.low_bytes


def matching(run: Timeline, tried: Printed) -> list[Asked]:
    """The requests of a run that ask for a size."""
    least = min(tried.low_bytes // 2, tried.low_bytes - OWN_STEP) if tried.low_bytes > SHARED_SEGMENT else 0
    asked = run.asked(note for note in run.notes if note[1] >= least)
    return [each for each in asked if asks_for(each, tried)]


def with_run(config: EncoderConfig, **keys: Any) -> EncoderConfig:
    """The encoder, run otherwise."""
    return replace(config, run=replace(config.run, **keys)) if keys else config
