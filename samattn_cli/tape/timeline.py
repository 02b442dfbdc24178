"""Every request of a run to the allocator, in order: the operation that makes it, and what is live before it.

A request is served from a free block, or a segment is requested from the device; where the device has no room for
that segment, torch raises an error that names its size. The run is that of `replay.py`, from the weights on.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from itertools import count
from typing import Any, NamedTuple

from ..encoder.model import Section
from ..records import dataclass
from .allocator import DEFAULT, Allocator, Block, segment_for
from .allocator import OutOfMemoryError as NoRoomError
from .inside import Cuda
from .module_order import in_module_order, registered_in
from .ops import Op
from .replay import History, Player, StepPlayer
from .requests import KINDS, WORKSPACES
from .segments import ForwardPass
from .sharded_step import ShardedPlayer
from .sharded_training import ShardedStep
from .training import TrainingStep

BUILD: Section = ("", "forward")
GIVEN = "output.grad"
"""The gradient of an output, which is made after the last operation of the forward."""
FORWARDS = 2
"""In inference: the first makes the workspaces of cuBLAS, which lie where the second finds no room."""
LATER_OF_DDP = 2
"""DDP makes its buckets anew in the second step, and the third is like those after it."""


@dataclass(frozen=True)
class Asked:
    """A request to the allocator.

    Attributes:
        nbytes: its size, rounded up as the allocator does.
        live_bytes: what is allocated before it.
        reserved_bytes: what is reserved before it.
        from_device: whether a segment is requested from the device for it; otherwise a free block serves it.
        most_before: the most that an earlier request of the run needs, with what is live before that one.
        section: the part or block that runs, and the phase; ("", "forward") for what runs in none.
        op: the operation that makes it; "" if none runs.
        kind: what it is for, a name of `KINDS`.
        round: the number of the pass or training step, from 1; 0 before the first.
    """

    nbytes: int
    live_bytes: int
    reserved_bytes: int
    from_device: bool
    most_before: int
    section: Section
    op: str
    kind: str
    round: int

    @property
    def segment_bytes(self) -> int:
        """The segment that the allocator requests from the device where no free block serves it."""
        return segment_for(self.nbytes)

    @property
    def need_bytes(self) -> int:
        """What has to be live at once for it."""
        return self.live_bytes + self.nbytes

    @property
    def is_record(self) -> bool:
        """Whether no earlier request needs as much, so that it is the first for which some memory has no room."""
        return self.need_bytes > self.most_before

    @property
    def is_inside(self) -> bool:
        """Whether an operator makes it for itself, and not for a result."""
        return self.kind == KINDS[WORKSPACES]


Note = tuple[int, int, int, int, int, bool, int]
"""A request: its event, size, kind, what is allocated and reserved before, `from_device`, `most_before`."""


@dataclass(frozen=True)
class Timeline:
    """The requests of a run, in order.

    Attributes:
        notes: the requests, of which the last one is not served if memory ran out.
        ran_out: whether it did.
        marks: the events at which sections begin, with the number of the round and the section.
        history: the programs of the run.
    """

    notes: list[Note]
    ran_out: bool
    marks: list[tuple[int, int, Section]]
    history: History

    @property
    def failed(self) -> Asked | None:
        """The request for which there was no room."""
        return self.asked(self.notes[-1:])[0] if self.ran_out else None

    def asked(self, notes: Iterable[Note]) -> list[Asked]:
        """Some of the requests, with the operations that make them."""
        starts = [first for first, _, _ in self.history.programs]
        marked = [event for event, _, _ in self.marks]
        ops: dict[int, tuple[Op, ...]] = {}
        found = []
        for event, nbytes, kind, live, reserved, asks, most in notes:
            _, number, section = self.marks[bisect_right(marked, event) - 1]
            op = (
                ""
                if section[0] in ("", "optimizer")
                else self._op(event, bisect_right(starts, event) - 1, ops)
            )
            found.append(Asked(nbytes, live, reserved, asks, most, section, op, KINDS[kind], number))
        return found

    def _op(self, event: int, place: int, ops: dict[int, tuple[Op, ...]]) -> str:
        """The operation of an event of a program."""
        first, _, program = self.history.programs[place]
        if id(program) not in ops:
            ops[id(program)] = program.op_of_event
        own = ops[id(program)]
        at = event - first - sum(first <= made < event for made in self.history.workspaces)
        if at >= len(own) and event not in self.history.workspaces:
            return GIVEN
        return own[min(at, len(own) - 1)].name if own else ""


class _Watched(Allocator):
    """An allocator that notes what is allocated and reserved before each request."""

    def __init__(self, *arguments: int | None, **settings: int | None) -> None:
        super().__init__(*arguments, **settings)  # type: ignore[arg-type]
        self.notes: list[Note] = []
        self._asks = False
        self._most = 0

    def allocate(self, nbytes: int, kind: int = 0, stream: int = DEFAULT) -> Block | None:
        """Allocate a block, and note the event, its size and kind, and what was live."""
        if not nbytes:
            return None
        size, live = self.rounded(nbytes), self.allocated
        before = len(self.events), size, kind, live, self.reserved
        most, self._most = self._most, max(self._most, live + size)
        self._asks = False
        try:
            return super().allocate(nbytes, kind, stream)
        finally:
            self.notes.append((*before, self._asks, most))

    def _from_device(self, size: int, *, pool: int) -> Block:
        self._asks = True
        return super()._from_device(size, pool=pool)


class _Noting:
    """What a player adds: the sections by the events with which they begin.

    Attributes:
        is_moved: whether weights lie as ``model.to(device)`` places them, as in most scripts. `samattn measure`, which
            `replay.py` is compared with, builds the encoder on the device.
    """

    memory: type[Allocator] = _Watched
    is_moved = True
    allocator: Allocator
    passed: ForwardPass

    def __init__(self, *arguments: object) -> None:
        self.marks: list[tuple[int, int, Section]] = [(0, 0, BUILD)]
        self.rounds = count(1)
        super().__init__(*arguments)

    def _resident(self) -> dict[str, tuple[int, int]]:
        """The bytes and the kind of each weight and buffer, in the order in which they are made or moved."""
        sizes: dict[str, tuple[int, int]] = super()._resident()  # type: ignore[misc]
        if not self.is_moved:
            return sizes
        order = in_module_order(sizes, registered_in(self.passed.segments), moved=True)
        return {name: sizes[name] for name in order}

    def mark(self, section: Section, *, is_next: bool = False) -> None:
        """A section begins."""
        number = next(self.rounds) if is_next else self.marks[-1][1]
        self.marks.append((len(self.allocator.events), number, section))

    def enter(self, section: Section) -> None:
        """A section begins."""
        super().enter(section)  # type: ignore[misc]
        self.mark(section)

    def leave(self) -> None:
        """The section is over."""
        super().leave()  # type: ignore[misc]
        self.mark(BUILD)


class _Forwards(_Noting, Player):
    """Plays inference forwards."""

    def forward(self) -> None:
        """A pass."""
        self.mark(BUILD, is_next=True)
        super().forward()


class _Steps(_Noting, StepPlayer):
    """Plays training steps."""

    def step(self, *, first: bool) -> None:
        """A step."""
        self.mark(BUILD, is_next=True)
        super().step(first=first)


class _ShardedSteps(_Noting, ShardedPlayer):
    """Plays the training steps of a rank of FSDP2."""

    def step(self, *, first: bool) -> None:
        """A step."""
        self.mark(BUILD, is_next=True)
        super().step(first=first)


def timeline(run: ForwardPass | TrainingStep, cuda: Cuda, capacity: int | None = None) -> Timeline:
    """The requests of two inference forwards, or of training steps; up to the one for which a capacity has no room.

    Two steps, or under DDP three.
    """
    played = play(run, cuda, capacity)
    assert isinstance(played.memory, _Watched)  # noqa: S101 - for the type checker
    return Timeline(played.memory.notes, played.ran_out, played.marks, played.history)


class Played(NamedTuple):
    """A run that was played: its allocator, whether memory ran out, and where its sections begin."""

    memory: Allocator
    ran_out: bool
    marks: list[tuple[int, int, Section]]
    history: History


def play(
    run: ForwardPass | TrainingStep,
    cuda: Cuda,
    capacity: int | None = None,
    memory: type[Allocator] = _Watched,
    *,
    is_moved: bool = True,
) -> Played:
    """Play two inference forwards, or two training steps (under DDP three), with an allocator of a kind that keeps notes.

    `is_moved` is whether the encoder is moved to the device; otherwise it is built there.
    """
    kind = (
        _ShardedSteps
        if isinstance(run, ShardedStep)
        else _Steps
        if isinstance(run, TrainingStep)
        else _Forwards
    )
    player: Any = type("", (kind,), {"memory": memory, "is_moved": is_moved})(run, cuda, capacity)
    ran_out = False
    try:
        player.build()
        if kind is _Forwards:
            for _ in range(FORWARDS):
                player.forward()
        else:
            player.step(first=True)
            for _ in range(LATER_OF_DDP if run.config.run.is_ddp else 1):
                player.step(first=False)
    except NoRoomError:
        ran_out = True
    return Played(player.allocator, ran_out, player.marks, player.history)
