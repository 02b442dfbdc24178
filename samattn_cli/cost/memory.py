"""Liveness over the Tape: peak memory of an inference forward, and what autograd keeps for backward.

Every allocation is rounded up to 512 bytes, as PyTorch's CUDA caching allocator does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from ..units import ALLOCATION_BYTES
from .encoder import ForwardPass
from .tape import Recording, parameter_elements
from .tensor import Dim, ceil_div, decide


@dataclass(frozen=True)
class SegmentMemory:
    """Of one segment: the most bytes live at once (weights and input included), the op then, bytes kept for backward."""

    peak_bytes: Dim
    peak_op: str
    saved_bytes: Dim


@dataclass(frozen=True)
class Liveness:
    """Of one recording, over what is live before it: the highest rise, the op then, the change once it is done."""

    rise: Dim
    peak_op: str
    change: Dim


def rounded(nbytes: Dim) -> Dim:
    """Bytes that the allocator takes for `nbytes`."""
    return ceil_div(nbytes, ALLOCATION_BYTES) * ALLOCATION_BYTES


def weights_bytes(forward: ForwardPass) -> Dim:
    """Memory of the weights, each its own allocation."""
    return sum(_weights_bytes(segment.recording, forward.image.item_bytes) for segment in forward.segments)


def walk(forward: ForwardPass) -> Iterator[SegmentMemory]:
    """The memory of each segment in order."""
    live = weights_bytes(forward) + rounded(forward.image.nbytes)
    for segment in forward.segments:
        liveness = live_over(segment.recording)
        yield SegmentMemory(live + liveness.rise, liveness.peak_op, saved_bytes(segment.recording))
        live = live + liveness.change


@lru_cache(maxsize=64)
def live_over(recording: Recording) -> Liveness:
    """Run through the allocations and frees of `recording`.

    Raises:
        MixedStructureError: if the points of an array reach their peaks at different operations.
    """
    live: Dim = 0
    rise, at = live, ""
    for op in recording.ops:
        live = live + sum(rounded(storage.nbytes) for storage in op.allocates)
        if decide(live > rise):
            rise, at = live, op.name
        live = live - sum(rounded(storage.nbytes) for storage in op.frees)
    return Liveness(rise, at, live)


@lru_cache(maxsize=64)
def saved_bytes(recording: Recording) -> Dim:
    """Bytes that autograd keeps for the backward of `recording`, its input included where it is kept."""
    storages = {id(storage): storage for op in recording.ops for storage in op.saves}
    return sum(rounded(storage.nbytes) for storage in storages.values())


@lru_cache(maxsize=64)
def _weights_bytes(recording: Recording, item_bytes: int) -> Dim:
    return sum(rounded(parameter_elements(weight) * item_bytes) for weight in recording.parameters)
