"""A run as a list of requests, and what the caching allocator makes of it in a memory.

`replay.py` plays a run step by step and knows what each block is for. A `Script` has only the sizes of its requests, in order,
so that a memory takes a third of the time: for a search, which asks of many runs whether they fit. The rules are those of
`allocator.py`, with torch's own settings; a test compares the two.
"""

from __future__ import annotations

import sys
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from operator import itemgetter
from typing import Any

from ..encoder.allocator_settings import settings_of
from ..encoder.model import Section
from ..records import dataclass
from .allocator import DEFAULT, LARGEST_SMALL, UNIT, Allocator, segment_for
from .inside import Cuda
from .ops import Buffer
from .replay import Place, Player, StepPlayer
from .requests import FREE, FREE_ELSEWHERE, FREE_LAST, Program
from .segments import ForwardPass
from .storage import Dim, Storage
from .training import TrainingStep

NOWHERE: Section = ("", "forward")
LARGEST_SMALL_UNITS = LARGEST_SMALL // UNIT
SEGMENT_UNIT_BITS = 39
"""An address is the number of a segment, and in these low bits an offset in units of 512 bytes."""
MOST_MICRO_BATCHES = 2
"""`replay.py` plays those after them only until they repeat."""
EMPTY = 0
"""The event in which the cache is emptied."""


@dataclass(frozen=True)
class Part:
    """Consecutive events in one section.

    Attributes:
        section: the section.
        counts: whether its peak is one of the run: those before the measured pass are not.
        events: a request is its size in units of 512 bytes; a free is -1 minus the number of its request; or `EMPTY`.
    """

    section: Section
    counts: bool
    events: tuple[int, ...]


@dataclass(frozen=True)
class Played:
    """What the allocator made of a script.

    Attributes:
        reserved: the most bytes that it reserved after the encoder was built.
        allocated: the most bytes that it allocated in the sections of the measured pass.
        stopped_at: the part and phase in which memory ran out; None if it did not.
    """

    reserved: int
    allocated: int
    stopped_at: str | None = None


