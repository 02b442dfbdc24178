"""A training step on the Tape: forward, backward, optimizer. It finds the peak of memory, where it is, and its parts.

The step is that of `stack/step.py`. The optimizer's buffers exist when it begins, unless it is the first (`run.step`). The
gradients of the step before are freed where `run.zero_grad` says. The buckets of DistributedDataParallel and the copy of a
moving average are there throughout. Each micro-batch (`run.accumulate`) is a forward and a
backward, which begins with a gradient of the output. Image, output and that gradient live until the end of the micro-batch,
those of the last until the end of the step.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import field
from functools import cached_property
from itertools import accumulate, chain, pairwise
from operator import add

from ..encoder.model import EncoderConfig, Phase, Section
from ..records import dataclass, replace
from ..units import rounded
from .backward import BackwardRun, backward
from .ddp import buckets, one_bucket
from .encoder import forward
from .memory import (
    Liveness,
    cached_bytes,
    gradients_bytes,
    kept_live,
    live_over,
    saved_bytes,
    trained,
    weights_bytes,
)
from .ops import Op, Parameter, Recording, parameter_elements
from .sdpa_call import AMPERE, Target
from .segments import ForwardPass, Segment
from .storage import Dim, Storage
from .symbols.formula import greatest


@dataclass(frozen=True)
class Optimizer:
    """The memory and traffic of an optimizer, in multiples of the size of the weights that train.

    Attributes:
        state: kept between steps.
        transient: allocated during a step, for all weights at once.
        of_one: the same where weights are taken one by one, in multiples of one of them.
        of_last: what is still there then of the weight before it, in multiples of that.
        read: read by a step.
        written: written by a step.
    """

    state: int
    transient: int
    read: int
    written: int
    of_one: int = 0
    of_last: int = 0


OPTIMIZERS = {
    # exp_avg and exp_avg_sq; the square root of the latter, for all weights at once (_multi_tensor_adamw: mul_, lerp_,
    # mul_, addcmul_, sqrt, div_, add_, addcdiv_)
    # one by one (_single_tensor_adam): that square root, and its quotient; that of the weight before is still named `denom`
    "adamw": Optimizer(state=2, transient=1, read=12, written=8, of_one=2, of_last=1),
    "sgd_momentum": Optimizer(state=1, transient=0, read=5, written=3),  # mul_, add_, add_
    "sgd": Optimizer(state=0, transient=0, read=2, written=1),  # add_
}


SCALAR_BYTES = 4
"""Each of GradScaler's scale, the steps since it has grown, and whether a gradient is infinite."""
COUNTER_BYTES = 8
"""How often a moving average has been updated, which each update but the first copies to the device."""

OF_WEIGHTS = ("weights", "weights_bytes", "trained_params", "gradients_bytes")
INSIDE = (
    *OF_WEIGHTS,
    "accumulating",
    "recordings",
    "first_recordings",
    "undone",
    "first_undone",
    "kept",
    "kept_bytes",
    "completed",
)
"""What of a step is the same whatever is around the model."""

PHASES: tuple[Phase, ...] = ("forward", "backward")
"""The phases of a part or block. The third phase, the step, belongs to the optimizer."""


def operation_at(section: Section, op: str) -> str:
    """An operation of a section in words; of the optimizer, which has no operations, its step."""
    name, phase = section
    if phase == "step":
        return f"{name} {phase}"
    operation = ".".join(filter(None, (name, op)))
    return operation if phase == "forward" else f"{operation} ({phase})"


@dataclass(frozen=True)
class Moment:
    """The peak of memory in a section of a step, with the liveness of that section."""

    nbytes: Dim
    section: Section
    liveness: Liveness | None = None

    @property
    def at(self) -> str:
        """The operation at the peak."""
        return operation_at(self.section, "" if self.liveness is None else self.liveness.peak_op)


