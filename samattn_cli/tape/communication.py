"""What GPUs send each other in a training step: its collectives in order, and the bytes that each GPU sends for them.

Source: PyTorch 2.14.1, torch/nn/parallel/distributed.py, torch/csrc/distributed/c10d/reducer.cpp and
torch/distributed/optim/zero_redundancy_optimizer.py (see `ddp.py`, `zero.py` and `sharded.py`); compared with what torch calls.

- DistributedDataParallel broadcasts the buffers before each forward, in flat copies, and reduces each bucket when the backward
  has completed its last gradient. Each micro-batch does both.
- ZeroRedundancyOptimizer broadcasts each weight that trains after the optimizer's step, those of rank 0 first.
- FSDP2 gathers the weights outside of blocks and then those of each block in the forward, and those of each block again in the
  backward unless they stay gathered. It reduces and scatters the gradients of each block, and then those outside of blocks. The
  order is that of the run whose memory is counted (`sharded_order.py`).
- Collectives are rings. Of a tensor of S bytes, the whole one, each of n ranks sends 2(n-1)/n S in an all-reduce, (n-1)/n S in an
  all-gather and in a reduce-scatter, and S in a broadcast (nccl-tests, doc/PERFORMANCE.md).

What a script does once, such as sending the weights of the first rank to the others, is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

from ..encoder.model import Phase
from ..records import dataclass
from . import ddp
from .fsdp import Sharding
from .sharded import ALL_GATHER, REDUCE_SCATTER
from .sharded_order import begun
from .sharded_training import ShardedStep
from .training import TrainingStep
from .zero import shares

ALL_REDUCE, BROADCAST = "all_reduce", "broadcast"
COLLECTIVES = (ALL_REDUCE, ALL_GATHER, REDUCE_SCATTER, BROADCAST)


@dataclass(frozen=True)
class Collective:
    """A call that all ranks take part in.

    Attributes:
        kind: a word of `COLLECTIVES`.
        nbytes: the bytes of the whole tensor: of what is reduced, gathered or broadcast.
        ranks: how many ranks take part.
        phase: the phase in which it begins.
        segment: the part or block with whose end (of a reduction) or beginning (of a gathering) it begins; "" if it
            begins with the phase, or after it.
    """

    kind: str
    nbytes: int
    ranks: int
    phase: Phase
    segment: str = ""

    @property
    def sent_bytes(self) -> int:
        """What each rank sends for it, rounded up."""
        return sent_bytes(self.kind, self.nbytes, self.ranks)


def steps(kind: str, ranks: int) -> int:
    """The steps of a ring."""
    return 2 * (ranks - 1) if kind == ALL_REDUCE else ranks - 1


def sent_bytes(kind: str, nbytes: int, ranks: int) -> int:
    """What each rank sends of a tensor of `nbytes`, the whole one, rounded up."""
    if kind == BROADCAST:
        return nbytes if ranks > 1 else 0
    return -(-steps(kind, ranks) * nbytes // ranks)


Collectives = tuple[Collective, ...]
"""Collectives in the order in which they begin."""


@dataclass(frozen=True)
class Sent:
    """The collectives of a training step: of its first micro-batch, of each later one, and after the optimizer's step."""

    first: Collectives = ()
    later: Collectives = ()
    after: Collectives = ()
    micro_batches: int = 1

    @property
    def all(self) -> Collectives:
        """All of them."""
        return self.first + self.later * (self.micro_batches - 1) + self.after

    @property
    def bytes(self) -> int:
        """What each rank sends for them."""
        first, later, after = (
            sum(each.sent_bytes for each in own) for own in (self.first, self.later, self.after)
        )
        return first + later * (self.micro_batches - 1) + after


def sent(step: TrainingStep) -> Sent:
    """The collectives of a training step; none if it runs on one GPU."""
    run = step.config.run
    if run.gpus == 1 or not (run.is_ddp or run.is_fsdp):
        return Sent()
    after = tuple(_of_zero1(step)) if run.is_zero1 else ()
    if isinstance(step, ShardedStep):
        first = later = tuple(_of_fsdp(step))
    else:
        later = tuple(_of_ddp(step, ddp.filled(step.completed)))
        first = later if run.step == "later" else tuple(_of_ddp(step, (step.completed,)))
    return Sent(first, later, after, step.micro_batches)


def _of_ddp(step: TrainingStep, buckets: Sequence[Sequence[int]]) -> Iterator[Collective]:
    """The collectives of a micro-batch, with the bytes of the gradients in each bucket."""
    gpus = step.config.run.gpus
    buffers = ddp.typed(each for segment in step.forward.segments for each in segment.recording.buffers)
    for nbytes in ddp.sent_together(buffers):
        yield Collective(BROADCAST, nbytes, gpus, "forward")
    runs = zip(reversed(step.forward.segments), reversed(step.backward), strict=True)
    completed_in = [segment.name for segment, run in runs for _ in run.completed]
    for bucket, end in zip(buckets, accumulate(map(len, buckets)), strict=True):
        if bucket:
            yield Collective(ALL_REDUCE, sum(bucket), gpus, "backward", completed_in[end - 1])


def _of_zero1(step: TrainingStep) -> Iterator[Collective]:
    gpus = step.config.run.gpus
    for share in shares(step.trained_bytes, gpus):
        for place in share:
            yield Collective(BROADCAST, step.trained_bytes[place], gpus, "step")


def _of_fsdp(step: ShardedStep) -> Iterator[Collective]:
    """The collectives of a micro-batch."""
    groups, sharding = step.groups, Sharding.of(step.config.run)
    for kind, name, phase, segment in begun(step, groups):
        group, is_gathering = groups[name], kind == ALL_GATHER
        nbytes = group.buffer_bytes if is_gathering else group.reduced_bytes
        is_part = (
            is_gathering and phase == "backward"
        )  # then those that kept the weights after the forward take part
        if nbytes or phase == "forward":
            yield Collective(kind, nbytes, sharding.kept_over if is_part else sharding.gpus, phase, segment)
