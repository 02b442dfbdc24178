"""The order in which a rank of FSDP2 gathers and reduces blocks in a backward, by the sections in which torch does so."""

from __future__ import annotations

from collections.abc import Callable

from ..encoder.model import Section
from .allocator import Block
from .encoder import BackwardRun, Segment
from .sharded import ROOT, Sharded
from .training import TrainingStep


def nothing() -> None:
    """Does nothing."""


class BackwardOrder:
    """What is to be gathered and reduced as segments go backward, one after the other.

    The gradient of a block's input goes through a node of FSDP2, which reduces the gradients of the block: the section of the
    part before it has begun by then. A gradient of that input from elsewhere is added after it.

    Attributes:
        begins: whether the backward has not begun.
        last: the last segment that has a backward.
    """

    def __init__(self, step: TrainingStep, sharded: Sharded) -> None:
        self.sharded = sharded
        self.begins = True
        pairs = zip(step.forward.segments, step.backward, strict=True)
        self.last = next((segment.name for segment, run in pairs if is_live(run)), "")
        self._due = ""  # the block whose gradients are to be reduced next
        self.then: Callable[[], None] = nothing  # adds the gradient of its input to one from elsewhere
        self._unreduced: dict[str, list[Block | None]] = {}

    def enter_backward(self, segment: Segment, run: BackwardRun, enter: Callable[[Section], None]) -> None:
        """The gradients of the block after a segment are reduced, and the segment is gathered if it is a block."""
        is_block = segment.layer is not None and is_live(run)
        section: Section = (segment.name, "backward")
        if self._due:
            enter(section)
            self._reduce()
            if is_block:
                self.sharded.before_backward(segment.name)
            return
        if is_block:
            self.sharded.before_backward(segment.name)
        if self.begins:
            self.begins = False
            self.sharded.begin_backward()
        enter(section)

    def leave_block(self, segment: Segment, run: BackwardRun, gradients: list[Block | None]) -> None:
        """A block has left the gradients of its weights."""
        self._unreduced[segment.name] = gradients
        if any(storage is not None for storage in run.handed_on):
            self._due = segment.name

    def end_backward(self, gradients: list[Block | None]) -> None:
        """The gradients of the root, and of blocks whose input has none, are reduced."""
        self.sharded.end_backward({ROOT: gradients, **self._unreduced})
        self._unreduced = {}

    def _reduce(self) -> None:
        name, self._due = self._due, ""
        self.sharded.reduce(name, self._unreduced.pop(name))
        self.then()
        self.then = nothing


def is_live(run: BackwardRun) -> bool:
    """Whether a segment has a backward: its outputs have gradients."""
    return any(storage is not None for storage in run.received)
