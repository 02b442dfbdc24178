"""What the caching allocator makes of a script in a memory, in a small part of the time that `allocator.py` takes.

A block is one integer: its size, and in the low bits its address, both in units of 512 bytes. So the free blocks of a pool are a
sorted list of integers, in which the best fit is the first that is not less. The rules are those of `allocator.py`, with torch's
own settings; a test compares the two.
"""

from __future__ import annotations

import sys
from bisect import bisect_left, insort
from collections.abc import Callable, Hashable, Sequence

from ..encoder.model import Section
from ..records import dataclass
from .allocator import LARGEST_SMALL, SMALL_SEGMENT, UNIT, segment_for

LARGEST_SMALL_UNITS = LARGEST_SMALL // UNIT
SMALL_SEGMENT_UNITS = SMALL_SEGMENT // UNIT
ADDRESS_BITS = 44
"""A block is its size, and in these low bits its address: segments of 8 PiB in all, also those that were released."""
ADDRESS = (1 << ADDRESS_BITS) - 1
ELSEWHERE = 0
"""The event that frees a request of an earlier piece, or empties the cache."""
EMPTY = -1
"""Stands for a request that is freed: the cache is emptied."""
UNLIMITED = sys.maxsize
LIKELY = 0.9
"""The share of a memory that is live in runs for which it is likely to be too small, or to be just enough."""


@dataclass(frozen=True)
class Piece:
    """Consecutive events. Blocks of one kind have pieces with the same events.

    Attributes:
        events: a request is its size in units of 512 bytes; a free is -1 minus the number of its request in this piece; or
            `ELSEWHERE`.
        elsewhere: for each `ELSEWHERE`, the number in the whole script of the request that is freed; or `EMPTY`.
    """

    events: tuple[int, ...]
    elsewhere: tuple[int, ...] = ()


@dataclass(frozen=True)
class Part:
    """The pieces of one section.

    Attributes:
        section: the section.
        counts: whether its peak is one of the run: those before the measured pass are not.
        pieces: its pieces, in order.
    """

    section: Section
    counts: bool
    pieces: tuple[Piece, ...]


Script = Sequence[Part]
"""A run; the first part builds the encoder."""


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


