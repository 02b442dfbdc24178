"""A traced module in the memory of a CUDA device: what torch's caching allocator allocates and reserves, and whether it fits.

The run is that of `--device dry:NAME`, with the version of torch that traced the module: the weights are made, the cache is emptied, a pass is run (which makes the workspaces of
cuBLAS and the optimizer's state), and the peaks are those of the pass after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from ...device.model import Device
from ...encoder.torch_versions import NEWEST, nearest
from ...records import replace
from ...reports.trace import Phase, TracedOp
from ...tape.allocator import Allocator, Block, OutOfMemoryError
from ...tape.inside import Cuda
from ...tape.kernels import SEEDS_ON_DEVICE_SINCE
from ...tape.ops import Recording
from ...tape.requests import (
    BIASED,
    BUFFERS,
    FREE,
    FREE_ELSEWHERE,
    INPUT,
    OPTIMIZER,
    PRODUCT,
    TEMPORARIES,
    WEIGHTS,
    WORKSPACES,
    Key,
    Program,
    program_of,
)
from ...tape.storage import Storage
from ...units import INT64_BYTES
from ..on_device import cuda_of
from .inside import inside_op
from .ops import storages_of
from .passes import TracedPasses

EFFICIENT = "_scaled_dot_product_efficient_attention"
RANDOM_STATE = slice(2, None)
"""Where seed and offset are among its results."""
SEED = ("empty_like", "full_like")
"""How the gradients of the outputs are made, in the first operations of a backward."""


class Usage(NamedTuple):
    """The most bytes that are allocated and reserved, and whether memory suffices."""

    allocated: int
    reserved: int
    fits: bool


def in_memory(passes: TracedPasses, device: Device) -> Usage | None:
    """The pass of a module in what a process has of a device's memory; None of a device that is not a CUDA device."""
    cuda = cuda_of(device)
    if cuda is None:
        return None
    cuda = replace(cuda, torch=nearest(passes.trace.torch) or NEWEST)
    used = _Player(passes, cuda, None).played()
    if used.reserved <= device.usable_bytes:
        return used
    try:
        return _Player(passes, cuda, device.usable_bytes).played()
    except OutOfMemoryError:
        return used._replace(fits=False)


class _Player:
    """Plays passes of a module."""

    def __init__(self, passes: TracedPasses, cuda: Cuda, capacity: int | None) -> None:
        self.passes, self.cuda = passes, cuda
        self.allocator = Allocator(capacity)
        self.workspaces = {PRODUCT: cuda.workspace_bytes, BIASED: cuda.lt_workspace_bytes}
        self.threads: set[tuple[Phase, int]] = set()
        self.own: dict[Key, Block | None] = {}
        ops = passes.trace.step or passes.trace.forward
        self.storages = storages_of(ops)
        if cuda.torch < SEEDS_ON_DEVICE_SINCE:
            self.storages |= {number: Storage(INT64_BYTES, is_on_host=True) for number in _random_states(ops)}
        self.programs = {phase: self._program(ops, phase) for phase in ("forward", "backward")}
        self.returned = [self.storages[number] for number in _returned(ops)]

    def _program(self, ops: Sequence[TracedOp], phase: str) -> Program:
        played = [inside_op(op, self.storages) for op in ops if op.phase == phase]
        return program_of(Recording(tuple(played)), self.cuda, frozenset())

    def played(self) -> Usage:
        """The peaks of the second pass; what is reserved is that of both."""
        self._build()
        self._pass(first=True)
        reserved = self.allocator.peak_reserved
        self.allocator.reset_peaks()
        self._pass(first=False)
        return Usage(self.allocator.peak_allocated, max(reserved, self.allocator.peak_reserved), fits=True)

    def _build(self) -> None:
        trace = self.passes.trace
        self._make((nbytes for weight in trace.weights for nbytes in weight.sizes), WEIGHTS)
        self._make(trace.buffer_bytes, BUFFERS)
        self._make(trace.input_bytes, INPUT)
        self.allocator.empty_cache()
        self.allocator.reset_peaks()

    def _make(self, sizes: Iterable[int], kind: int) -> list[Block | None]:
        return [self.allocator.allocate(nbytes, kind) for nbytes in sizes]

    def _pass(self, *, first: bool) -> None:
        """A forward, or a step that begins by dropping the gradients of the step before."""
        self._drop(list(self.own))
        self._play("forward")
        if self.passes.trace.step:
            self._play("backward")
            self._optimizer(first=first)
        self._drop(self.returned)

    def _drop(self, keys: Iterable[Key]) -> None:
        for key in keys:
            self.allocator.free(self.own.pop(key, None))

    def _play(self, phase: Phase) -> None:
        for nbytes, key, kind in self.programs[phase].requests:
            if nbytes > 0:
                self.own[key] = self.allocator.allocate(nbytes, kind)
            elif nbytes in {FREE, FREE_ELSEWHERE}:
                self.allocator.free(self.own.pop(key, None))
            elif (phase, nbytes) not in self.threads and self.workspaces[nbytes]:
                self.threads.add((phase, nbytes))
                self.allocator.allocate(self.workspaces[nbytes], WORKSPACES)

    def _optimizer(self, *, first: bool) -> None:
        optimizer = self.passes.optimizer
        sizes = self.passes.trained_sizes
        if first:
            self._make((nbytes for nbytes in sizes for _ in range(optimizer.state)), OPTIMIZER)
        for block in self._make((n for _ in range(optimizer.transient) for n in sizes), TEMPORARIES):
            self.allocator.free(block)


def _random_states(ops: Sequence[TracedOp]) -> Iterator[int]:
    """The storages of seed and offset of memory-efficient attention."""
    for op in ops:
        if op.name == EFFICIENT:
            yield from (each.id for each in op.allocates[RANDOM_STATE])


def _returned(ops: Sequence[TracedOp]) -> list[int]:
    """The storages that the caller holds until the pass ends: what a forward leaves, and the gradients of the outputs."""
    freed = {number for op in ops for number in op.frees}
    left = [each.id for op in ops if op.phase == "forward" for each in op.allocates if each.id not in freed]
    for op in (op for op in ops if op.phase == "backward"):
        if op.name not in SEED:
            break
        left += [each.id for each in op.allocates if each.id not in freed]
    return left
