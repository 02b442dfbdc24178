"""What a run of consecutive layers adds to a pass, and how runs chain: sums, and peaks as max(live so far + rise within).

A field is a whole number, or an array of them for many placements at once. Times are in picoseconds, so that sums are
exact, and two orders of the same layers tie.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from ...figures import names, of, with_keys
from ...records import replace
from ...tape.memory import gradients_bytes, live_over, weights_bytes
from ...tape.segments import Segment, Twins
from ...tape.training import OPTIMIZERS, TrainingStep
from ...units import rounded
from ..passes import Passes
from ..readers import of_op, of_segment
from .budget import PS_PER_MS

DEEPEST = -(2**62)
"""The rise of no layers: below any other."""

Number = Any
"""An int or an array of int64."""


def larger(one: Number, other: Number) -> Number:
    """The larger of two numbers; of arrays that at each place."""
    if isinstance(one, int) and isinstance(other, int):
        return max(one, other)
    import numpy as np

    return np.maximum(one, other)


ADDED = tuple(figure for figure in of("encoder") if figure.combined == "sum" and not figure.needs)
"""The figures of an encoder that add up over its parts and layers."""


@dataclass(frozen=True, kw_only=True)
@with_keys(names(ADDED), "Number", 0)
class Piece:
    """What consecutive layers add to a pass; the fields for training are 0 if they are not needed.

    A piece also has each figure of `ADDED`, under its name; those that depend on the run's mode include a share of the
    optimizer's step.

    Attributes:
        latency_ps: the time of the operations, in training with a share of the optimizer's step.
        weights: bytes of weights and buffers.
        gradients: bytes of the gradients of trained weights.
        change: bytes live after the layers minus bytes live before them, in an inference forward.
        rise: the most bytes live within the layers minus bytes live before them.
        kept: as `change`, in the forward of a training step.
        kept_rise: as `rise`, in the forward of a training step.
        lost: bytes of `kept` that are freed at the end of that forward.
        undone: as `change`, in the backward, which runs from the last layer to the first.
        undone_rise: as `rise`, in the backward.
        returned: bytes of what the encoder returns of them, which is live in the optimizer's step.
    """

    latency_ps: Number = 0
    weights: Number = 0
    gradients: Number = 0
    change: Number = 0
    rise: Number = DEEPEST
    kept: Number = 0
    kept_rise: Number = DEEPEST
    lost: Number = 0
    undone: Number = 0
    undone_rise: Number = DEEPEST
    returned: Number = 0

    def then(self, after: Piece) -> Piece:
        """These layers followed by others."""
        sums = {name: getattr(self, name) + getattr(after, name) for name in SUMS}
        return Piece(
            **sums,
            rise=larger(self.rise, self.change + after.rise),
            kept_rise=larger(self.kept_rise, self.kept + after.kept_rise),
            undone_rise=larger(after.undone_rise, after.undone + self.undone_rise),
        )

    def only(self, names: frozenset[str]) -> Piece:
        """The piece with only the fields `names`."""
        return Piece(**{name: getattr(self, name) for name in names})


RISES = frozenset({"rise", "kept_rise", "undone_rise"})
SUMS = tuple(field.name for field in fields(Piece) if field.name not in RISES)

NEEDED = {
    **{figure.name: frozenset({figure.name}) for figure in ADDED},
    "peak_bytes": frozenset({"weights", "change", "rise"}),
    "training_bytes": frozenset(
        {"weights", "gradients", "kept", "kept_rise", "lost", "undone", "undone_rise", "returned"}
    ),
    "latency_ps": frozenset({"latency_ps"}),
}
"""The fields from which each figure of a whole pass is computed."""


@dataclass(frozen=True)
class Constants:
    """The numbers that are the same for every placement.

    Attributes:
        image: bytes of the input.
        output: bytes live in the optimizer's step in addition to weights, gradients, its buffers, the input and what is returned.
        gradient: bytes of the gradient with which the backward begins.
        launch_ps: the time of the optimizer's step without its memory traffic.
        state: how many buffers of the size of the gradients the optimizer has when the step begins.
        copies: how many buffers of that size, gradients included, are live in its step, but for those.
        in_forward: whether gradients are live when a forward begins (1 or 0).
        in_backward: the same of a backward.
        views: bytes that gradients hold in addition to their own.
        averages: how many copies of weights and buffers a moving average has (1 or 0).
        scaler: bytes of a GradScaler.
        scaler_in_forward: those of them that are there in the forward.
    """

    image: int
    output: int = 0
    gradient: int = 0
    launch_ps: int = 0
    state: int = 0
    copies: int = 0
    in_forward: int = 0
    in_backward: int = 0
    views: int = 0
    averages: int = 0
    scaler: int = 0
    scaler_in_forward: int = 0

    def figure(self, name: str, whole: Piece) -> Number:
        """A figure of the whole pass: one of `NEEDED`."""
        if name == "peak_bytes":
            return whole.weights + self.image + whole.rise
        if name == "latency_ps":
            return whole.latency_ps + self.launch_ps
        return self._training_bytes(whole) if name == "training_bytes" else getattr(whole, name)

    def _training_bytes(self, whole: Piece) -> Number:
        before = (1 + self.averages) * whole.weights + self.state * whole.gradients + self.image
        held = whole.gradients + self.views
        forward = whole.kept_rise + self.in_forward * held + self.scaler_in_forward
        backward = whole.kept - whole.lost + self.gradient + whole.undone_rise
        backward = backward + self.in_backward * held + self.scaler
        step = self.output + whole.returned + self.copies * whole.gradients
        return before + larger(larger(forward, backward), step)


def constants_of(passes: Passes, *, training: bool) -> Constants:
    """The constants of an encoder, read from one of its passes."""
    image = passes.memory[0].before - weights_bytes(passes.forward)
    if not training:
        return Constants(image)
    step, last = passes.step, passes.step.forward.segments[-1]
    optimizer = OPTIMIZERS[passes.config.run.optimizer]
    is_first = passes.config.run.step == "first"
    copies = optimizer.transient + 1 + is_first * optimizer.state
    before = step.before_bytes
    began = step.peaks[last.name, "backward"] - live_over(step.recordings[-1]).peak_bytes
    returned = sum(_returned(step, segment) for segment in step.forward.segments)
    return Constants(
        image=image,
        output=step.peaks["optimizer", "step"] - before - copies * step.gradients_bytes - returned,
        gradient=began - before - step.held_in_backward - step.kept_bytes - step.scaler_bytes,
        launch_ps=_optimizer_ps(passes)[0],
        state=0 if is_first else optimizer.state,
        copies=copies,
        in_forward=int(step.held_in_forward > 0),
        in_backward=int(step.held_in_backward > 0),
        views=step.held_bytes - step.gradients_bytes,
        averages=int(passes.config.run.ema),
        scaler=step.scaler_bytes,
        scaler_in_forward=step.scaler_bytes_in_forward,
    )


def pieces_of(passes: Passes, *, training: bool) -> list[Piece]:
    """The piece of each segment of a pass."""
    passed = passes.forward
    pieces = [
        Piece(
            **{figure.name: of_segment(figure, passes, number) for figure in ADDED},
            weights=weights_bytes(replace(passed, twins=(Twins(segment),))),
            change=used.liveness.change,
            rise=used.liveness.peak_bytes,
        )
        for number, (segment, used) in enumerate(zip(passed.segments, passes.memory, strict=True))
    ]
    if training:
        pieces = [_trained(piece, passes.step, number) for number, piece in enumerate(pieces)]
    if training and passes.trains:
        pieces = [_with_optimizer(piece, passes.step) for piece in pieces]
    if passes.device is not None:
        _, rate = _optimizer_ps(passes)
        pieces = [
            replace(piece, latency_ps=round(passes.rounds * time.ms * PS_PER_MS + rate * piece.gradients))
            for piece, time in zip(pieces, passes.times, strict=True)
        ]
    return pieces


def _trained(piece: Piece, step: TrainingStep, number: int) -> Piece:
    """A segment's piece with the fields of a training step."""
    segment, kept, back = step.forward.segments[number], step.kept[number], live_over(step.recordings[number])
    alone = replace(step.forward, twins=(Twins(segment),))
    return replace(
        piece,
        gradients=gradients_bytes(alone),
        kept=kept.change,
        kept_rise=kept.peak_bytes,
        lost=kept.change - TrainingStep(alone, (step.backward[number],)).kept_bytes,
        undone=back.change,
        undone_rise=back.peak_bytes,
        returned=_returned(step, segment),
    )