def play(script: Script, capacity: int | None = None) -> Played:
    """What the allocator makes of a script in a memory of so many bytes; None: unlimited."""
    memory = Memory(UNLIMITED if capacity is None else capacity // UNIT, repeats=repeats(script))
    peak = 0
    for number, part in enumerate(script):
        memory.peak = memory.allocated
        try:
            memory.play(part)
        except MemoryError:
            return Played(UNIT * memory.peak_reserved, UNIT * peak, " ".join(part.section).strip())
        if part.counts:
            peak = max(peak, memory.peak)
        if not number:
            memory.peak_reserved = memory.reserved
    return Played(UNIT * memory.peak_reserved, UNIT * peak)


def stopped_at(script: Script, capacity: int, live_bytes: int = 0) -> str | None:
    """The part and phase in which a memory of so many bytes runs out; None if it does not.

    If most of the memory is live, as the caller may know, all is played at once, because more is likely to be reserved than there
    is. Else the pools share nothing but the device's memory, and reserve no less later on. So each is played by itself: if both reserve
    no more than there is, the run fits. Otherwise all is played, because the allocator releases free segments before it gives up.
    """
    if live_bytes > LIKELY * capacity:
        return play(script, capacity).stopped_at
    left = capacity // UNIT
    large = reserved_by(is_large, script, left)
    if large is not None and most_small(script) <= left - large:
        return None
    if large is not None and reserved_by(is_small, script, left - large) is not None:
        return None
    return play(script, capacity).stopped_at


def reserved_by(is_of_pool: Callable[[int], bool], script: Script, most: int) -> int | None:
    """The most units that a pool reserves if nothing is released; None if that is more than `most`."""
    memory = Memory(UNLIMITED, is_of_pool, repeats=repeats(script))
    for part in script:
        memory.play(part)
        if memory.peak_reserved > most:
            return None
    return memory.peak_reserved


def most_small(script: Script) -> int:
    """An upper bound of what the small pool reserves, in units, which takes a part of the time of playing it.

    A segment is requested for s units where each free block has less. Free blocks do not touch, so that n segments with k live
    blocks have at most n + k of them. With `live` units in these, n segments have at most live + (n + k) (s - 1). So n is at
    most (live + k (s - 1)) / (segment - (s - 1)).
    """
    known: dict[int, _Small] = {}
    sizes: dict[int, int] = {}
    live = made = most = 0
    for piece in (piece for part in script for piece in part.pieces):
        key = id(piece.events)
        if key not in known:
            known[key] = _small_of(piece.events)
        own = known[key]
        gap = max(0, own.largest - 1)
        most = max(most, (live + own.units + (len(sizes) + own.blocks) * gap) // (SMALL_SEGMENT_UNITS - gap))
        live -= sum([sizes.pop(number, 0) for number in piece.elsewhere])
        for number, size in own.left:
            sizes[made + number] = size
            live += size
        made += own.made
    return (most + 1) * SMALL_SEGMENT_UNITS


@dataclass(frozen=True)
class _Small:
    """The requests of a piece of the small pool.

    Attributes:
        blocks: the most of them that are live at once.
        units: the most units that are.
        largest: the largest of them.
        left: the numbers in the piece of those that it does not free, and their sizes.
        made: how many requests the piece has, of both pools.
    """

    blocks: int
    units: int
    largest: int
    left: tuple[tuple[int, int], ...]
    made: int


def _small_of(events: tuple[int, ...]) -> _Small:
    own: dict[int, int] = {}
    made = live = blocks = units = largest = 0
    for event in events:
        if event > 0:
            if event <= LARGEST_SMALL_UNITS:
                own[made] = event
                live += event
                blocks, units, largest = max(blocks, len(own)), max(units, live), max(largest, event)
            made += 1
        elif event:
            live -= own.pop(-1 - event, 0)
    return _Small(blocks, units, largest, tuple(own.items()), made)


def repeats(script: Script) -> bool:
    """Whether pieces are likely to meet the same free blocks again: without a backward, for which blocks leave more and more."""
    return all(part.section[1] == "forward" for part in script)


def is_small(size: int) -> bool:
    """Whether a request of so many units is of the small pool."""
    return size <= LARGEST_SMALL_UNITS


def is_large(size: int) -> bool:
    """Whether it is of the other one."""
    return size > LARGEST_SMALL_UNITS


@dataclass(frozen=True)
class View:
    """Those of the events of a piece that are played.

    Attributes:
        events: the events, in which a free has the number of its request among these.
        left: the requests that the piece does not free: their numbers in the piece, and among these.
        made: how many requests the piece has.
    """

    events: tuple[int, ...]
    left: tuple[tuple[int, int], ...]
    made: int


def view_of(events: tuple[int, ...], is_played: Callable[[int], bool] | None) -> View:
    """The events of those requests whose size a function accepts; None: all."""
    chosen: list[int] = []
    numbers: dict[int, int] = {}
    made = played = 0
    for event in events:
        if event > 0:
            if is_played is None or is_played(event):
                numbers[made] = played
                played += 1
                chosen.append(event)
            made += 1
        elif event == ELSEWHERE:
            chosen.append(event)
        elif (number := numbers.pop(-1 - event, None)) is not None:
            chosen.append(-1 - number)
    return View(tuple(chosen), tuple(numbers.items()), made)


@dataclass(frozen=True)
class Outcome:
    """What a view does to the free blocks at which it begins, if no segment is requested from the device.

    Attributes:
        left: the requests that it does not free: their numbers in the piece, and their blocks.
        peak: the most that is allocated, above what was before.
        change: what is allocated at its end, above the same.
        large: the free blocks at its end; see `Memory`.
        small: see `Memory`.
        starts: see `Memory`.
        ends: see `Memory`.
    """

    left: tuple[tuple[int, int], ...]
    peak: int
    change: int
    large: list[int]
    small: list[int]
    starts: dict[int, int]
    ends: dict[int, int]


class Memory:
    """The state of the allocator, in units of 512 bytes.

    Args:
        capacity: what the device has.
        is_played: which sizes of requests are played; None: all.
        repeats: whether pieces may meet the same free blocks again: in inference a block leaves what the one before it left.

    Attributes:
        allocated: what is allocated.
        peak: the most that was allocated since it was last set.
        reserved: what is reserved.
        peak_reserved: the most that was.
        made: how many requests there were.
        blocks: the block of each request, by its number, that its piece has not freed.
        large: the free blocks of the pool of requests above 1 MiB, in order.
        small: those of the other pool.
        starts: the sizes of the free blocks by their addresses.
        ends: the same by the addresses at which they end.
        segments: the sizes of the segments by their addresses, which never touch.
    """

    def __init__(
        self, capacity: int, is_played: Callable[[int], bool] | None = None, *, repeats: bool = False
    ) -> None:
        self.capacity = capacity
        self.is_played = is_played
        self.repeats = repeats
        self.known: dict[Hashable, Outcome] = {}
        self.views: dict[int, View] = {}  # by the ids of events, which the script keeps
        self.allocated = self.peak = self.reserved = self.peak_reserved = self.made = 0
        self.blocks: dict[int, int] = {}
        self.large: list[int] = []
        self.small: list[int] = []
        self.starts: dict[int, int] = {}
        self.ends: dict[int, int] = {}
        self.segments: dict[int, int] = {}
        self.next_address = 0

    def play(self, part: Part) -> None:
        """Play a part.

        Raises:
            MemoryError: if the device has too little memory left.
        """
        views = self.views
        for piece in part.pieces:
            key = id(piece.events)
            if key not in views:
                views[key] = view_of(piece.events, self.is_played)
            if self.repeats and EMPTY not in piece.elsewhere:
                self._play_or_repeat(views[key], piece.elsewhere)
            else:
                self._play(views[key], piece.elsewhere)

    def _play_or_repeat(self, view: View, elsewhere: tuple[int, ...]) -> None:
        """Play some events, or do what they did to the same free blocks before."""
        freed = tuple([self.blocks.get(number) for number in elsewhere])
        before = id(view), tuple(self.large), tuple(self.small), freed
        known = self.known.get(before)
        if known is None:
            segments, allocated, peak = self.next_address, self.allocated, self.peak
            self.peak = allocated
            self._play(view, elsewhere)
            if segments == self.next_address:
                self.known[before] = self._outcome(view, allocated)
            self.peak = max(self.peak, peak)
            return
        for number in elsewhere:
            self.blocks.pop(number, None)
        for number, block in known.left:
            self.blocks[self.made + number] = block
        self.made += view.made
        self.peak = max(self.peak, self.allocated + known.peak)
        self.allocated += known.change
        self.large, self.small = known.large.copy(), known.small.copy()
        self.starts, self.ends = known.starts.copy(), known.ends.copy()

    def _outcome(self, view: View, before: int) -> Outcome:
        """What a view that was just played did; so much was allocated before."""
        first = self.made - view.made
        left = tuple([(number, self.blocks[first + number]) for number, _ in view.left])
        return Outcome(
            left,
            self.peak - before,
            self.allocated - before,
            self.large.copy(),
            self.small.copy(),
            self.starts.copy(),
            self.ends.copy(),
        )

    def _play(self, view: View, elsewhere: tuple[int, ...]) -> None:  # noqa: C901, PLR0912 - one loop, because calls would take most of the time
        allocated, peak, blocks = self.allocated, self.peak, self.blocks
        large, small, starts, ends = self.large, self.small, self.starts, self.ends
        own: list[int] = []
        freed = iter(elsewhere)
        for event in view.events:
            if event > 0:
                free = small if event <= LARGEST_SMALL_UNITS else large
                at = bisect_left(free, event << ADDRESS_BITS)
                if at < len(free):
                    block = free.pop(at)
                    del starts[block & ADDRESS]
                else:
                    block = self.from_device(event)
                size = block >> ADDRESS_BITS
                rest = size - event
                if rest > LARGEST_SMALL_UNITS or (rest and free is small):
                    block -= rest << ADDRESS_BITS
                    address = (block & ADDRESS) + event
                    starts[address] = ends[address + rest] = rest
                    insort(free, rest << ADDRESS_BITS | address)
                    allocated += event
                else:
                    ends.pop((block & ADDRESS) + size, None)
                    allocated += size
                own.append(block)
                if allocated > peak:  # noqa: PLR1730 - a call of max takes longer
                    peak = allocated
                continue
            if event:
                block = own[-1 - event]
            elif (number := next(freed)) == EMPTY:
                self.empty_cache()
                continue
            elif not (block := blocks.pop(number, 0)):
                continue  # it is of a request that is not played
            size, address = block >> ADDRESS_BITS, block & ADDRESS
            allocated -= size
            free = small if size <= LARGEST_SMALL_UNITS else large
            end = address + size
            if other := ends.pop(address, 0):
                address -= other
                del free[bisect_left(free, other << ADDRESS_BITS | address)]
            if other := starts.pop(end, 0):
                del free[bisect_left(free, other << ADDRESS_BITS | end)]
                end += other
            starts[address] = ends[end] = size = end - address
            insort(free, size << ADDRESS_BITS | address)
        for number, place in view.left:
            blocks[self.made + number] = own[place]
        self.made += view.made
        self.allocated, self.peak = allocated, peak

    def from_device(self, size: int) -> int:
        """A segment for a request."""
        wanted = segment_for(size * UNIT) // UNIT
        if self.reserved + wanted > self.capacity:
            self.empty_cache()
            if self.reserved + wanted > self.capacity:
                raise MemoryError
        self.reserved += wanted
        self.peak_reserved = max(self.peak_reserved, self.reserved)
        address = self.next_address
        self.next_address += wanted + 1
        self.segments[address] = wanted
        return wanted << ADDRESS_BITS | address

    def empty_cache(self) -> None:
        """Release every segment that is free as a whole."""
        for address, size in list(self.segments.items()):
            if self.starts.get(address) == size:
                del self.segments[address], self.starts[address], self.ends[address + size]
                free = self.small if size == SMALL_SEGMENT_UNITS else self.large
                del free[bisect_left(free, size << ADDRESS_BITS | address)]
                self.reserved -= size
