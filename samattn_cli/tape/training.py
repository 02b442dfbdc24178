"""A training step over the Tape: forward, backward, optimizer; the most bytes live at once, where, and of what.

The step is `stack/step.py`'s: gradients of the step before are gone when it begins, the optimizer's buffers exist, the
backward begins with a gradient of the output, and image, output and that gradient live until its end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from ..encoder.model import EncoderConfig, Phase, Section
from ..units import rounded
from .encoder import ForwardPass, Segment, backward, forward
from .memory import Liveness, gradients_bytes, live_over, saved_bytes, trained, weights_bytes
from .ops import Op, Recording
from .storage import Dim, Storage
from .symbols.formula import greatest


@dataclass(frozen=True)
class Optimizer:
    """In buffers of the size of the weights that train: kept between steps, made for a step, and read and written by one."""

    state: int
    transient: int
    read: int
    written: int


OPTIMIZERS = {
    # exp_avg and exp_avg_sq; the square root of the latter, for all weights at once (_multi_tensor_adamw: mul_, lerp_,
    # mul_, addcmul_, sqrt, div_, add_, addcdiv_)
    "adamw": Optimizer(state=2, transient=1, read=12, written=8),
    "sgd_momentum": Optimizer(state=1, transient=0, read=5, written=3),  # mul_, add_, add_
    "sgd": Optimizer(state=0, transient=0, read=2, written=1),  # add_
}


PHASES: tuple[Phase, ...] = ("forward", "backward")
"""Those of a part or block; the step is the optimizer's."""


@dataclass(frozen=True)
class Moment:
    """The most bytes live at once in a section of a step, and the segment's name and run in which they are."""

    nbytes: Dim
    section: Section
    liveness: Liveness | None = None

    @property
    def at(self) -> str:
        """The operation at which they are."""
        name, phase = self.section
        if self.liveness is None:
            return f"{name} {phase}"
        told = ".".join(filter(None, (name, self.liveness.peak_op)))
        return told if phase == "forward" else f"{told} ({phase})"


@dataclass(frozen=True)
class TrainingStep:
    """A training step of an encoder: the forward pass and the backward of each of its segments."""

    forward: ForwardPass
    backward: tuple[Recording, ...]

    @property
    def config(self) -> EncoderConfig:
        """The encoder."""
        return self.forward.config

    @cached_property
    def recordings(self) -> tuple[Recording, ...]:
        """What is run after the forward: each segment's backward, behind its forward again where it is checkpointed."""
        pairs = zip(self.forward.segments, self.backward, strict=True)
        return tuple(
            recomputed(segment.recording, ran) if segment.is_checkpointed else ran for segment, ran in pairs
        )

    @cached_property
    def kept(self) -> tuple[Liveness, ...]:
        """Of each segment's forward, with what autograd keeps."""
        segments = self.forward.segments
        return tuple(live_over(segment.recording, segment.kept | segment.shared) for segment in segments)

    @cached_property
    def weights_bytes(self) -> Dim:
        """Memory of the weights and buffers."""
        return weights_bytes(self.forward)

    @cached_property
    def trained_params(self) -> Dim:
        """Numbers in the weights that train; those that nothing uses have no gradient."""
        return trained(self.forward)

    @cached_property
    def gradients_bytes(self) -> Dim:
        """Memory of the gradients of the weights that train."""
        return gradients_bytes(self.forward)

    @cached_property
    def optimizer_bytes(self) -> Dim:
        """Memory of what the optimizer keeps between steps."""
        return OPTIMIZERS[self.config.run.optimizer].state * self.gradients_bytes

    @cached_property
    def flops(self) -> Dim:
        """FLOPs of products, forward and backward, what is computed again included."""
        return self.forward.flops + sum(recording.flops for recording in self.recordings)

    @cached_property
    def optimizer_op(self) -> Op:
        """The optimizer's step as one operation."""
        optimizer = OPTIMIZERS[self.config.run.optimizer]
        return Op(
            "optimizer",
            "optimizer",
            "",
            bytes_read=optimizer.read * self.gradients_bytes,
            bytes_written=optimizer.written * self.gradients_bytes,
        )

    @cached_property
    def kept_bytes(self) -> Dim:
        """Memory of the activations that are kept when the forward is done, the output with them."""
        changes = sum(liveness.change for liveness in self.kept)
        return changes - sum(map(_uncached_bytes, self.forward.segments))

    @cached_property
    def moments(self) -> dict[Section, Moment]:
        """The moment at which most is live, in the forward and the backward of each segment and the optimizer's step."""
        moments = (*self._forward(), *self._backward(), self._optimizer_step())
        return {moment.section: moment for moment in moments}

    @cached_property
    def peaks(self) -> dict[Section, Dim]:
        """The bytes of those moments."""
        return {section: moment.nbytes for section, moment in self.moments.items()}

    @property
    def peak_bytes(self) -> Dim:
        """The most bytes live at once."""
        return greatest(self.peaks.values())

    @property
    def peak_at(self) -> str:
        """The operation at which they are."""
        return next(moment.at for moment in self.moments.values() if moment.nbytes == self.peak_bytes)

    @cached_property
    def saved_bytes(self) -> tuple[Dim, ...]:
        """Of each segment: what autograd keeps of it for backward, its input included where it is kept."""
        return tuple(map(_saved_bytes, self.forward.segments))

    @cached_property
    def _before(self) -> Dim:
        return self.weights_bytes + self.optimizer_bytes + rounded(self.forward.image.nbytes)

    @cached_property
    def _output_gradient_bytes(self) -> Dim:
        return sum(rounded(output.nbytes) for output in self.forward.segments[-1].outputs)

    def _forward(self) -> Iterator[Moment]:
        live = self._before
        for segment, liveness in zip(self.forward.segments, self.kept, strict=True):
            yield Moment(live + liveness.peak_bytes, (segment.name, "forward"), liveness)
            live = live + liveness.change

    def _backward(self) -> Iterator[Moment]:
        live = self._before + self.kept_bytes + self._output_gradient_bytes
        for segment, recording in zip(
            reversed(self.forward.segments), reversed(self.recordings), strict=True
        ):
            liveness = live_over(recording)
            yield Moment(live + liveness.peak_bytes, (segment.name, "backward"), liveness)
            live = live + liveness.change

    def _optimizer_step(self) -> Moment:
        """What the backward leaves, weights, gradients, output and its gradient among it, and transient buffers.

        A gradient that is a view keeps all that it is a view of: that of a class token keeps those of all tokens.
        """
        left = self.kept_bytes + sum(live_over(recording).change for recording in self.recordings)
        transient = OPTIMIZERS[self.config.run.optimizer].transient * self.gradients_bytes
        return Moment(self._before + self._output_gradient_bytes + left + transient, ("optimizer", "step"))