def _returned(step: TrainingStep, segment: Segment) -> int:
    """The bytes of what an encoder returns of a block: of SAM-HQ the outputs of global blocks, which its neck taps."""
    last = step.forward.segments[-1]
    returned = {output.storage for output in last.outputs}
    inputs = zip(last.sources, last.entries, strict=True)
    return int(
        sum(
            rounded(entry.nbytes)
            for (name, _), entry in inputs
            if name == segment.name and entry.storage in returned
        )
    )


def _with_optimizer(piece: Piece, step: TrainingStep) -> Piece:
    """With what the optimizer's step adds to the figures of the run's mode, which goes with the bytes of gradients."""
    each = {
        figure.name: of_op(figure, step.optimizer_op) // (step.gradients_bytes or 1)
        for figure in ADDED
        if figure.by_mode
    }
    return replace(
        piece, **{name: getattr(piece, name) + rate * piece.gradients for name, rate in each.items()}
    )


def _optimizer_ps(passes: Passes) -> tuple[int, float]:
    """The time of an optimizer's step: without its bytes, and for each byte of gradients."""
    if passes.device is None or not passes.trains:
        return 0, 0.0
    from ...device.roofline import layer_time

    op = replace(passes.step.optimizer_op, bytes_read=0, bytes_written=0)
    launch_ms = layer_time([op], passes.device, passes.config.run).ms
    bytes_ms = (passes.phase_ms("step") or 0.0) - launch_ms
    return round(launch_ms * PS_PER_MS), bytes_ms * PS_PER_MS / (passes.step.gradients_bytes or 1)
