"""Runs the backward of an encoder on the Tape, from the last part to the first."""

from __future__ import annotations

from collections.abc import Hashable

from ..encoder.model import EncoderConfig
from ..records import dataclass
from . import autograd
from .ops import Recording
from .recurring import backwards_of, has_formulas, keep_for_others, space_of
from .segments import ForwardPass, Segment, Twins
from .storage import Shape, Storage
from .tape import Tape
from .tensor import Tensor


@dataclass(frozen=True)
class BackwardRun:
    """The backward of a segment; twins share one.

    Attributes:
        recording: its operations.
        received: the storages of the gradients that it was given: one for each output of the segment, then one for each
            entry that has one from elsewhere already; None where there is none.
        handed_on: the storages of the gradients of its entries.
        completed: the shapes of the gradients of its weights, in the order in which they are complete.
    """

    recording: Recording
    received: tuple[Storage | None, ...]
    handed_on: tuple[Storage | None, ...]
    completed: tuple[Shape, ...] = ()


def backward(forward_pass: ForwardPass, *, accumulating: bool = False) -> tuple[BackwardRun, ...]:
    """Run the backward of a forward pass on the Tape: a run for each segment, in the order of the forward.

    It begins with contiguous gradients of the outputs that take one, which a decoder would pass back. The caller keeps
    those, the outputs and the image. Segments that share the recording of their forward share that of their backward.

    Args:
        forward_pass: what it is of.
        accumulating: whether all weights have a gradient already, to which theirs is added.
    """
    driver = _BackwardDriver(forward_pass, accumulating=accumulating)
    runs: list[BackwardRun] = []
    for twins in reversed(forward_pass.twins):
        runs += driver.run_all(twins)
    return tuple(reversed(runs))


NOT_A_SEGMENT = Segment("", Recording(()), (), (), ())
"""Stands for the last segment of an encoder where another is run alone."""


@dataclass(frozen=True)
class Handed:
    """The gradient of a stream, from the backward of the part after it.

    Attributes:
        gradient: it.
        is_callers: whether the caller of the encoder keeps it.
        is_kept_by_weights: whether the gradient of a weight is a view of it.
    """

    gradient: Tensor
    is_callers: bool = False
    is_kept_by_weights: bool = False


def backward_alone(
    config: EncoderConfig, segment: Segment, handed: Handed | None, *, accumulating: bool = False
) -> tuple[BackwardRun, Handed | None]:
    """The backward of a segment that `segment_alone` made, as `backward` runs it; and the gradient of what entered it.

    Args:
        config: the encoder.
        segment: it.
        handed: the gradient of its output; None for the last segment, whose output the caller has a gradient for.
        accumulating: as for `backward`.
    """
    passed = ForwardPass(config, segment.entries[0], (Twins(segment),))
    driver = _BackwardDriver(passed, accumulating=accumulating)
    driver.blocks = {}
    if segment.sources[0][0]:  # else the image enters
        driver.image = driver.tape.tensor(1)
    if handed is not None:
        driver.only(segment, handed)
    (run,) = driver.run_all(Twins(segment))
    left = driver.gradients.get(segment.sources[0])
    if left is None:
        return run, None
    kept = left.storage in driver.callers, left.storage in driver.kept_by_weights
    return run, Handed(left, *kept)


