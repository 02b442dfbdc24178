"""A training step of FSDP2 on the Tape: the bytes that are live on one GPU, rank 0, without what the allocator adds.

`sharded.py` says what a rank holds; here it is counted, next to the liveness of each segment.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from functools import cached_property, lru_cache
from operator import attrgetter

from ..encoder.model import EncoderConfig, RunConfig, Section
from ..errors import UsageError
from ..records import dataclass, replace
from ..units import ITEM_BYTES, rounded
from .allocator import DEFAULT, Block
from .backward import BackwardRun
from .fsdp import Group, Sharding, Weight, shard_of
from .inside import Cuda
from .memory import Liveness, live_over
from .ops import Parameter, Recording
from .requests import WORKSPACES, Program
from .sdpa_call import Target
from .segments import ForwardPass, Segment
from .settings import without_parallel
from .sharded import Sharded, weights_by_group
from .sharded_order import BackwardOrder, is_live
from .storage import Dim, Storage
from .symbols.formula import greatest
from .training import PHASES, Moment, TrainingStep, operation_at, training_step, uncached_bytes

SAME_PASSES = {
    key: getattr(RunConfig(), key) for key in ("step", "zero_grad", "accumulate", "optimizer", "allocator")
}
"""The keys of a run that change neither its forward nor its backward."""


def sharded_step(config: EncoderConfig, target: Target, *, one_by_one: bool = False) -> ShardedStep:
    """A training step of FSDP2, which shares its passes with other steps that compute the same.

    Raises:
        UsageError: if it is not derived.
    """
    alone = step_alone(config, target)
    if any(twins.first.stage is not None for twins in alone.forward.twins):
        text = f"run.parallel {config.run.parallel} of an encoder that checkpoints whole stages is not derived yet"
        raise UsageError("not-derived-yet", text)
    if config.unread:
        text = (
            f"run.parallel {config.run.parallel} of an encoder with blocks whose outputs nothing reads, such as "
            f"{max(config.unread)}, is not derived yet: remove these blocks, or use run.parallel ddp"
        )
        raise UsageError("not-derived-yet", text)
    passed = alone.forward
    return ShardedStep(
        ForwardPass(config, passed.image, passed.twins), alone.backward, alone, one_by_one=one_by_one
    )


def step_alone(config: EncoderConfig, target: Target) -> StepAlone:
    """The step of one GPU that computes what a step does, in one micro-batch."""
    computed = without_parallel(config)
    return _step_alone(replace(computed, run=replace(computed.run, **SAME_PASSES)), target)


@lru_cache(maxsize=16)
def _step_alone(config: EncoderConfig, target: Target) -> StepAlone:
    step = training_step(config, target)
    return StepAlone(step.forward, step.backward)


class StepAlone(TrainingStep):
    """A training step of one GPU, of which others are made."""

    @cached_property
    def group_weights(self) -> dict[str, tuple[Weight, ...]]:
        """The weights of each group of FSDP2."""
        return weights_by_group(self.forward)

    @cached_property
    def programs(self) -> dict[Cuda, dict[Hashable, Program]]:
        """The requests of its recordings on a device, which all replays share."""
        return {}


@dataclass(frozen=True)
class ShardedStep(TrainingStep):
    """A training step of one rank. Weights, gradients and the optimizer's state are its shards.

    Attributes:
        alone: the step of one GPU that computes the same.
    """

    alone: StepAlone

    @property
    def first_recordings(self) -> tuple[Recording, ...]:
        """The backward of each segment."""
        return self.alone.first_recordings

    @property
    def kept(self) -> tuple[Liveness, ...]:
        """The liveness of each segment's forward, in which autograd keeps tensors."""
        return self.alone.kept

    @property
    def weights(self) -> dict[str, Parameter]:
        """The weights by name, in the order of ``model.parameters()``."""
        return self.alone.weights

    @cached_property
    def groups(self) -> dict[str, Group]:
        """What is communicated together: the weights of each block, and those of the root."""
        sharding = Sharding.of(self.config.run)
        return {name: Group(weights, sharding) for name, weights in self.alone.group_weights.items()}

    @cached_property
    def _shards(self) -> tuple[tuple[bool, int], ...]:
        """Whether each weight trains, and the bytes of its shard on the device, in the order of ``model.parameters()``."""
        sharding = Sharding.of(self.config.run)
        item_bytes = 0 if sharding.is_offloaded else sharding.item_bytes
        return tuple(
            (weight.trains, shard_of(weight.shape, sharding.gpus) * item_bytes)
            for weight in self.weights.values()
        )

    @property
    def keeps_image(self) -> bool:
        """Whether autograd keeps the image for the backward, as it does for a patch embedding that trains."""
        image = self.forward.image.storage
        return any(image in twins.first.kept for twins in self.forward.twins)

    @cached_property
    def weights_bytes(self) -> Dim:
        """Memory of the shards of weights, if they are not in the host's, and of the buffers."""
        buffers = (buffer for segment in self.forward.segments for _, buffer in segment.named_buffers)
        return sum(rounded(nbytes) for _, nbytes in self._shards) + sum(
            rounded(each.nbytes) for each in buffers
        )

    @cached_property
    def updated(self) -> tuple[int, ...]:
        """The bytes of the shards that the optimizer updates on the device."""
        return tuple(nbytes for trains, nbytes in self._shards if trains and nbytes)

    @cached_property
    def gradients_bytes(self) -> Dim:
        """Memory of the shards of gradients, if they are not in the host's."""
        return sum(map(rounded, self.updated))

    @cached_property
    def held_bytes(self) -> Dim:
        """What gradients hold from a backward on: their shards."""
        return self.gradients_bytes

    @cached_property
    def average_bytes(self) -> Dim:
        """Memory of the moving average: shards and buffers like those of the model."""
        return self.weights_bytes if self.config.run.ema else 0

    @cached_property
    def before_bytes(self) -> Dim:
        """What is there throughout: shards of weights, buffers, the optimizer's state, the moving average, the image."""
        image = rounded(math.prod(self.forward.image.shape) * ITEM_BYTES[self.config.run.dtype])
        return self.weights_bytes + self.state_bytes + self.average_bytes + image

    @cached_property
    def moments(self) -> dict[Section, Moment]:
        """The peak of each section."""
        return self._count.moments

    @cached_property
    def peaks(self) -> dict[Section, Dim]:
        """The bytes of those moments."""
        return {section: moment.nbytes for section, moment in self.moments.items()}

    @cached_property
    def peak_bytes(self) -> Dim:
        """The most bytes live at once."""
        return greatest(self.peaks.values())

    @property
    def peak_at(self) -> str:
        """The operation at the peak."""
        return next(moment.at for moment in self.moments.values() if moment.nbytes == self.peak_bytes)

    @cached_property
    def most(self) -> tuple[tuple[Dim, str], ...]:
        """The most bytes live in each segment, forward or backward, and the operation at that moment, named in it."""
        names = self.forward.names
        both = ([self.moments[name, phase] for phase in PHASES] for name in names)
        moments = (max(each, key=attrgetter("nbytes")) for each in both)
        return tuple(
            (moment.nbytes, moment.at.removeprefix(f"{name}."))
            for name, moment in zip(names, moments, strict=True)
        )

    @cached_property
    def before(self) -> dict[Section, Dim]:
        """What is live when the operations of each segment begin, forward and then backward."""
        return self._count.before

    @cached_property
    def _count(self) -> Count:
        count = Count(self)
        count.run()
        return count


