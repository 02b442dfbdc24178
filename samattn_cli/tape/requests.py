"""What the operations of a recording request of the allocator and free, in order, and what each block is for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from functools import partial

from ..records import dataclass
from .inside import Cuda, is_product, steps, takes_nothing
from .lanes import has_lanes, steps_of_each
from .ops import Op, Recording
from .storage import Storage


@dataclass(frozen=True)
class Kinds:
    """Bytes of blocks by what they are for; they sum to what is allocated.

    Attributes:
        weights: the parameters; of FSDP2, a rank's shards of them.
        buffers: masks of shifted windows, rotary tables.
        gradients: those of the parameters; of FSDP2, a rank's shards of them, and those that are not reduced yet.
        gathered: FSDP2's weights that are gathered from all ranks, and what it keeps of them between forward and backward.
        communication: FSDP2's buffers of all-gathers and reduce-scatters.
        buckets: the buckets of DistributedDataParallel, of which gradients may be views.
        optimizer: the optimizer's state, and the scale of a GradScaler.
        average: the moving average of the weights, with its copy of the buffers.
        kept: activations that autograd keeps for backward, and the output of a training step.
        temporaries: other results of operations, the gradients of activations among them.
        input: the image.
        workspaces: cuBLAS's, and what operators allocate internally.
        unsplit: what blocks have beyond the rounded requests, because it is too small to be split off.
    """

    weights: int
    buffers: int
    gradients: int
    gathered: int
    communication: int
    buckets: int
    optimizer: int
    average: int
    kept: int
    temporaries: int
    input: int
    workspaces: int
    unsplit: int


KINDS = tuple(field.name for field in fields(Kinds))
(
    WEIGHTS,
    BUFFERS,
    GRADIENTS,
    GATHERED,
    COMMUNICATION,
    BUCKETS,
    OPTIMIZER,
    AVERAGE,
    KEPT,
    TEMPORARIES,
    INPUT,
    WORKSPACES,
    UNSPLIT,
) = range(len(KINDS))

Key = Storage | int
"""What a block is for: a storage, or the number of an internal allocation."""

Request = tuple[int, Key, int]
"""A request of so many bytes for a key, and its kind. Other than bytes: `FREE`, `FREE_ELSEWHERE`, `FREE_LAST`, `PRODUCT` and `BIASED`."""

FREE = -1
"""The block is freed."""
FREE_ELSEWHERE = -2
"""The block of a storage that the recording did not make is freed."""
FREE_LAST = -4
"""The block of a storage that the pass before has left in a cache is freed."""
PRODUCT = -3
"""cuBLAS runs, which makes its workspace if the thread has none."""
BIASED = -5
"""cuBLASLt runs, and likewise."""
OF_LIBRARIES = frozenset({PRODUCT, BIASED})


@dataclass(frozen=True)
class Program:
    """The requests of a recording, and the operation of each."""

    requests: tuple[Request, ...]
    ops: tuple[Op, ...]

    @property
    def op_of_event(self) -> tuple[Op, ...]:
        """The operation of each event of the allocator that the requests make, workspaces of cuBLAS left out."""
        return tuple(
            op for op, request in zip(self.ops, self.requests, strict=True) if request[0] not in OF_LIBRARIES
        )

    def cut_before(self, op: Op) -> tuple[Program, Program]:
        """The requests of all operations before one, and those from it on."""
        place = self.ops.index(op)
        head, tail = slice(place), slice(place, None)
        return Program(self.requests[head], self.ops[head]), Program(self.requests[tail], self.ops[tail])


def program_of(
    recording: Recording,
    cuda: Cuda,
    kept: frozenset[Storage],
    *,
    holds: bool = False,
    is_first: bool = False,
) -> Program:
    """The requests of a recording.

    Args:
        recording: the operations.
        cuda: the device, which decides what operators allocate internally.
        kept: the storages that autograd keeps.
        holds: whether those are not freed here.
        is_first: whether it is the first forward, before which no cache has anything.
    """
    requests: list[Request] = []
    ops: list[Op] = []
    made: dict[Storage, bool] = {}  # and whether the allocator has a block for it
    resident = frozenset(buffer.cached for buffer in recording.buffers if buffer.cached is not None)
    kind_of = partial(_kind, kept=kept, resident=resident)
    for op in _ops_of(recording, is_first=is_first):
        for storage in op.allocates:
            made[storage] = _is_asked_for(storage, cuda)
        if takes_nothing(op, cuda):
            requests += [(each.nbytes, each, kind_of(each)) for each in op.allocates if made[each]]
            requests += _of_libraries(op, cuda)
        else:
            requests += _while_it_runs(op, cuda, kind_of)
        for storage in op.frees:
            if holds and storage in kept:
                continue
            if storage not in made:
                if _is_asked_for(storage, cuda):
                    requests.append((FREE_ELSEWHERE, storage, 0))
            elif made[storage]:
                requests.append((FREE, storage, 0))
        if op.frees_last and not is_first:
            requests += [(FREE_LAST, storage, 0) for storage in op.frees_last]
        ops += [op] * (len(requests) - len(ops))
    return Program(tuple(requests), tuple(ops))


def _ops_of(recording: Recording, *, is_first: bool) -> Iterator[Op]:
    """The operations; in the first forward, with those that no other runs."""
    only_first = dict(recording.only_first) if is_first else {}
    for number, op in enumerate(recording.ops):
        yield from only_first.get(number, ())
        yield op
    yield from only_first.get(len(recording.ops), ())


def _while_it_runs(op: Op, cuda: Cuda, kind_of: Callable[[Storage], int]) -> Iterator[Request]:
    """Its results, its internal allocations, and the frees of these."""
    what = steps_of_each(op, cuda) if has_lanes(op) else steps(op, cuda)
    results = iter([each for each in op.allocates if each not in what])
    taken, count = dict[int, None](), 0
    for step in what:
        if isinstance(step, Storage):
            yield from _result(step, cuda, kind_of)
        elif step is None:
            yield from _result(next(results), cuda, kind_of)
        elif step < 0:
            if -step - 1 in taken:
                del taken[-step - 1]
                yield FREE, -step - 1, 0
        else:
            if step:
                taken[count] = None
                yield step, count, WORKSPACES
            count += 1
    for storage in results:
        yield from _result(storage, cuda, kind_of)
    yield from _of_libraries(op, cuda)
    for number in reversed(taken):
        yield FREE, number, 0


def _of_libraries(op: Op, cuda: Cuda) -> Sequence[Request]:
    if not is_product(op):
        return ()
    if cuda.lt_workspace_bytes and op.adds_bias:
        return (PRODUCT, 0, 0), (BIASED, 0, 0)
    return ((PRODUCT, 0, 0),)


def _result(storage: Storage, cuda: Cuda, kind_of: Callable[[Storage], int]) -> Iterator[Request]:
    if _is_asked_for(storage, cuda):
        yield storage.nbytes, storage, kind_of(storage)


def _is_asked_for(storage: Storage, cuda: Cuda) -> bool:
    """Whether the allocator has a block for a storage; without a device, what is on the host counts as live too."""
    return bool(storage.nbytes) and not (storage.is_on_host and cuda.takes_inside)


def _kind(storage: Storage, kept: frozenset[Storage], resident: frozenset[Storage]) -> int:
    return BUFFERS if storage in resident else KEPT if storage in kept else TEMPORARIES
