"""PyTorch's CUDA caching allocator: the bytes that it allocates and reserves, for one device.

This is the default native allocator; `expandable.py` has expandable segments. Its rules, in bytes:

 1. A request of 0 bytes allocates nothing.
 2. A request is rounded up to a multiple of 512. With `divisions` (roundup_power2_divisions) above 1, a request of more
    than 512 times `divisions` is rounded up to the next of `divisions` equal steps between two powers of two.
 3. Each stream has two pools: small (rounded size up to 1 MiB) and large.
 4. A request takes the smallest free block of its pool that holds it; of equal blocks, the one at the lowest address.
 5. If there is none, a segment is requested from the device: 2 MiB (small), 20 MiB (below 10 MiB), else the rounded size up to
    a multiple of 2 MiB.
 6. A block is split, with the request at its start, if the rest is at least 512 (small) or more than 1 MiB (large). If a
    block is not split, all its bytes count as allocated.
 7. A freed block merges with its free neighbours. Segments stay reserved.
 8. If the device has too little memory left, all free segments are released, and the request is repeated once.
 9. `empty_cache` also releases all free segments.
10. `max_split` (max_split_size_mb): a request below it never takes a free block of that size or more. A request
    of that size or more never splits a block, and takes one only if it is less than 20 MiB larger. If the device has too
    little memory left, the smallest free block that holds the request is released first; if there is none, blocks of
    `max_split` or more, the largest first, until they sum to the request.

Source: c10/cuda/CUDACachingAllocator.cpp of PyTorch 2.14.1; compared with it step by step in a dry run (`device/dry`).
"""

from __future__ import annotations

from bisect import bisect_left, insort
from itertools import count

UNIT = 512
MIB = 1 << 20
LARGEST_SMALL = MIB
SMALL_SEGMENT = 2 * MIB
SHARED_SEGMENT = 20 * MIB
LEAST_OWN = 10 * MIB
OWN_STEP = 2 * MIB
SEGMENT_BITS = 48
"""An address is the number of a segment, and in these low bits an offset: no segment has 256 TiB."""
DEFAULT, GATHERING, REDUCING = 0, 2, 4
"""Streams: torch's default one, and FSDP2's two in which memory is allocated. Each is its large pool; its small one is 1 more."""
POOLS = range(6)
ADDRESS_BITS = 72
"""The key of a free block is its size, and in these low bits its address: at most 16 million segments."""


