"""The caching allocator with `expandable_segments:True`: the same pools, whose segments grow by pages.

Where its rules differ from those of `allocator.py`:

- Each pool has one segment, whose addresses are reserved, for nine eighths of the device's memory, and whose pages are mapped
  on demand: 2 MiB each (small) or 20 MiB (large). What is reserved are mapped pages. Where addresses run out, another follows.
- A block is split wherever at least 512 bytes are left.
- A free block before unmapped addresses counts as large as it can grow when the best fit is sought.
- If no free block holds a request, the first place is taken where free blocks and unmapped addresses suffice, and what is
  unmapped there is mapped.
- When the cache is emptied, pages that lie whole in free blocks are unmapped.

Source: c10/cuda/CUDACachingAllocator.cpp of PyTorch 2.14.1, get_free_block, find_expandable_block, map_block, unmap_block;
compared with it step by step in a dry run.
"""

from __future__ import annotations

from bisect import insort
from operator import attrgetter

from .allocator import (
    POOLS,
    SEGMENT_BITS,
    SHARED_SEGMENT,
    SMALL_SEGMENT,
    UNIT,
    Allocator,
    Block,
    OutOfMemoryError,
)

ADDRESSES = 1 << (SEGMENT_BITS - 1)
OFFSET = (1 << SEGMENT_BITS) - 1


class ExpandableAllocator(Allocator):
    """The allocator of one device, whose segments grow."""

    grows = True
    least_rest = UNIT

    def __init__(
        self, capacity: int | None = None, *, divisions: int = 0, max_split: int | None = None
    ) -> None:
        super().__init__(capacity, divisions=divisions, max_split=max_split)
        self._unmapped: tuple[list[Block], ...] = tuple([] for _ in POOLS)  # in the order of addresses

    def empty_cache(self) -> None:
        """Unmap every page that lies whole in a free block."""
        for blocks in self._blocks:
            for block in list(blocks.values()):
                self._unmap(block)

    def _can_split(self, size: int) -> bool:  # noqa: ARG002 - of any size
        return True

    def _grown_size(self, block: Block) -> int:
        after = block.after
        return block.nbytes + (after.nbytes if after is not None and self._is_unmapped(after) else 0)

    def _is_unmapped(self, block: Block) -> bool:
        return block in self._unmapped[block.pool]

    def _place(self, keys: list[int], at: int, *, pool: int) -> int:
        blocks = self._blocks[pool]
        while at + 1 < len(keys) and self._grown_size(blocks[keys[at + 1]]) < self._grown_size(
            blocks[keys[at]]
        ):
            at += 1
        return at

    def _from_device(self, size: int, *, pool: int) -> Block:
        block = self._grown(size, pool=pool)
        if block is None:
            self.empty_cache()
            block = self._grown(size, pool=pool)
        if block is None:
            raise OutOfMemoryError(size)
        return block

    def _grown(self, size: int, *, pool: int) -> Block | None:
        """A block of at least this size at the first place where there is room; None if memory runs out."""
        block = self._room_for(size, pool=pool)
        if self._is_unmapped(block) and not self._map(block, min(block.nbytes, size)):
            return None
        while block.nbytes < size:
            more = block.after
            if more is None or not self._map(more, min(size - block.nbytes, more.nbytes)):
                return None
            block = more
        self._take(block)
        return block

    def _room_for(self, size: int, *, pool: int) -> Block:
        for unmapped in self._unmapped[pool]:
            before = unmapped.before
            first = before if before is not None and before.is_free else unmapped
            room, block = 0, first
            while block is not None and room < size and (block.is_free or self._is_unmapped(block)):
                room += block.nbytes
                block = block.after  # type: ignore[assignment]
            if room >= size:
                return first
        address = next(self._segments) << SEGMENT_BITS
        segment = Block(self._addresses(pool=pool), address, pool=pool, before=None, after=None)
        self._unmapped[pool].append(segment)
        return segment

    def _addresses(self, *, pool: int) -> int:
        """The addresses of a segment: pages for nine eighths of the device's memory."""
        if self.capacity is None:
            return ADDRESSES
        page = SMALL_SEGMENT if pool & 1 else SHARED_SEGMENT
        return -(-(self.capacity + self.capacity // 8) // page) * page

    def _map(self, block: Block, size: int) -> bool:
        """Map whole pages at the start of an unmapped block, which then is free; whether there was memory."""
        page = SMALL_SEGMENT if block.pool & 1 else SHARED_SEGMENT
        mapped = -(-size // page) * page
        if not self._has_room(mapped):
            return False
        self.note("segment_map", block.address, mapped, block.pool)
        self._unmapped[block.pool].remove(block)
        if mapped < block.nbytes:
            self._add_unmapped(self._cut(block, mapped))
        self.reserved += mapped
        self.peak_reserved = max(self.peak_reserved, self.reserved)
        self._merge_free(block)
        self._put(block)
        return True

    def _unmap(self, block: Block) -> None:
        page = SMALL_SEGMENT if block.pool & 1 else SHARED_SEGMENT
        offset = block.address & OFFSET
        first, end = -(-offset // page) * page, (offset + block.nbytes) // page * page
        if first >= end:
            return
        self._take(block)
        if end < offset + block.nbytes:
            self._put(self._cut(block, end - offset))
        if first > offset:
            rest = self._cut(block, first - offset)
            self._put(block)
            block = rest
        self.reserved -= end - first
        self.note("segment_unmap", block.address, end - first, block.pool)
        for other in (block.before, block.after):
            if other is not None and self._is_unmapped(other):
                self._unmapped[block.pool].remove(other)
                self._join(block, other)
        self._add_unmapped(block)

    def _add_unmapped(self, block: Block) -> None:
        insort(self._unmapped[block.pool], block, key=attrgetter("address"))

    @staticmethod
    def _cut(block: Block, nbytes: int) -> Block:
        """Leave so many bytes in a block; returns the rest, which is its neighbour."""
        after = block.after
        rest = Block(
            block.nbytes - nbytes, block.address + nbytes, pool=block.pool, before=block, after=after
        )
        if after is not None:
            after.before = rest
        block.after, block.nbytes = rest, nbytes
        return rest