class _BackwardDriver:
    """Runs segments from the last to the first, and passes each gradient to the segment that made its tensor."""

    def __init__(self, forward_pass: ForwardPass, *, accumulating: bool) -> None:
        self.accumulating = accumulating
        run = forward_pass.config.run
        self.moved = run.has_views  # into DDP's buckets
        self.tape = Tape(forward_pass.image.item_bytes)
        self.image = forward_pass.image
        self.last = forward_pass.last
        self.gradients = {
            (self.last.name, index): self.tape.tensor_like(output)
            for index, output in enumerate(self.last.outputs)
            if output.grad_fn is not None
        }
        returned = {output.storage for output in self.last.outputs}
        entering = zip(self.last.sources, self.last.entries, strict=True)
        self.returned = {source for source, entry in entering if entry.storage in returned}  # by other parts
        self.callers = {gradient.storage for gradient in self.gradients.values()}
        self.kept_by_weights: set[Storage] = set()  # gradients of weights are views of these
        self.done: dict[Hashable, tuple[BackwardRun, tuple[Tensor | None, ...]]] = {}
        self.latest: dict[Hashable, tuple[BackwardRun, Tensor | None, Tensor]] = {}
        self.blocks = backwards_of(forward_pass.image.item_bytes, accumulating, self.moved)

    def only(self, segment: Segment, handed: Handed) -> None:
        """Go on from the gradient of a segment's output, which another driver has made; it is not the last segment."""
        gradient = handed.gradient
        self.last, self.returned = NOT_A_SEGMENT, set()
        self.gradients = {(segment.name, 0): gradient}
        self.callers = {gradient.storage} if handed.is_callers else set()
        self.kept_by_weights = {gradient.storage} if handed.is_kept_by_weights else set()

    def run_all(self, twins: Twins) -> list[BackwardRun]:
        """The backward of each of some twins, from the last to the first."""
        runs: list[BackwardRun] = []
        for number in reversed(range(twins.number)):
            state = self._state(twins.first, twins.name(number))
            known = self.latest.get(state)
            if known is None:
                runs.append(self._run_and_keep(twins.at(number), state))
                continue
            run, result, gradient = known
            if result is gradient:  # all before it are given the same too
                self.gradients = {twins.source(0): gradient}
                return [*runs, *[run] * (number + 1)]
            self.gradients = {} if result is None else {twins.source(number): result}
            runs.append(run)
        return runs

    def _run_and_keep(self, segment: Segment, state: Hashable | None) -> BackwardRun:
        """The backward of a segment, which twins with the same state share."""
        if state is None:
            return self._run(segment)
        gradient, kept = self.gradients[segment.name, 0], len(self.kept_by_weights)
        run = self._run(segment)
        if len(self.kept_by_weights) == kept:
            self.latest[state] = run, self.gradients.get(segment.sources[0]), gradient
        return run

    def _state(self, segment: Segment, name: str) -> Hashable | None:
        """What is the same for twins that are given the same gradient; None if more matters than one gradient.

        Args:
            segment: one of the twins.
            name: the name of the one that is asked about.
        """
        is_simple = (
            len(segment.outputs) == len(segment.sources) == len(self.gradients) == 1 and not self.returned
        )
        gradient = self.gradients.get((name, 0)) if is_simple else None
        if gradient is None:
            return None
        alike = (segment.recording, segment.is_checkpointed, segment.shared, id(gradient))
        return (*alike, len(self.kept_by_weights))

    def _run(self, segment: Segment) -> BackwardRun:
        outputs = [(segment.name, index) for index in range(len(segment.outputs))]
        gradients = tuple(self.gradients.pop(output, None) for output in outputs)
        pending = tuple(self.gradients.pop(source, None) for source in segment.sources)
        run, results = self._run_or_reuse(segment, gradients, pending)
        self.gradients |= {s: g for s, g in zip(segment.sources, results, strict=True) if g is not None}
        return run

    def _run_or_reuse(
        self,
        segment: Segment,
        gradients: tuple[Tensor | None, ...],
        pending: tuple[Tensor | None, ...],
    ) -> tuple[BackwardRun, tuple[Tensor | None, ...]]:
        """The backward of a segment, or that of a twin, if nothing but the segment's one gradient matters."""
        (gradient, *others), elsewhere = gradients, [each.storage for each in self.gradients.values()]
        callers = self._returned(segment)
        simple = (
            gradient is not None and not others and not any(pending) and gradient.storage not in elsewhere
        )
        key: Hashable = object()
        if simple and gradient is not None:
            is_kept = gradient.storage in self.callers, gradient.storage in self.kept_by_weights
            key = (
                segment.recording,
                segment.is_checkpointed,
                gradient.stride,
                gradient.is_view,
                is_kept,
                segment.shared,
                callers,
            )
        if key not in self.done and not self._reuse_of_another(segment, key):
            kept_before = frozenset(self.kept_by_weights)
            completed: list[Shape] = []
            kept = [
                self.image.storage,
                *self.callers,
                *self.kept_by_weights,
                *elsewhere,
                *segment.shared,
                *callers,
            ]
            if segment is self.last:
                kept += {output.storage for output in segment.outputs}
            results = autograd.backward(
                self.tape,
                list(zip(segment.outputs, gradients, strict=True)),
                list(zip(segment.entries, pending, strict=True)),
                kept,
                checkpoint=segment.inputs if segment.begins_checkpoint else (),
                is_again=segment.is_run_again,
                kept_by_weights=self.kept_by_weights,
                accumulating=self.accumulating,
                moved=self.moved,
                completed=completed,
            )
            received, handed_on = _storages(*gradients, *pending), _storages(*results)
            run = BackwardRun(self.tape.recording(), received, handed_on, tuple(completed))
            self.done[key] = run, results
            if isinstance(key, tuple) and _may_recur(segment, run, results):
                keep_for_others(
                    self.blocks,
                    (*key, segment is self.last),
                    (run, results, self.kept_by_weights - kept_before),
                )
        return self.done[key]

    def _reuse_of_another(self, segment: Segment, key: Hashable) -> bool:
        """Reuse the backward of a block that another encoder has run, if one has."""
        known = self.blocks.get((*key, segment is self.last)) if isinstance(key, tuple) else None
        if known is None:
            return False
        run, results, kept_by_weights = known
        self.done[key] = run, results
        self.kept_by_weights |= kept_by_weights
        return True

    def _returned(self, segment: Segment) -> frozenset[Storage]:
        """Those inputs of a segment that the encoder returns too, so that the caller keeps them."""
        entering = zip(segment.sources, segment.entries, strict=True)
        return frozenset(entry.storage for source, entry in entering if source in self.returned)


def _storages(*tensors: Tensor | None) -> tuple[Storage | None, ...]:
    return tuple(None if tensor is None else tensor.storage for tensor in tensors)


def _may_recur(segment: Segment, run: BackwardRun, results: tuple[Tensor | None, ...]) -> bool:
    """Whether other encoders may have a segment too: its sizes are numbers.

    Its backward hands on one gradient at most, which is not one that it was given.
    """
    if any(result is not None for result in results[1:]) or has_formulas(*segment.entries):
        return False
    layer = segment.layer
    return space_of(layer, segment.entries[0]) is None if layer else run.received[0] not in run.handed_on