def segment_for(nbytes: int) -> int:
    """The size of the segment that is requested from the device for a request of rounded size: rule 5."""
    if nbytes <= LARGEST_SMALL:
        return SMALL_SEGMENT
    return SHARED_SEGMENT if nbytes < LEAST_OWN else -(-nbytes // OWN_STEP) * OWN_STEP


class OutOfMemoryError(Exception):
    """The device has no memory for a segment of this size. `at` names the part and phase of the run."""

    at = ""

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes
        super().__init__(f"{nbytes} bytes")


class Block:
    """A part of a segment. Addresses order blocks by segment, and in it by place.

    Attributes:
        pool: the pool that it is of: that of its stream, and 1 more if it is the small one.
        key: of a free block, its place in the order of free blocks: its size, then its address.
        since: of an allocated block, the event in which it was allocated.
        rest: of an allocated block, the bytes beyond the request that were not split off.
    """

    __slots__ = ("address", "after", "before", "is_free", "key", "nbytes", "pool", "rest", "since")
    key: int
    since: int
    rest: int

    def __init__(
        self, nbytes: int, address: int, *, pool: int, before: Block | None, after: Block | None
    ) -> None:
        self.nbytes = nbytes
        self.address = address
        self.pool = pool
        self.is_free = False
        self.before = before
        self.after = after


class Allocator:
    """The allocator of one device.

    Args:
        capacity: bytes of the device; None: unlimited.
        divisions: roundup_power2_divisions.
        max_split: max_split_size_mb, in bytes.

    Attributes:
        events: the history. An allocation is its rounded size plus its kind, which is below 512; a free is -1 minus the
            number of the event of its allocation.
        unsplit: bytes of blocks beyond what was requested, and rounded.
        peak_event: the event of the first peak of allocated bytes since the last reset.
        peak_unsplit: `unsplit` at that event.
    """

    grows = False
    """Whether segments grow, so that a smaller free block may be the better fit."""

    least_rest = LARGEST_SMALL + 1
    """The least bytes that are split off a block of the large pool."""

    def __init__(
        self, capacity: int | None = None, *, divisions: int = 0, max_split: int | None = None
    ) -> None:
        self.capacity = capacity
        self.divisions = divisions
        self.max_split = max_split
        self.allocated = self.reserved = self.unsplit = 0
        self.peak_allocated = self.peak_reserved = self.peak_unsplit = 0
        self.peak_event = 0
        self.events: list[int] = []
        # of each pool: the keys of the free blocks in order, and the blocks by their keys
        self._keys: tuple[list[int], ...] = tuple([] for _ in POOLS)
        self._blocks: tuple[dict[int, Block], ...] = tuple({} for _ in POOLS)
        self._segments = count()

    def reset_peaks(self) -> None:
        """Set the peaks to the present values."""
        self.reset_peak_allocated()
        self.peak_reserved = self.reserved

    def reset_peak_allocated(self) -> None:
        """Set the peak of allocated bytes to the present value."""
        self.peak_allocated, self.peak_unsplit = self.allocated, self.unsplit
        self.peak_event = len(self.events) - 1

    def state(self) -> tuple[object, ...]:
        """What decides its next steps, for the same blocks: equal states go on alike."""
        return self.allocated, self.reserved, *map(tuple, self._keys)

    def allocate(self, nbytes: int, kind: int = 0, stream: int = DEFAULT) -> Block | None:
        """Allocate a block; None for a request of 0 bytes.

        Args:
            nbytes: the size of the request.
            kind: what it is for, a number below 512 that `events` keeps.
            stream: the stream whose pools it is from.

        Raises:
            OutOfMemoryError: if the device has too little memory left.
        """
        if not nbytes:
            return None
        size = self.rounded(nbytes) if self.divisions > 1 else -(-nbytes // UNIT) * UNIT
        is_small = size <= LARGEST_SMALL
        pool = stream + is_small
        block = self._best_fit(size, pool) or self._from_device(size, pool=pool)
        taken = block.nbytes
        rest = taken - size
        if rest:
            if (
                rest >= UNIT
                if is_small
                else rest >= self.least_rest and (self.max_split is None or self._can_split(size))
            ):
                self._split(block, size, rest)
                taken, rest = size, 0
            else:
                self.unsplit += rest
        block.rest = rest
        events = self.events
        block.since = len(events)
        events.append(size + kind)
        self.allocated = allocated = self.allocated + taken
        if allocated > self.peak_allocated:
            self.peak_allocated = allocated
            self.peak_event, self.peak_unsplit = block.since, self.unsplit
        return block

    def free(self, block: Block | None) -> None:
        """Free a block; None does nothing."""
        if block is None:
            return
        self.events.append(-1 - block.since)
        self.allocated -= block.nbytes
        self.unsplit -= block.rest
        before, after = block.before, block.after
        if (before is not None and before.is_free) or (after is not None and after.is_free):
            self._merge_free(block)
        self._put(block)

    def _merge_free(self, block: Block) -> None:
        """Join a block with its free neighbours."""
        before, after = block.before, block.after
        if before is not None and before.is_free:
            self._take(before)
            self._join(block, before)
        if after is not None and after.is_free:
            self._take(after)
            self._join(block, after)

    @staticmethod
    def _join(block: Block, other: Block) -> None:
        """Add a neighbour to a block."""
        block.nbytes += other.nbytes
        if other is block.before:
            block.address, block.before = other.address, other.before
            if block.before is not None:
                block.before.after = block
        else:
            block.after = other.after
            if block.after is not None:
                block.after.before = block

    def empty_cache(self) -> None:
        """Release every segment that is free as a whole."""
        for blocks in self._blocks:
            for block in list(blocks.values()):
                if block.before is None and block.after is None:
                    self._give_back(block)

    def rounded(self, nbytes: int) -> int:
        """The size that a request is rounded up to, in bytes."""
        if self.divisions > 1 and nbytes > UNIT * self.divisions:
            power = 1 << (nbytes.bit_length() - 1)
            step = power // self.divisions
            return nbytes if nbytes == power else -(-nbytes // step) * step
        return -(-nbytes // UNIT) * UNIT

    def _split(self, block: Block, size: int, rest: int) -> None:
        after = block.after
        pool = block.pool
        tail = Block(rest, block.address + size, pool=pool, before=block, after=after)
        if after is not None:
            after.before = tail
        block.after = tail
        block.nbytes = size
        tail.is_free = True
        tail.key = key = rest << ADDRESS_BITS | tail.address
        insort(self._keys[pool], key)
        self._blocks[pool][key] = tail

    def _put(self, block: Block) -> None:
        block.is_free = True
        block.key = key = block.nbytes << ADDRESS_BITS | block.address
        insort(self._keys[block.pool], key)
        self._blocks[block.pool][key] = block

    def _take(self, block: Block) -> None:
        keys, key = self._keys[block.pool], block.key
        del keys[bisect_left(keys, key)]
        del self._blocks[block.pool][key]
        block.is_free = False

    def _best_fit(self, size: int, pool: int) -> Block | None:
        keys = self._keys[pool]
        at = bisect_left(keys, size << ADDRESS_BITS)
        if at == len(keys):
            return None
        if self.grows:
            at = self._place(keys, at, pool=pool)
        block = self._blocks[pool][keys[at]]
        if self.max_split is not None:
            oversize = self._is_oversize(size)
            if not oversize and self._is_oversize(block.nbytes):
                return None
            if oversize and block.nbytes >= size + SHARED_SEGMENT:
                return None
        del self._blocks[pool][keys.pop(at)]
        block.is_free = False
        return block

    def _place(self, keys: list[int], at: int, *, pool: int) -> int:
        """The place of the best of the free blocks from a place on, if segments grow."""
        raise NotImplementedError

    def _can_split(self, size: int) -> bool:
        return not self._is_oversize(size)

    def _is_oversize(self, size: int) -> bool:
        return self.max_split is not None and size >= self.max_split

    def _from_device(self, size: int, *, pool: int) -> Block:
        wanted = segment_for(size)
        if not self._has_room(wanted):
            freed = self._give_back_oversize(size, pool=pool)
            if not (freed and self._has_room(wanted)):
                self.empty_cache()
        if not self._has_room(wanted):
            raise OutOfMemoryError(wanted)
        self.reserved += wanted
        self.peak_reserved = max(self.peak_reserved, self.reserved)
        address = next(self._segments) << SEGMENT_BITS
        self.note("segment_alloc", address, wanted, pool)
        return Block(wanted, address, pool=pool, before=None, after=None)

    def note(self, action: str, address: int, nbytes: int, pool: int) -> None:
        """Memory is taken from the device or given back, by an action's name in torch's memory snapshots; nothing is kept."""

    def _has_room(self, wanted: int) -> bool:
        return self.capacity is None or self.reserved + wanted <= self.capacity

    def _give_back(self, block: Block) -> None:
        self.note("segment_free", block.address, block.nbytes, block.pool)
        self._take(block)
        self.reserved -= block.nbytes

    def _give_back_oversize(self, size: int, *, pool: int) -> bool:
        """Release blocks by rule 10; whether enough was released."""
        if self.max_split is None:
            return False
        keys, blocks = self._keys[pool], self._blocks[pool]
        wanted, given_back = max(size, self.max_split), 0
        at = bisect_left(keys, wanted << ADDRESS_BITS)
        if at < len(keys):
            self._give_back(blocks[keys[at]])
            return True
        while keys and given_back < wanted and self._is_oversize(blocks[keys[-1]].nbytes):
            given_back += blocks[keys[-1]].nbytes
            self._give_back(blocks[keys[-1]])
        return given_back >= wanted