def training_step(config: EncoderConfig) -> TrainingStep:
    """Run a training step of `config` on the Tape."""
    passed = forward(config, training=True)
    return TrainingStep(passed, backward(passed))


def recomputed(ahead: Recording, back: Recording) -> Recording:
    """A block's backward with its forward run again where it first needs what that would have kept.

    Source: torch/utils/checkpoint.py, use_reentrant=False: the forward stops early, at the last tensor to be kept, and
    what is not kept goes. Nothing is run again where backward asks for nothing.
    """
    first = next((i for i, op in enumerate(back.ops) if op.kind == "unpack"), None)
    if first is None:
        return back
    again = tuple(_until_last_save(ahead.ops))
    return Recording((*back.ops[:first], *_keeping(again, ahead.saved), *back.ops[first:]))


def _until_last_save(ops: tuple[Op, ...]) -> Iterator[Op]:
    """The operations before the last that saves, which stops as it begins where it saves what it was given."""
    last = max(i for i, op in enumerate(ops) if op.is_kept)
    own = set(ops[last].allocates) & set(ops[last].saves)
    yield from ops[: last + 1 if own else last]


def _keeping(ops: tuple[Op, ...], saved: frozenset[Storage]) -> Iterator[Op]:
    """The operations, freeing what is not saved alone, and all of that at the end."""
    made: dict[Storage, None] = {}
    for op in ops:
        gone = tuple(storage for storage in op.frees if storage not in saved)
        made |= dict.fromkeys(storage for storage in op.allocates if storage not in saved)
        for storage in gone:
            made.pop(storage, None)
        yield replace(op, frees=gone)
    yield Op("free", "free", "", frees=tuple(made))


def _uncached_bytes(segment: Segment) -> Dim:
    """Autocast's copies of weights that autograd does not keep: they go when the forward ends."""
    gone = (storage for storage in segment.recording.cached if storage not in segment.kept)
    return sum(rounded(storage.nbytes) for storage in gone)


def _saved_bytes(segment: Segment) -> Dim:
    if segment.is_checkpointed:
        return sum(rounded(storage.nbytes) for storage in segment.kept)
    return saved_bytes(segment.recording)