class Writer(Allocator):
    """An allocator that only writes down what is requested."""

    def __init__(self) -> None:
        super().__init__()
        self.made = 0

    def allocate(self, nbytes: int, kind: int = 0, stream: int = DEFAULT) -> int | None:  # type: ignore[override]  # noqa: ARG002
        """The number of the request; None for 0 bytes."""
        if not nbytes:
            return None
        self.events.append(-(-nbytes // UNIT))
        self.made += 1
        return self.made - 1

    def free(self, block: int | None) -> None:  # type: ignore[override]
        """A request is freed; None does nothing."""
        if block is not None:
            self.events.append(-1 - block)

    def empty_cache(self) -> None:
        """The cache is emptied."""
        self.events.append(EMPTY)


class Writing(Player):
    """Writes down the run, and where each section begins."""

    def start(self) -> Writer:
        """Write from here on."""
        self.allocator = self.writer = Writer()
        self.marks: list[tuple[int, Section, bool]] = [(0, NOWHERE, False)]
        self.measures = not self.passed.config.run.passes_before
        return self.writer

    def mark(self, section: Section) -> None:
        """A section begins."""
        self.marks.append((len(self.writer.events), section, self.measures and bool(section[0])))

    def measure(self) -> None:
        """The peaks are from here on."""
        self.measures = True

    def play(
        self, program: Program, own: dict[Any, Any], elsewhere: Callable[[Storage], Place], thread: str
    ) -> None:
        """The requests of operations."""
        made, append = self.writer.made, self.writer.events.append
        for nbytes, key, _ in program.requests:
            if nbytes > 0:
                own[key] = made
                made += 1
                append(-(-nbytes // UNIT))
            elif nbytes == FREE:
                if (number := own.pop(key)) is not None:
                    append(-1 - number)
            elif nbytes == FREE_ELSEWHERE:
                self.free(elsewhere(key))  # type: ignore[arg-type]  # only storages are elsewhere
            elif nbytes == FREE_LAST:
                self.free((self.left, key))  # type: ignore[arg-type]  # and in caches
            elif (thread, nbytes) not in self.threads and self.workspaces[nbytes]:
                self.threads.add((thread, nbytes))
                made += 1
                append(-(-self.workspaces[nbytes] // UNIT))
        self.writer.made = made

    @property
    def image_bytes(self) -> Dim:
        """Bytes of the image."""
        return self.passed.image.storage.nbytes

    def buffer_bytes(self, buffer: Buffer) -> Dim:
        """Bytes of a buffer."""
        return buffer.nbytes

    def enter(self, section: Section) -> None:
        """A section begins."""
        self.mark(section)

    def leave(self) -> None:
        """The section is over."""
        self.mark(NOWHERE)


class WritingStep(Writing, StepPlayer):
    """The same of training steps."""

    def start(self) -> Writer:
        """Write from here on; what is around the model too."""
        writer = super().start()
        self.wrapping.allocator = writer
        return writer

    def label_gradients(self) -> None:
        """Requests have no kinds."""


def has_script(run: ForwardPass | TrainingStep) -> bool:
    """Whether a run can be written down: with torch's own settings, on one GPU, and with few micro-batches."""
    settings = run.config.run
    return (
        settings_of(settings.allocator) == settings_of("")
        and not settings.is_fsdp
        and settings.accumulate <= MOST_MICRO_BATCHES
    )


def script_of(run: ForwardPass | TrainingStep, cuda: Cuda) -> tuple[Part, ...]:
    """The requests of a run, as `replay_forward` and `replay_step` play it; the first part builds the encoder."""
    player = WritingStep(run, cuda, None) if isinstance(run, TrainingStep) else Writing(run, cuda, None)
    writer = player.start()
    player.build()
    player.mark(NOWHERE)
    player.play_run()
    return tuple(_parts(writer.events, player.marks))


def at_lane(script: Sequence[Part], lane: int) -> tuple[Part, ...]:
    """The script of one encoder of those that were run together."""
    known: dict[int, int] = {}

    def number(event: Any) -> int:
        if type(event) is int:
            return event
        key = id(event)
        if key not in known:
            known[key] = int(event.numbers[lane])
        return known[key]

    return tuple([Part(part.section, part.counts, tuple(map(number, part.events))) for part in script])


def _parts(events: list[int], marks: list[tuple[int, Section, bool]]) -> Iterator[Part]:
    """The events of each section."""
    ends = [*map(itemgetter(0), marks[1:]), len(events)]
    for (start, section, counts), end in zip(marks, ends, strict=True):
        if start < end or counts:
            yield Part(section, counts, tuple(events[start:end]))


def play(script: Sequence[Part], capacity: int | None = None) -> Played:
    """What the allocator makes of a script in a memory of so many bytes; None: unlimited."""
    memory = Memory(sys.maxsize if capacity is None else capacity // UNIT)
    peak = 0
    for number, part in enumerate(script):
        try:
            most = memory.play(part.events)
        except MemoryError:
            return Played(UNIT * memory.peak_reserved, UNIT * peak, " ".join(part.section).strip())
        if part.counts:
            peak = max(peak, most)
        if not number:
            memory.peak_reserved = memory.reserved
    return Played(UNIT * memory.peak_reserved, UNIT * peak)


class Block:
    """A part of a segment, as in `allocator.py`, in units of 512 bytes; without `__init__`, which takes most of the time."""

    __slots__ = ("address", "after", "before", "is_free", "is_small", "nbytes")
    nbytes: int
    address: int
    is_small: bool
    is_free: bool
    before: Block | None
    after: Block | None


class Memory:
    """The state of the allocator, in units of 512 bytes.

    Attributes:
        capacity: what the device has.
        allocated: what is allocated.
        reserved: what is reserved.
        peak_reserved: the most that was.
        made: the block of each request.
        sizes: of each pool (large, small), the sizes of the free blocks in order; of equal ones, the lowest address first.
        free: the free blocks in that order.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.allocated = self.reserved = self.peak_reserved = 0
        self.made: list[Block] = []
        self.sizes: tuple[list[int], list[int]] = [], []
        self.free: tuple[list[Block], list[Block]] = [], []
        self.segments = count()

    def play(self, events: Sequence[int]) -> int:  # noqa: C901, PLR0912, PLR0915 - one loop, because calls would take most of the time
        """The most that is allocated during these events.

        Raises:
            MemoryError: if the device has too little memory left.
        """
        allocated = peak = self.allocated
        made, (large, small), (large_blocks, small_blocks) = self.made, self.sizes, self.free
        for event in events:
            if event > 0:
                is_small = event <= LARGEST_SMALL_UNITS
                sizes, blocks = (small, small_blocks) if is_small else (large, large_blocks)
                at = bisect_left(sizes, event)
                if at < len(sizes):
                    block = blocks.pop(at)
                    taken = sizes.pop(at)
                    block.is_free = False
                else:
                    block = self.from_device(event)
                    taken = block.nbytes
                rest = taken - event
                if rest > LARGEST_SMALL_UNITS or (rest and is_small):
                    address, after = block.address + event, block.after
                    tail = Block()
                    tail.nbytes, tail.address, tail.is_small = rest, address, is_small
                    tail.before, tail.after, tail.is_free = block, after, True
                    if after is not None:
                        after.before = tail
                    block.after, block.nbytes, taken = tail, event, event
                    at = bisect_left(sizes, rest)
                    while at < len(sizes) and sizes[at] == rest and blocks[at].address < address:
                        at += 1
                    sizes.insert(at, rest)
                    blocks.insert(at, tail)
                allocated += taken
                if allocated > peak:  # noqa: PLR1730 - a call of max takes longer
                    peak = allocated
                made.append(block)
            elif event:
                block = made[-1 - event]
                nbytes, address = block.nbytes, block.address
                allocated -= nbytes
                sizes, blocks = (small, small_blocks) if block.is_small else (large, large_blocks)
                other = block.before
                if other is not None and other.is_free:
                    size = other.nbytes
                    at = bisect_left(sizes, size)
                    while blocks[at] is not other:
                        at += 1
                    del sizes[at], blocks[at]
                    nbytes += size
                    block.address = address = other.address
                    block.before = before = other.before
                    if before is not None:
                        before.after = block
                other = block.after
                if other is not None and other.is_free:
                    size = other.nbytes
                    at = bisect_left(sizes, size)
                    while blocks[at] is not other:
                        at += 1
                    del sizes[at], blocks[at]
                    nbytes += size
                    block.after = after = other.after
                    if after is not None:
                        after.before = block
                block.nbytes = nbytes
                block.is_free = True
                at = bisect_left(sizes, nbytes)
                while at < len(sizes) and sizes[at] == nbytes and blocks[at].address < address:
                    at += 1
                sizes.insert(at, nbytes)
                blocks.insert(at, block)
            else:
                self.empty_cache()
        self.allocated = allocated
        return peak

    def from_device(self, size: int) -> Block:
        """A segment for a request."""
        wanted = segment_for(size * UNIT) // UNIT
        if self.reserved + wanted > self.capacity:
            self.empty_cache()
            if self.reserved + wanted > self.capacity:
                raise MemoryError
        self.reserved += wanted
        self.peak_reserved = max(self.peak_reserved, self.reserved)
        block = Block()
        block.nbytes, block.address = wanted, next(self.segments) << SEGMENT_UNIT_BITS
        block.is_small, block.is_free = size <= LARGEST_SMALL_UNITS, False
        block.before = block.after = None
        return block

    def empty_cache(self) -> None:
        """Release every segment that is free as a whole."""
        for sizes, blocks in zip(self.sizes, self.free, strict=True):
            before = sum(sizes)
            blocks[:] = [block for block in blocks if block.before is not None or block.after is not None]
            sizes[:] = [block.nbytes for block in blocks]
            self.reserved -= before - sum(sizes)
