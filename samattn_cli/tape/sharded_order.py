"""The order in which a rank of FSDP2 gathers and reduces blocks in a backward, by the sections in which torch does so."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..encoder.model import Phase, Section
from .allocator import DEFAULT, Block
from .backward import BackwardRun
from .fsdp import Group
from .inside import Cuda
from .segments import Segment
from .sharded import REDUCE_SCATTER, ROOT, Sharded
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


class NoMemory:
    """An allocator of a run of which only the order matters."""

    def allocate(self, nbytes: int, kind: int = 0, stream: int = DEFAULT) -> Block | None:
        """Allocates nothing."""

    def free(self, block: Block | None) -> None:
        """Frees nothing."""


Begun = tuple[str, str, Phase, str]
"""A collective: its kind, its group, the phase in which it begins, and the segment with which it begins; "" after the last."""


def begun(step: TrainingStep, groups: dict[str, Group]) -> Iterator[Begun]:
    """The collectives of a micro-batch of FSDP2 in the order in which they begin: those of a run that allocates nothing."""
    sharded = Sharded(groups, NoMemory(), Cuda())
    sharded.begin_forward()
    blocks = [segment.name for segment in step.forward.segments if segment.layer is not None]
    for name in blocks:
        sharded.before_forward(name)
        sharded.after_forward(name)
    sharded.end_forward()
    in_forward = len(sharded.begun)
    order, until_last = BackwardOrder(step, sharded), 0
    for segment, run in reversed(list(zip(step.forward.segments, step.backward, strict=True))):
        order.enter_backward(segment, run, lambda _: None)
        if segment.layer is not None:
            order.leave_block(segment, run, [])
        if segment.name == order.last:
            until_last = len(sharded.begun)
            order.end_backward([])
    for place, (kind, name) in enumerate(sharded.begun):
        is_late = kind == REDUCE_SCATTER and place >= until_last
        yield kind, name, "forward" if place < in_forward else "backward", "" if is_late else name


def is_live(run: BackwardRun) -> bool:
    """Whether a segment has a backward: its outputs have gradients."""
    return any(storage is not None for storage in run.received)
