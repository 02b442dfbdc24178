"""Liveness over the Tape: peak memory of an inference forward, and what autograd keeps for backward.

Every allocation is rounded up to 512 bytes, as PyTorch's CUDA caching allocator does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

from ..units import rounded
from .encoder import ForwardPass
from .ops import Op, Recording, parameter_elements
from .storage import Dim, Storage
from .symbols.formula import greatest


class LifetimeError(Exception):
    """A pass on the Tape uses a tensor after it has let go of it, or lets go of it twice: a fault of its code."""


@dataclass(frozen=True)
class SegmentMemory:
    """Of one segment: the bytes live before it (weights and input included), and what it makes of them."""

    before: Dim
    liveness: Liveness

    @property
    def peak_bytes(self) -> Dim:
        """The most bytes live at once."""
        return self.before + self.liveness.peak_bytes

    @property
    def peak_op(self) -> str:
        """The operation at which they are."""
        return self.liveness.peak_op


@dataclass(frozen=True)
class Liveness:
    """Of one recording, over what is live before it: the bytes after each allocation, the change once it is done.

    `working` are the bytes while a kernel has a workspace.
    """

    steps: tuple[tuple[str, Dim], ...]
    change: Dim
    working: tuple[tuple[str, Dim], ...] = ()

    @cached_property
    def peak_bytes(self) -> Dim:
        """The most that is live (0 where nothing is allocated)."""
        return greatest((0, *(live for _, live in self._moments)))

    @property
    def peak_op(self) -> str:
        """The operation at which most is live, the first of several ("" where nothing is allocated)."""
        return next((name for name, live in self._moments if live == self.peak_bytes), "")

    @property
    def _moments(self) -> tuple[tuple[str, Dim], ...]:
        return (*self.steps, *self.working)


def weights_bytes(forward: ForwardPass) -> Dim:
    """Memory of the weights and buffers, each its own allocation."""
    recordings = [segment.recording for segment in forward.segments]
    buffers = sum(rounded(buffer.nbytes) for recording in recordings for buffer in recording.buffers)
    return buffers + sum(_weights_bytes(recording, forward.image.item_bytes) for recording in recordings)


def gradients_bytes(forward: ForwardPass) -> Dim:
    """Memory of the gradients of the weights that train."""
    item_bytes = forward.image.item_bytes
    return sum(_weights_bytes(segment.recording, item_bytes, frozen=False) for segment in forward.segments)


def trained(forward: ForwardPass) -> Dim:
    """Numbers in the weights that train."""
    weights = (weight for segment in forward.segments for weight in segment.recording.parameters)
    return sum(parameter_elements(weight) for weight in weights if weight.trains)


def walk(forward: ForwardPass) -> Iterator[SegmentMemory]:
    """The memory of each segment in order."""
    live = weights_bytes(forward) + rounded(forward.image.nbytes)
    for segment in forward.segments:
        liveness = live_over(segment.recording)
        yield SegmentMemory(live, liveness)
        live = live + liveness.change


@lru_cache(maxsize=64)
def live_over(recording: Recording, held: frozenset[Storage] = frozenset()) -> Liveness:
    """Run through the allocations and frees of `recording`; what is `held` is not freed.

    Raises:
        LifetimeError: where an operation reads, keeps or frees what has been freed, or frees a weight or buffer.
    """
    live: Dim = 0
    steps: list[tuple[str, Dim]] = []
    working: list[tuple[str, Dim]] = []
    gone: set[Storage] = set()
    for op in recording.ops:
        _refuse_if_gone(op, "reads", op.reads, gone)
        _refuse_if_gone(op, "keeps", op.saves, gone)
        for storage in op.allocates:
            live = live + rounded(storage.nbytes)
            steps.append((op.name, live))
        if op.kind == "sdpa":
            working.append((op.name, live + rounded(op.workspace_bytes)))
        for storage in op.frees:
            _refuse_if_gone(op, "frees", (storage,), gone)
            gone.add(storage)
            if storage not in held:
                live = live - rounded(storage.nbytes)
    return Liveness(tuple(steps), live, tuple(working))


def _refuse_if_gone(op: Op, does: str, storages: tuple[Storage, ...], gone: set[Storage]) -> None:
    for storage in storages:
        if storage in gone:
            raise LifetimeError(f"{op.name} {does} {storage.nbytes} bytes that have been freed")
        if does == "frees" and storage.is_weight:
            raise LifetimeError(f"{op.name} frees {storage.nbytes} bytes of a weight or buffer")


@lru_cache(maxsize=64)
def saved_bytes(recording: Recording) -> Dim:
    """Bytes that autograd keeps for the backward of `recording`, its input included where it is kept."""
    return sum(saved_by_op(recording))


@lru_cache(maxsize=64)
def saved_by_op(recording: Recording) -> tuple[Dim, ...]:
    """`saved_bytes` by operation: a storage that several keep counts for the first of them."""
    kept: set[int] = set()
    sums = []
    for op in recording.ops:
        new = {id(storage): storage for storage in op.saves if id(storage) not in kept}
        kept |= new.keys()
        sums.append(sum(rounded(storage.nbytes) for storage in new.values()))
    return tuple(sums)


@lru_cache(maxsize=64)
def _weights_bytes(recording: Recording, item_bytes: int, *, frozen: bool = True) -> Dim:
    weights = (weight for weight in recording.parameters if frozen or weight.trains)
    return sum(rounded(parameter_elements(weight) * item_bytes) for weight in weights)
