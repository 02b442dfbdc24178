"""Liveness over the Tape: peak memory of an inference forward, and what autograd keeps for backward.

Every allocation is rounded up to 512 bytes, as PyTorch's CUDA caching allocator does.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from functools import cached_property, lru_cache
from itertools import chain, repeat

from ..records import dataclass
from ..units import rounded
from .ops import Op, Recording, parameter_elements
from .segments import ForwardPass, Segment
from .storage import Dim, Storage
from .symbols.formula import greatest, largest_ones


class LifetimeError(Exception):
    """A pass on the Tape uses a tensor after freeing it, or frees it twice: a bug in its code."""


@dataclass(frozen=True)
class SegmentMemory:
    """The memory of one segment: bytes live before it (weights and input included), and its own liveness."""

    before: Dim
    liveness: Liveness

    @property
    def peak_bytes(self) -> Dim:
        """The most bytes live at once."""
        return self.before + self.liveness.peak_bytes

    @property
    def peak_op(self) -> str:
        """The operation at the peak."""
        return self.liveness.peak_op


@dataclass(frozen=True)
class Liveness:
    """The live bytes of one recording, minus those that are live before it.

    Attributes:
        steps: (operation, live bytes) after each allocation.
        change: live bytes at its end.
        working: (operation, live bytes) while a kernel has a workspace.
    """

    steps: tuple[tuple[str, Dim], ...]
    change: Dim
    working: tuple[tuple[str, Dim], ...] = ()

    @property
    def peak_bytes(self) -> Dim:
        """The most bytes live at once (0 if nothing is allocated)."""
        largest = self._largest
        return largest[0] if len(largest) == 1 else greatest(largest)

    @cached_property
    def _largest(self) -> tuple[Dim, ...]:
        """What the peak may be: formulas differ between the lots of a sweep, which share this."""
        return largest_ones((0, *(live for _, live in self._moments)))

    @cached_property
    def peak_op(self) -> str:
        """The first operation at the peak ("" if nothing is allocated)."""
        return next((name for name, live in self._moments if live == self.peak_bytes), "")

    @cached_property
    def _moments(self) -> tuple[tuple[str, Dim], ...]:
        return (*self.steps, *self.working)


def weights_bytes(forward: ForwardPass) -> Dim:
    """Memory of the weights and buffers; each is an allocation of its own."""
    recordings, item_bytes = forward.recordings.items(), forward.image.item_bytes
    buffers = sum(many * buffers_bytes(recording) for recording, many in recordings)
    return buffers + sum(many * weights_of_recording(recording, item_bytes) for recording, many in recordings)


def buffers_bytes(recording: Recording) -> Dim:
    """Memory of the buffers of a part or block."""
    return sum(rounded(buffer.nbytes) for buffer in recording.buffers)


def cached_bytes(forward: ForwardPass) -> Dim:
    """Memory of what the code of modules caches for all forwards after the first; `weights_bytes` has it too."""
    return sum(
        many * rounded(buffer.nbytes)
        for recording, many in forward.recordings.items()
        for buffer in recording.buffers
        if buffer.cached is not None
    )


def gradients_bytes(forward: ForwardPass) -> Dim:
    """Memory of the gradients of the weights that train."""
    item_bytes = forward.image.item_bytes
    recordings = forward.recordings.items()
    return sum(
        many * weights_of_recording(recording, item_bytes, frozen=False) for recording, many in recordings
    )


def trained(forward: ForwardPass) -> Dim:
    """Numbers in the weights that train."""
    return sum(
        many * parameter_elements(weight)
        for recording, many in forward.recordings.items()
        for weight in recording.parameters
        if weight.trains
    )


def walk(forward: ForwardPass, *, trains: bool = False) -> Iterator[SegmentMemory]:
    """The memory of each segment of an inference forward in order; or as if it were of a run that `trains`.

    Segments with the same memory share one object.
    """
    return chain.from_iterable(_walk(forward, trains=trains))


def _walk(forward: ForwardPass, *, trains: bool) -> Iterator[Iterable[SegmentMemory]]:
    """The memory of each of the twins of a pass."""
    live = weights_bytes(forward) + rounded(forward.image.nbytes)
    keeps_graph = trains or forward.config.run.keeps_graph
    found: dict[tuple[int, int], SegmentMemory] = {}
    firsts = [twins.first for twins in forward.twins]
    lives = _kept_live(firsts) if keeps_graph else [live_over(first.recording) for first in firsts]
    for twins, liveness in zip(forward.twins, lives, strict=True):
        leaves_same = type(liveness.change) is int and not liveness.change
        for _ in range(1 if leaves_same else twins.number):
            alike = live if type(live) is int else id(live), id(liveness)
            if alike not in found:
                found[alike] = SegmentMemory(live, liveness)
            yield repeat(found[alike], twins.number if leaves_same else 1)
            live = live + liveness.change


def kept_live(forward: ForwardPass) -> Iterator[Liveness]:
    """The liveness of the forward of each segment, in which autograd keeps tensors."""
    return forward.spread_all(_kept_live(twins.first for twins in forward.twins))


def _kept_live(segments: Iterable[Segment]) -> Iterator[Liveness]:
    found: dict[tuple[Recording, int, int], Liveness] = {}
    for segment in segments:
        alike = segment.recording, id(segment.kept), id(segment.shared)
        if alike not in found:
            found[alike] = live_over(segment.recording, segment.kept | segment.shared)
        yield found[alike]


def peak_of(memory: Sequence[SegmentMemory]) -> Dim:
    """The most bytes live at once in any of some segments."""
    different = dict(zip(map(id, memory), memory, strict=True))
    return greatest([used.peak_bytes for used in different.values()])


@lru_cache(maxsize=64)
def live_over(recording: Recording, kept: frozenset[Storage] = frozenset()) -> Liveness:
    """Run through the allocations and frees of `recording`; storages that others have `kept` are not freed.

    Raises:
        LifetimeError: if an operation reads, keeps or frees a freed storage, or frees a weight or buffer.
    """
    over, freed = _Live(), set[Storage]()
    known: dict[Hashable, _Live] = {}
    for piece in recording.pieces:
        if isinstance(piece, tuple):
            over.run(piece, freed, kept)
            continue
        frees = piece.storages("frees")
        alike = piece.template, tuple([each in kept for each in frees]) if kept else ()
        if alike not in known:
            known[alike] = _Live()
            known[alike].run(piece.ops, freed, kept)
        freed.update(frees)
        over.add(known[alike])
    return Liveness(tuple(over.steps), over.live, tuple(over.working))


class _Live:
    """What is live over operations, minus what is live before them."""

    def __init__(self) -> None:
        self.live: Dim = 0
        self.steps: list[tuple[str, Dim]] = []
        self.working: list[tuple[str, Dim]] = []

    def run(self, ops: tuple[Op, ...], freed: set[Storage], kept: frozenset[Storage]) -> None:
        """Run through operations; those before them have `freed` storages, and others have `kept` some."""
        live, steps = self.live, self.steps
        for op in ops:
            if not freed.isdisjoint((*op.reads, *op.saves)):
                _check_lifetimes(op, "reads", op.reads, freed)
                _check_lifetimes(op, "keeps", op.saves, freed)
            for storage in op.allocates:
                live = live + rounded(storage.nbytes)
                steps.append((op.name, live))
            if op.kind == "sdpa":
                self.working.append((op.name, live + rounded(op.workspace_bytes)))
            for storage in op.frees:
                if storage in freed or storage.is_weight:
                    _check_lifetimes(op, "frees", (storage,), freed)
                freed.add(storage)
                if storage not in kept:
                    live = live - rounded(storage.nbytes)
        self.live = live

    def add(self, other: _Live) -> None:
        """Run through operations that do as others have done."""
        live = self.live
        self.steps += [(name, live + more) for name, more in other.steps]
        self.working += [(name, live + more) for name, more in other.working]
        self.live = live + other.live


@lru_cache(maxsize=64)
def live_before(recording: Recording, kept: frozenset[Storage] = frozenset()) -> tuple[Dim, ...]:
    """The live bytes before each operation of a recording, minus those that are live before the recording."""
    live: Dim = 0
    found = []
    for op in recording.ops:
        found.append(live)
        live = live + sum(rounded(storage.nbytes) for storage in op.allocates)
        live = live - sum(rounded(storage.nbytes) for storage in op.frees if storage not in kept)
    return tuple(found)


def _check_lifetimes(op: Op, does: str, storages: tuple[Storage, ...], freed: set[Storage]) -> None:
    for storage in storages:
        if storage in freed:
            raise LifetimeError(f"{op.name} {does} {storage.nbytes} bytes that have been freed")
        if does == "frees" and storage.is_weight:
            raise LifetimeError(f"{op.name} frees {storage.nbytes} bytes of a weight or buffer")


@lru_cache(maxsize=64)
def saved_bytes(recording: Recording) -> Dim:
    """Bytes that autograd keeps for the backward of `recording`, including its input if that is kept."""
    saved = {id(storage): storage for storage in recording.storages("saves")}
    return sum([rounded(storage.nbytes) for storage in saved.values()])


@lru_cache(maxsize=64)
def saved_by_op(recording: Recording) -> tuple[Dim, ...]:
    """`saved_bytes` by operation: a storage that several operations keep counts for the first of them."""
    kept: set[int] = set()
    sums = []
    for op in recording.ops:
        new = {id(storage): storage for storage in op.saves if id(storage) not in kept}
        kept |= new.keys()
        sums.append(sum(rounded(storage.nbytes) for storage in new.values()))
    return tuple(sums)


@lru_cache(maxsize=64)
def weights_of_recording(recording: Recording, item_bytes: int, *, frozen: bool = True) -> Dim:
    """Memory of the weights of a part or block, or of those that train."""
    weights = (weight for weight in recording.parameters if frozen or weight.trains)
    return sum(rounded(parameter_elements(weight) * item_bytes) for weight in weights)
