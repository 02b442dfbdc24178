"""Every allocation and free of a run, in order: what each block is for, where it lies, and the operation that runs."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

from ..encoder.model import Section
from ..records import dataclass
from .allocator import DEFAULT, UNIT, Allocator, Block
from .inside import Cuda
from .ops import Op
from .replay import History
from .requests import KINDS, OF_LIBRARIES, Key, Program
from .segments import ForwardPass
from .timeline import Played, play
from .training import TrainingStep

TENSORS = Cuda(takes_inside=False)
"""No device: operators take nothing inside, so that what is live is what tensors take."""


@dataclass(frozen=True)
class Segment:
    """Memory that is taken from the device or given back: after how many events, by which action, where, and its size."""

    event: int
    action: str
    address: int
    nbytes: int
    pool: int


class Recorder(Allocator):
    """An allocator that keeps where each block lies, and what it takes from the device.

    Attributes:
        blocks: by the event of its allocation: the address of a block, its bytes, those requested, those not split off, the
            stream.
        segments: what is taken from the device and given back.
    """

    def __init__(self, *arguments: int | None, **settings: int | None) -> None:
        super().__init__(*arguments, **settings)  # type: ignore[arg-type]
        self.blocks: dict[int, tuple[int, int, int, int, int]] = {}
        self.segments: list[Segment] = []

    def allocate(self, nbytes: int, kind: int = 0, stream: int = DEFAULT) -> Block | None:
        """Allocate a block, and keep where it lies."""
        block = super().allocate(nbytes, kind, stream)
        if block is not None:
            self.blocks[block.since] = block.address, block.nbytes, nbytes, block.rest, stream
        return block

    def note(self, action: str, address: int, nbytes: int, pool: int) -> None:
        """Keep what is taken from the device or given back."""
        self.segments.append(Segment(len(self.events), action, address, nbytes, pool))


class TensorRecorder(Recorder):
    """The same, in which each block is as large as its request, rounded up to 512 bytes."""

    least_rest = UNIT


@dataclass(frozen=True)
class Event:
    """An allocation or a free.

    Attributes:
        is_free: whether it is a free.
        made: the number of the event that allocates the block.
        address: where the block lies.
        nbytes: the bytes of the block, which count as allocated.
        requested: those that were asked for.
        rest: those beyond the rounded request, as they are too few to be split off.
        stream: the number of the stream.
        kind: what it is for, a name of `KINDS`.
        section: the part or block that runs, and the phase; ("", "forward") for what runs in none.
        op: the operation that runs; None if none does.
        key: what the block is for, if an operation makes it.
        round: the number of the pass or training step, from 1; 0 before the first.
    """

    is_free: bool
    made: int
    address: int
    nbytes: int
    requested: int
    rest: int
    stream: int
    kind: str
    section: Section
    op: Op | None
    key: Key | None
    round: int


@dataclass(frozen=True)
class Allocations:
    """A run: its events in order, what is taken from the device, whether memory ran out, and its programs by section."""

    events: tuple[Event, ...]
    segments: tuple[Segment, ...]
    ran_out: bool
    history: History


def allocations(
    run: ForwardPass | TrainingStep, cuda: Cuda = TENSORS, capacity: int | None = None
) -> Allocations:
    """The allocations and frees of two inference forwards, or of two training steps (under DDP three).

    The encoder is built on the device, as in `replay.py`.

    Args:
        run: the passes.
        cuda: the device; without one, what tensors take.
        capacity: the bytes that a process can use; None: unlimited. The run ends where memory runs out.
    """
    kind = Recorder if cuda.takes_inside else TensorRecorder
    played = play(run, cuda, capacity, kind, is_moved=False)
    assert isinstance(played.memory, Recorder)  # noqa: S101 - for the type checker
    return Allocations(
        tuple(_events(played, played.memory)), tuple(played.memory.segments), played.ran_out, played.history
    )


def _events(played: Played, memory: Recorder) -> Iterator[Event]:
    marked = [event for event, _, _ in played.marks]
    ops = _ops(played.history, len(memory.events))
    keys: dict[int, Key | None] = {}
    for number, event in enumerate(memory.events):
        made = number if event >= 0 else -1 - event
        _, round_, section = played.marks[bisect_right(marked, number) - 1]
        op, key = ops.get(number, (None, None)) if section[0] else (None, None)
        keys.setdefault(made, key)
        kind = KINDS[memory.events[made] % UNIT]
        yield Event(event < 0, made, *memory.blocks[made], kind, section, op, keys[made], round_)


def _ops(history: History, count: int) -> dict[int, tuple[Op, Key | None]]:
    """The operation of each event of a program, and what it is for."""
    found: dict[int, tuple[Op, Key | None]] = {}
    workspaces = frozenset(history.workspaces)
    for first, _, program in history.programs:
        number = first
        for (nbytes, key, _), op in zip(program.requests, program.ops, strict=True):
            if nbytes in OF_LIBRARIES:
                if number in workspaces:
                    found[number] = op, None
                    number += 1
            elif number < count:
                found[number] = op, key
                number += 1
    return found


def programs_of(history: History) -> dict[Program, Section]:
    """The programs of a run in order, each with the first section that it runs in."""
    found: dict[Program, Section] = {}
    for _, section, program in history.programs:
        found.setdefault(program, section)
    return found
