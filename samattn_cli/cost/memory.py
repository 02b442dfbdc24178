"""Liveness over the Tape: peak memory of an inference forward, and what autograd keeps for backward.

Every allocation is rounded up to 512 bytes, as PyTorch's CUDA caching allocator does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..units import ALLOCATION_BYTES
from .encoder import ForwardPass, Segment
from .tape import parameter_elements
from .tensor import Dim, ceil_div


@dataclass(frozen=True)
class SegmentMemory:
    """Of one segment: the most bytes live at once (weights and input included) and the op then, bytes kept for backward."""

    peak_bytes: int
    peak_op: str
    saved_bytes: int


def rounded(nbytes: Dim) -> Dim:
    """Bytes that the allocator takes for `nbytes`."""
    return ceil_div(nbytes, ALLOCATION_BYTES) * ALLOCATION_BYTES


def weights_bytes(forward: ForwardPass) -> int:
    """Memory of the weights, each its own allocation."""
    item = forward.image.item_bytes
    weights = (p for segment in forward.segments for op in segment.ops for p in op.parameters)
    return int(sum(rounded(parameter_elements(parameter) * item) for parameter in weights))


def walk(forward: ForwardPass) -> Iterator[SegmentMemory]:
    """The memory of each segment in order."""
    resident = live = weights_bytes(forward) + rounded(forward.image.nbytes)
    for segment in forward.segments:
        peak, at = live, ""
        for op in segment.ops:
            live += sum(rounded(storage.nbytes) for storage in op.allocates)
            if live > peak:
                peak, at = live, op.name
            live -= sum(rounded(storage.nbytes) for storage in op.frees)
        yield SegmentMemory(int(peak), at, saved_bytes(segment))
    assert live >= resident


def saved_bytes(segment: Segment) -> int:
    """Bytes that autograd keeps for the backward of `segment`, its input included where it is kept."""
    storages = {id(storage): storage for op in segment.ops for storage in op.saves}
    return int(sum(rounded(storage.nbytes) for storage in storages.values()))