@dataclass(frozen=True)
class SharedMoment(Moment):
    """The peak of a section in which a group may be gathered or reduced too.

    Attributes:
        seen: the bytes of the moments that may be the peak, each with the liveness of the operations that run in it.
    """

    seen: tuple[tuple[Dim, Liveness | None], ...] = ()

    @classmethod
    def of(cls, section: Section, seen: Sequence[tuple[Dim, Liveness | None]]) -> SharedMoment:
        """The peak among moments of a section."""
        return cls(greatest(nbytes for nbytes, _ in seen), section, None, tuple(seen))

    @property
    def at(self) -> str:
        """The operation at the peak, or the section if a group is gathered or reduced then."""
        liveness = next(liveness for nbytes, liveness in self.seen if nbytes == self.nbytes)
        return operation_at(self.section, "" if liveness is None else liveness.peak_op)


class Count:
    """The live bytes of a step, section by section; `allocate` and `free` are those of an allocator that only counts."""

    def __init__(self, step: ShardedStep) -> None:
        self.step = step
        self.allocated = step.before_bytes + step.scaler_bytes_in_forward
        self.activations = 0  # of those, what segments have made
        self.has_grown = False
        self.seen: dict[Section, list[tuple[Dim, Liveness | None]]] = {}
        self.before: dict[Section, Dim] = {}
        self.section: Section = ("", "forward")
        self.sharded = Sharded(step.groups, self, Cuda())
        self.order = BackwardOrder(step, self.sharded)

    def allocate(self, nbytes: int, kind: int = 0, stream: int = DEFAULT) -> Block | None:  # noqa: ARG002
        """Count bytes, but not the tables of copies."""
        if not nbytes or kind == WORKSPACES:
            return None
        block = _block(nbytes)
        self.allocated += block.nbytes
        self.has_grown = True
        return block

    def free(self, block: Block | None) -> None:
        """Count them off."""
        if block is None:
            return
        self._note_growth()
        self.allocated -= block.nbytes

    def run(self) -> None:
        """The step, or that micro-batch of it, at whose peak the most is live."""
        image, casts = self.step.forward.image, self.sharded.sharding.casts
        cast = self.allocate(image.nbytes) if casts else None
        if self.step.config.run.step == "later" or self.step.micro_batches > 1:
            self._keep_outdated()
        if self.step.held_in_forward:
            self._make_gradients()
        self._forward()
        if not self.step.keeps_image:
            self.free(cast)
            cast = None
        if self.step.held_in_backward:
            self._make_gradients()
        self._backward(cast)
        self._optimizer()

    def _make_gradients(self) -> None:
        """The shards of gradients of the micro-batch or step before; those of a step before go after the forward."""
        for name, group in self.sharded.groups.items():
            if name not in self.sharded.gradients:
                nbytes = sum(group.trained) * self.sharded.sharding.item_bytes
                self.sharded.gradients[name] = self.allocate(nbytes)

    def _forward(self) -> None:
        self.sharded.begin_forward()
        for segment, liveness in zip(self.step.forward.segments, self.step.kept, strict=True):
            if segment.layer is not None:
                self.sharded.before_forward(segment.name)
            self._enter((segment.name, "forward"))
            self._play(liveness)
            if segment.layer is not None:
                self._return_from(segment)
        self.sharded.end_forward()
        uncached = sum(map(uncached_bytes, self.step.forward.segments))
        self.allocated -= uncached
        self.activations -= uncached
        if not self.step.held_in_backward:
            self.sharded.zero_grad()

    def _return_from(self, segment: Segment) -> None:
        """What is gathered of a block goes, if it is to, and then its inputs."""
        inputs = segment.freed_by_caller - segment.kept - segment.shared
        nbytes = sum(rounded(storage.nbytes) for storage in inputs)
        self.allocated += nbytes
        self.sharded.after_forward(segment.name)
        self._note_growth()
        self.allocated -= nbytes

    def _keep_outdated(self) -> None:
        """The parts of weights that stay after the forward of the step before: of the blocks that have no backward."""
        for segment, run in zip(self.step.forward.segments, self.step.backward, strict=True):
            if segment.layer is not None and not is_live(run):
                self.sharded.keep_outdated(segment.name)

    def _backward(self, cast: Block | None) -> None:
        step = self.step
        self.allocated += step.output_gradient_bytes + step.scaler_bytes - step.scaler_bytes_in_forward
        outputs = {output.storage for output in step.forward.segments[-1].outputs}
        parts = zip(step.forward.segments, step.backward, step.first_recordings, strict=True)
        for segment, run, recording in reversed(list(parts)):
            self.order.enter_backward(segment, run, self._enter)
            self._play(live_over(recording))
            if segment.layer is not None:
                left = _left(recording, run)
                self.activations -= sum(block.nbytes for block in left)
                self.order.leave_block(segment, run, [*left])
            if segment.name == self.order.last:
                self.free(cast)
                left = [_block(self.activations - sum(rounded(storage.nbytes) for storage in outputs))]
                self.order.end_backward([*left])

    def _optimizer(self) -> None:
        self._enter(("optimizer", "step"))
        self._note(self.allocated + self.step.made_by_optimizer_bytes + self.step.made_around_optimizer_bytes)
        self.has_grown = False

    @property
    def moments(self) -> dict[Section, Moment]:
        """The peak of each section."""
        return {section: SharedMoment.of(section, seen) for section, seen in self.seen.items()}

    def _enter(self, section: Section) -> None:
        self._note_growth()
        self.section = section
        self._note(self.allocated)

    def _play(self, liveness: Liveness) -> None:
        """The operations of a segment."""
        self.before[self.section] = self.allocated
        self._note(self.allocated + liveness.peak_bytes, liveness)
        self.allocated += liveness.change
        self.activations += liveness.change

    def _note_growth(self) -> None:
        if self.has_grown:
            self.has_grown = False
            self._note(self.allocated)

    def _note(self, nbytes: Dim, liveness: Liveness | None = None) -> None:
        if self.section[0]:
            self.seen.setdefault(self.section, []).append((nbytes, liveness))


def _block(nbytes: int) -> Block:
    block = Block(rounded(nbytes), 0, pool=DEFAULT, before=None, after=None)
    block.rest = 0
    return block


def _left(recording: Recording, run: BackwardRun) -> list[Block]:
    """The gradients of weights that the backward of a block leaves."""
    made: dict[Storage, None] = {}
    for op in recording.ops:
        made |= dict.fromkeys(op.allocates)
        for storage in op.frees:
            made.pop(storage, None)
    return [_block(storage.nbytes) for storage in made if storage.nbytes and storage not in run.handed_on]
