"""PyTorch's CUDA caching allocator: the bytes that it allocates and reserves, for one device and one stream.

This is the default native allocator, without expandable segments. Its rules, in bytes:

 1. A request of 0 bytes allocates nothing.
 2. A request is rounded up to a multiple of 512. With `divisions` (roundup_power2_divisions) above 1, a request of more
    than 512 times `divisions` is rounded up to the next of `divisions` equal steps between two powers of two.
 3. There are two pools: small (rounded size up to 1 MiB) and large.
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


class OutOfMemoryError(Exception):
    """The device has no memory for a segment of this size. `at` names the part and phase of the run."""

    at = ""

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes
        super().__init__(f"{nbytes} bytes")


class Block:
    """A part of a segment. `key` orders free blocks: by size, then by address."""

    __slots__ = ("after", "before", "is_free", "is_small", "key")

    def __init__(
        self, key: tuple[int, int, int], *, is_small: bool, before: Block | None, after: Block | None
    ) -> None:
        self.key = key  # size, segment, offset
        self.is_small = is_small
        self.is_free = False
        self.before = before
        self.after = after

    @property
    def nbytes(self) -> int:
        """Its size."""
        return self.key[0]


class Allocator:
    """The allocator of one device.

    Args:
        capacity: bytes of the device; None: unlimited.
        divisions: roundup_power2_divisions.
        max_split: max_split_size_mb, in bytes.
    """

    def __init__(
        self, capacity: int | None = None, *, divisions: int = 0, max_split: int | None = None
    ) -> None:
        self.capacity = capacity
        self.divisions = divisions
        self.max_split = max_split
        self.allocated = self.reserved = 0
        self.peak_allocated = self.peak_reserved = 0
        self._free: tuple[list[tuple[tuple[int, int, int], Block]], ...] = ([], [])
        self._segments = count()

    def reset_peaks(self) -> None:
        """Set the peaks to the present values."""
        self.peak_allocated, self.peak_reserved = self.allocated, self.reserved

    def allocate(self, nbytes: int) -> Block | None:
        """Allocate a block; None for a request of 0 bytes.

        Raises:
            OutOfMemoryError: if the device has too little memory left.
        """
        if not nbytes:
            return None
        size = self.rounded(nbytes)
        is_small = size <= LARGEST_SMALL
        block = self._best_fit(size, is_small=is_small) or self._from_device(size, is_small=is_small)
        rest = block.key[0] - size
        if rest >= UNIT if is_small else rest > LARGEST_SMALL and not self._is_oversize(size):
            self._split(block, size, rest)
        self.allocated += block.key[0]
        self.peak_allocated = max(self.peak_allocated, self.allocated)
        return block

    def free(self, block: Block | None) -> None:
        """Free a block; None does nothing."""
        if block is None:
            return
        size, segment, offset = block.key
        self.allocated -= size
        before, after = block.before, block.after
        if before is not None and before.is_free:
            self._take(before)
            size, offset = size + before.key[0], before.key[2]
            block.before = before.before
            if block.before is not None:
                block.before.after = block
        if after is not None and after.is_free:
            self._take(after)
            size += after.key[0]
            block.after = after.after
            if block.after is not None:
                block.after.before = block
        block.key = (size, segment, offset)
        self._put(block)

    def empty_cache(self) -> None:
        """Release every segment that is free as a whole."""
        for pool in self._free:
            for _, block in list(pool):
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
        _, segment, offset = block.key
        tail = Block((rest, segment, offset + size), is_small=block.is_small, before=block, after=block.after)
        if block.after is not None:
            block.after.before = tail
        block.after, block.key = tail, (size, segment, offset)
        self._put(tail)

    def _put(self, block: Block) -> None:
        block.is_free = True
        insort(self._free[block.is_small], (block.key, block))

    def _take(self, block: Block) -> None:
        pool = self._free[block.is_small]
        del pool[bisect_left(pool, (block.key,))]
        block.is_free = False

    def _best_fit(self, size: int, *, is_small: bool) -> Block | None:
        pool = self._free[is_small]
        at = bisect_left(pool, ((size,),))
        if at == len(pool):
            return None
        block = pool[at][1]
        if self.max_split is not None:
            oversize = self._is_oversize(size)
            if not oversize and self._is_oversize(block.nbytes):
                return None
            if oversize and block.nbytes >= size + SHARED_SEGMENT:
                return None
        del pool[at]
        block.is_free = False
        return block

    def _is_oversize(self, size: int) -> bool:
        return self.max_split is not None and size >= self.max_split

    def _from_device(self, size: int, *, is_small: bool) -> Block:
        wanted = (
            SMALL_SEGMENT
            if is_small
            else SHARED_SEGMENT
            if size < LEAST_OWN
            else -(-size // OWN_STEP) * OWN_STEP
        )
        if not self._has_room(wanted):
            freed = self._give_back_oversize(size, is_small=is_small)
            if not (freed and self._has_room(wanted)):
                self.empty_cache()
        if not self._has_room(wanted):
            raise OutOfMemoryError(wanted)
        self.reserved += wanted
        self.peak_reserved = max(self.peak_reserved, self.reserved)
        return Block((wanted, next(self._segments), 0), is_small=is_small, before=None, after=None)

    def _has_room(self, wanted: int) -> bool:
        return self.capacity is None or self.reserved + wanted <= self.capacity

    def _give_back(self, block: Block) -> None:
        self._take(block)
        self.reserved -= block.nbytes

    def _give_back_oversize(self, size: int, *, is_small: bool) -> bool:
        """Release blocks by rule 10; whether enough was released."""
        if self.max_split is None:
            return False
        pool, wanted, given_back = self._free[is_small], max(size, self.max_split), 0
        at = bisect_left(pool, ((wanted,),))
        if at < len(pool):
            self._give_back(pool[at][1])
            return True
        while pool and given_back < wanted and self._is_oversize(pool[-1][1].nbytes):
            given_back += pool[-1][1].nbytes
            self._give_back(pool[-1][1])
        return given_back >= wanted