@dataclass(frozen=True)
class TrainingStep:
    """A training step of an encoder: the forward pass and the backward of each of its segments.

    The optimizer takes weights `one_by_one` on a CPU, and all at once on CUDA (torch.optim's _default_to_fused_or_foreach).
    """

    forward: ForwardPass
    backward: tuple[BackwardRun, ...]
    one_by_one: bool = field(default=False, kw_only=True)

    @property
    def config(self) -> EncoderConfig:
        """The encoder."""
        return self.forward.config

    def around(self, config: EncoderConfig) -> TrainingStep:
        """The step of another run that differs only in what is around the model; it shares what was worked out for this one."""
        passed = replace(self.forward, config=config)
        is_same = config.run.has_views == self.config.run.has_views
        back = self.backward if is_same else backward(passed)
        step = TrainingStep(passed, back, one_by_one=self.one_by_one)
        known: tuple[str, ...] = INSIDE if is_same else OF_WEIGHTS
        if config.run.accumulate != self.config.run.accumulate:
            of_last = {"accumulating", "recordings", "undone", "first_undone"}
            known = tuple(name for name in known if name not in of_last)
        vars(step).update({name: getattr(self, name) for name in known})
        return step

    @property
    def micro_batches(self) -> int:
        """How many forwards and backwards it has."""
        return self.config.run.accumulate

    @cached_property
    def accumulating(self) -> tuple[BackwardRun, ...]:
        """The backward of each segment in the last micro-batch: after the first, gradients are added to those that exist."""
        sums = self.micro_batches > 1 and not self.config.run.is_fsdp  # which sums shards, after a backward
        return backward(self.forward, accumulating=True) if sums else self.backward

    @cached_property
    def first_recordings(self) -> tuple[Recording, ...]:
        """The backward of each segment in the first micro-batch; a checkpointed segment runs its forward again first."""
        return self._recorded(self.backward)

    @cached_property
    def recordings(self) -> tuple[Recording, ...]:
        """The backward of each segment in the last micro-batch."""
        return self._recorded(self.accumulating) if self.micro_batches > 1 else self.first_recordings

    def _recorded(self, runs: tuple[BackwardRun, ...]) -> tuple[Recording, ...]:
        """The backward of each segment; segments that share both recordings share the result."""
        firsts = list(self.forward.spread(lambda segment: segment))  # blocks of a stage have no twins
        back = [run.recording for run in runs]
        pairs = [*zip([first.recording for first in firsts], back, strict=True)]
        named = {first.name: each for first, each in zip(firsts, back, strict=True)} if self.stages else {}
        stages = {self._runs_again(stage, named): stage for stage in self.stages}
        of_pairs = dict(zip(reversed(pairs), reversed(firsts), strict=True))  # the first segment of each pair
        found = {
            pair: recomputed(segment, pair[1], stages.get(segment.name, ()))
            for pair, segment in of_pairs.items()
        }
        return tuple([found[pair] for pair in pairs])

    @cached_property
    def stages(self) -> tuple[tuple[Segment, ...], ...]:
        """The segments of each checkpoint of a stage."""
        found: dict[int, tuple[Segment, ...]] = {}
        for twins in self.forward.twins:
            if twins.first.stage is not None:
                found[twins.first.stage] = (*found.get(twins.first.stage, ()), *twins.segments)
        return tuple(found.values())

    @staticmethod
    def _runs_again(stage: tuple[Segment, ...], back: Mapping[str, Recording]) -> str:
        """The segment whose backward first needs a saved tensor, and so runs the stage's forward again; "" if none does."""
        needs = (segment.name for segment in reversed(stage) if _first_unpack(back[segment.name]) is not None)
        return next(needs, "")

    @cached_property
    def kept(self) -> tuple[Liveness, ...]:
        """The liveness of each segment's forward, in which autograd keeps tensors."""
        return tuple(kept_live(self.forward))

    @cached_property
    def undone(self) -> tuple[Liveness, ...]:
        """The liveness of each segment's backward in the last micro-batch."""
        return tuple(map(live_over, self.recordings))

    @cached_property
    def first_undone(self) -> tuple[Liveness, ...]:
        """The same in the first micro-batch."""
        return tuple(map(live_over, self.first_recordings)) if self.micro_batches > 1 else self.undone

    @cached_property
    def weights_bytes(self) -> Dim:
        """Memory of the weights and buffers."""
        return weights_bytes(self.forward)

    @cached_property
    def trained_params(self) -> Dim:
        """Numbers in the weights that train; unused weights have no gradient."""
        return trained(self.forward)

    @cached_property
    def gradients_bytes(self) -> Dim:
        """Memory of the gradients of the weights that train."""
        return gradients_bytes(self.forward)

    @cached_property
    def weights(self) -> dict[str, Parameter]:
        """The weights by name, in the order of ``model.parameters()``."""
        from .module_order import in_module_order, registered_in

        segments = self.forward.segments
        found = {
            segment.qualified(weight.name): weight
            for segment in segments
            for weight in segment.recording.parameters
        }
        return {name: found[name] for name in in_module_order(found, registered_in(segments))}

    @cached_property
    def updated(self) -> tuple[int, ...]:
        """The bytes of the weights that the optimizer of this rank updates, not rounded, in its order."""
        if not self.config.run.is_zero1:
            return self.trained_bytes
        from .zero import shares

        return tuple(
            self.trained_bytes[place] for place in shares(self.trained_bytes, self.config.run.gpus)[0]
        )

    @cached_property
    def trained_bytes(self) -> tuple[int, ...]:
        """The bytes of each weight that trains, not rounded, in the order of ``model.parameters()``."""
        item_bytes = self.forward.image.item_bytes
        return tuple(
            parameter_elements(weight) * item_bytes for weight in self.weights.values() if weight.trains
        )

    @cached_property
    def updated_bytes(self) -> Dim:
        """Memory of as much as the weights that the optimizer of this rank updates."""
        return sum(map(rounded, self.updated)) if self.config.run.is_zero1 else self.gradients_bytes

    @cached_property
    def optimizer_bytes(self) -> Dim:
        """Memory of the optimizer's state between steps."""
        return OPTIMIZERS[self.config.run.optimizer].state * self.updated_bytes

    @cached_property
    def completed(self) -> tuple[Dim, ...]:
        """Bytes of the gradients of weights, not rounded, in the order in which the backward completes them."""
        item_bytes = self.forward.image.item_bytes
        return tuple(
            math.prod(shape) * item_bytes for run in reversed(self.backward) for shape in run.completed
        )

    @cached_property
    def buckets(self) -> tuple[Dim, ...]:
        """Bytes of each of DDP's buckets; () without DDP. They are rebuilt in the second forward."""
        run = self.config.run
        if not run.is_ddp:
            return ()
        has_one = run.step == "first" and self.micro_batches == 1
        return one_bucket(self.completed) if has_one else buckets(self.completed)

    @cached_property
    def buckets_bytes(self) -> Dim:
        """Memory of DDP's buckets."""
        return sum(map(rounded, self.buckets))

    @cached_property
    def average_bytes(self) -> Dim:
        """Memory of the moving average of the weights: a copy of weights and registered buffers."""
        return self.weights_bytes - cached_bytes(self.forward) if self.config.run.ema else 0

    @cached_property
    def flops(self) -> Dim:
        """FLOPs of products of all micro-batches, forward and backward, with second forwards of checkpointed segments."""
        return self.micro_batches * (
            self.forward.flops + sum(recording.flops for recording in self.recordings)
        )

    @cached_property
    def recomputed_ops(self) -> tuple[Op, ...]:
        """The operations that the backward of a micro-batch runs again, in the order of the forward's parts."""
        pairs = zip(self.recordings, self.accumulating, strict=True)
        return tuple(
            op
            for recording, run in pairs
            if recording is not run.recording
            for op in _added(recording.ops, run.recording.ops)
            if op.is_kernel
        )

    @property
    def recomputed_flops(self) -> Dim:
        """FLOPs of products that backwards compute again, of all micro-batches."""
        return self.micro_batches * sum(op.flops for op in self.recomputed_ops)

    @cached_property
    def optimizer_op(self) -> Op:
        """The optimizer's step as one operation."""
        optimizer = OPTIMIZERS[self.config.run.optimizer]
        return Op(
            "optimizer",
            "optimizer",
            "",
            bytes_read=optimizer.read * self.updated_bytes,
            bytes_written=optimizer.written * self.updated_bytes,
        )

    @cached_property
    def kept_bytes(self) -> Dim:
        """Memory of the activations that are kept at the end of the forward, including the output."""
        changes = sum([liveness.change for liveness in self.kept])
        return changes - sum(
            twins.number * uncached_bytes(twins.first)
            for twins in self.forward.twins
            if twins.first.recording.cached
        )

    @cached_property
    def moments(self) -> dict[Section, Moment]:
        """The peak of each section: forward and backward of each segment, and the optimizer's step."""
        lives = [*self.kept, *reversed(self.undone)]
        moments = map(Moment, self._peaks, self.before, lives)
        return {moment.section: moment for moment in (*moments, self._optimizer_step())}

    @cached_property
    def peaks(self) -> dict[Section, Dim]:
        """The bytes of those moments."""
        step = self._optimizer_step()
        return dict(zip(self.before, self._peaks, strict=True)) | {step.section: step.nbytes}

    @cached_property
    def _peaks(self) -> list[Dim]:
        """The peaks of forwards, and then of backwards, in the order of the run."""
        lives = [*self.kept, *reversed(self.undone)]
        different = dict(zip(map(id, lives), lives, strict=True))
        most = {key: liveness.peak_bytes for key, liveness in different.items()}
        before = [*self._before_forward, *self._before_backward]
        return list(map(add, before, map(most.__getitem__, map(id, lives))))

    @cached_property
    def most(self) -> tuple[tuple[Dim, str], ...]:
        """The most bytes live in each segment, forward or backward, and the operation at that moment, named in it."""
        ahead, back = self._peaks[: len(self.kept)], self._peaks[: len(self.kept) - 1 : -1]
        of_ahead, of_back = _named(self.kept, "forward"), _named(self.undone, "backward")
        sections = zip(ahead, of_ahead, back, of_back, self.forward.names, strict=True)
        return tuple(
            [
                (most, op or name) if most >= then else (then, other or operation_at((name, "backward"), ""))
                for most, op, then, other, name in sections
            ]
        )

    @cached_property
    def peak_bytes(self) -> Dim:
        """The most bytes live at once."""
        return greatest([*self._peaks, self._optimizer_step().nbytes])

    @property
    def peak_at(self) -> str:
        """The operation at the peak."""
        sections = chain(self.forward.names, reversed(self.forward.names))
        lives = chain(self.kept, reversed(self.undone))
        peaks = zip(sections, self._peaks, lives, strict=True)
        for number, (name, peak, liveness) in enumerate(peaks):
            if peak == self.peak_bytes:
                phase = PHASES[number // len(self.kept)]
                return operation_at((name, phase), liveness.peak_op)
        return self._optimizer_step().at

    @cached_property
    def saved_bytes(self) -> tuple[Dim, ...]:
        """Bytes that autograd keeps for the backward of each segment, including its input if that is kept."""
        return tuple(self.forward.spread(_saved_bytes))

    @cached_property
    def held_bytes(self) -> Dim:
        """What the gradients of weights hold from a backward on: themselves, and what they are views of."""
        outputs = {output.storage for output in self.forward.last.outputs}
        left = self.kept_bytes + sum([back.change for back in self.first_undone])
        return left - sum(rounded(storage.nbytes) for storage in outputs)

    @property
    def state_bytes(self) -> Dim:
        """The optimizer's state at the beginning of the step."""
        return 0 if self.config.run.step == "first" else self.optimizer_bytes

    @property
    def held_in_forward(self) -> Dim:
        """The gradients in the forward at whose peak the most is live: those of the step or micro-batch before."""
        run = self.config.run
        lasts = run.step == "later" and run.zero_grad == "after_forward"
        return self.held_bytes if lasts or self.micro_batches > 1 else 0

    @property
    def held_in_backward(self) -> Dim:
        """The same when that backward begins."""
        return self.held_bytes if self.micro_batches > 1 else 0

    @cached_property
    def before_bytes(self) -> Dim:
        """What is there throughout: weights, the optimizer's state, DDP's buckets, the moving average, the image."""
        around = self.buckets_bytes + self.average_bytes
        return self.weights_bytes + self.state_bytes + around + rounded(self.forward.image.nbytes)

    @property
    def scaler_bytes(self) -> Dim:
        """Memory of GradScaler's scale and counter."""
        return 2 * rounded(SCALAR_BYTES) if self.config.run.grad_scaler else 0

    @property
    def scaler_bytes_in_forward(self) -> Dim:
        """The same in the forward at whose peak the most is live: the first backward makes them."""
        run = self.config.run
        return 0 if run.step == "first" and run.accumulate == 1 else self.scaler_bytes

    @cached_property
    def output_gradient_bytes(self) -> Dim:
        """Memory of the gradients that the outputs are given."""
        outputs = self.forward.last.outputs
        return sum(rounded(output.nbytes) for output in outputs if output.grad_fn is not None)

    @cached_property
    def before(self) -> dict[Section, Dim]:
        """What is live when the forward of each segment begins, and then when its backward does, in the order of the run."""
        names, found = self.forward.names, dict[Section, Dim]()
        for name, live in zip(names, self._before_forward, strict=True):
            found[name, "forward"] = live
        for name, live in zip(reversed(names), self._before_backward, strict=True):
            found[name, "backward"] = live
        return found

    @cached_property
    def _before_forward(self) -> list[Dim]:
        live = self.before_bytes + self.held_in_forward + self.scaler_bytes_in_forward
        return _before_each(live, self.kept)

    @cached_property
    def _before_backward(self) -> list[Dim]:
        """From the last segment to the first."""
        live = self.before_bytes + self.held_in_backward + self.kept_bytes + self.output_gradient_bytes
        return _before_each(live + self.scaler_bytes, self.undone[::-1])

    def _optimizer_step(self) -> Moment:
        """What the backward leaves, weights, gradients, output and its gradient among it, and transient buffers.

        A gradient that is a view keeps all that it is a view of: that of a class token keeps those of all tokens.
        """
        left = self.kept_bytes + sum([back.change for back in self.first_undone])
        made = self.made_by_optimizer_bytes + self.made_around_optimizer_bytes + self.scaler_bytes
        return Moment(self.before_bytes + self.output_gradient_bytes + left + made, ("optimizer", "step"))

    @property
    def made_by_optimizer_bytes(self) -> Dim:
        """What the optimizer makes in its step: what it frees again and, in a first step, its state."""
        return self._transient_bytes + (self.optimizer_bytes - self.state_bytes)

    @property
    def made_around_optimizer_bytes(self) -> Dim:
        """What GradScaler (found_inf) or a moving average (its counter) makes next to what is there at the optimizer's peak."""
        run = self.config.run
        if run.grad_scaler:
            return rounded(SCALAR_BYTES)
        makes_counter = run.ema and not run.is_offloaded and run.step == "later"
        return rounded(COUNTER_BYTES) if makes_counter and not OPTIMIZERS[run.optimizer].transient else 0

    @property
    def _transient_bytes(self) -> Dim:
        """What the optimizer allocates during its step, and frees."""
        optimizer = OPTIMIZERS[self.config.run.optimizer]
        if self.one_by_one:
            sizes = (0, *map(rounded, self.updated))
            of_each = (optimizer.of_one * own + optimizer.of_last * last for last, own in pairwise(sizes))
            return greatest((0, *of_each))
        return optimizer.transient * self.updated_bytes


def training_step(
    config: EncoderConfig, target: Target = AMPERE, *, one_by_one: bool = False
) -> TrainingStep:
    """Run a training step of `config` on the Tape, as on a target; its optimizer takes weights all at once or one by one.

    Raises:
        UsageError: if its way to spread a step over GPUs is not derived.
    """
    if config.run.is_fsdp:
        from .sharded_training import sharded_step

        return sharded_step(config, target, one_by_one=one_by_one)
    passed = forward(config, training=True, target=target)
    return TrainingStep(passed, backward(passed), one_by_one=one_by_one)


def _added(ops: tuple[Op, ...], to: tuple[Op, ...]) -> tuple[Op, ...]:
    """Operations that are not in a sequence to which they were added in one place."""
    more = len(ops) - len(to)
    start = next(
        (at for at, (mine, theirs) in enumerate(zip(ops, to, strict=False)) if mine is not theirs), len(to)
    )
    return ops[start : start + more]


def recomputed(segment: Segment, back: Recording, stage: tuple[Segment, ...] = ()) -> Recording:
    """The backward of a segment, with what is run again where it first needs a saved tensor.

    That is the `stage` if its backward is the first of a checkpointed stage that needs one, then its own forward if it is
    checkpointed itself: nested checkpoints run that twice.

    Source: torch/utils/checkpoint.py, use_reentrant=False: the second forward stops at the last tensor to be saved, and
    frees the others. Its results hold their graphs, unlike those of the first. If the backward needs no saved tensor, there is no second forward.
    """
    first = _first_unpack(back) if stage or segment.is_checkpointed else None
    if first is None:
        return back
    again = (*_run_again(tuple(_of_stage(stage))), *_own_again(segment))
    return Recording((*back.ops[:first], *again, *back.ops[first:]))


def _own_again(segment: Segment) -> Iterator[Op]:
    """The second forward of a checkpointed segment. In a stage, the inputs that it does not save are freed after it."""
    if not segment.is_checkpointed:
        return
    yield from _run_again(segment.recording.with_graphs().ops)
    if segment.stage is not None and not segment.begins_stage:
        yield Op(
            "free",
            "free",
            "",
            frees=tuple(each for each in segment.inputs if each not in segment.recording.saved),
        )


def _first_unpack(back: Recording) -> int | None:
    return next((i for i, op in enumerate(back.ops) if op.kind == "unpack"), None)


def _of_stage(stage: tuple[Segment, ...]) -> Iterator[Op]:
    """The operations of a stage whose results the stage's own checkpoint saves: of a checkpointed block, only its inputs."""
    for segment in stage:
        recording = segment.recording.with_graphs()
        if segment.is_checkpointed:
            if any(op.is_kept for op in recording.ops):
                yield Op(segment.qualified("checkpoint"), "free", "", saves=segment.inputs, is_kept=True)
            recording = segment.recording
        for op in recording.ops:
            named = replace(op, name=segment.qualified(op.name), module=segment.qualified(op.module))
            yield replace(named, saves=(), is_kept=False) if segment.is_checkpointed else named


def _run_again(ops: tuple[Op, ...]) -> Iterator[Op]:
    """The operations of a second forward."""
    saved = frozenset(storage for op in ops for storage in op.saves)
    return _keeping(tuple(_until_last_save(ops)), saved)


def _until_last_save(ops: tuple[Op, ...]) -> Iterator[Op]:
    """The operations up to the last one that saves tensors. That one itself is left out if it only saves its inputs."""
    last = max((i for i, op in enumerate(ops) if op.is_kept), default=None)
    if last is None:
        return
    own = set(ops[last].allocates) & set(ops[last].saves)
    yield from ops[: last + 1 if own else last]


def _keeping(ops: tuple[Op, ...], saved: frozenset[Storage]) -> Iterator[Op]:
    """The operations, in which saved storages are not freed, nor those that others made; at the end, all others are."""
    made: dict[Storage, None] = {}
    for op in ops:
        made |= dict.fromkeys(storage for storage in op.allocates if storage not in saved)
        freed = tuple(storage for storage in op.frees if storage in made)
        for storage in freed:
            del made[storage]
        yield replace(op, frees=freed)
    if made:
        yield Op("free", "free", "", frees=tuple(made))


def _before_each(live: Dim, lives: tuple[Liveness, ...]) -> list[Dim]:
    """What is live before each of some recordings that run one after another; `live` is before the first."""
    return list(accumulate([liveness.change for liveness in lives], initial=live))[:-1]


def _named(lives: tuple[Liveness, ...], phase: Phase) -> Iterator[str]:
    """The operation at the peak of the recording of each liveness, without the name of its part; "" if it allocates nothing."""
    different = dict(zip(map(id, lives), lives, strict=True))
    names = {
        key: liveness.peak_op and operation_at(("", phase), liveness.peak_op)
        for key, liveness in different.items()
    }
    return map(names.__getitem__, map(id, lives))


def uncached_bytes(segment: Segment) -> Dim:
    """Bytes of autocast's copies of weights that autograd does not keep: they are freed when the forward ends."""
    freed = (storage for storage in segment.recording.cached if storage not in segment.kept_for_backward)
    return sum(rounded(storage.nbytes) for storage in freed)


def _saved_bytes(segment: Segment) -> Dim:
    if segment.is_unread:
        return 0
    if segment.is_run_again:
        return sum(rounded(storage.nbytes) for storage in segment.kept)
    return saved_bytes(segment.recording)
