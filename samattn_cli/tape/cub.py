"""Temporary storage of cub's algorithms on int64: what each asks for, as seen on the dry device with PyTorch 2.14.1."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..units import INT64_BYTES

if TYPE_CHECKING:
    from .inside import Cuda

SORTED_AT_ONCE = 2304
SORT_TILES = ((9.0, 4608), (8.0, 3840), (0.0, 2816))
"""Pairs that a block of cub's radix sort takes, from a compute capability on."""
PASS_BITS = 8
OF_PASS_BYTES, OF_TILE_BYTES = 2048, 1024
ALIGNMENT = 256
AROUND = ALIGNMENT + ALIGNMENT - 1
"""Bytes besides the tables themselves."""
UNIQUE_TILES = {8.0: 1344}
UNIQUE_TILE, UNIQUE_TILE_HOPPER, HOPPER = 320, 4928, 9.0
"""Keys that a block of the selection of unique keys takes: on one compute capability, on others, and from 9.0 on."""
SUM_TILE = 896
"""Numbers that a block of an exclusive sum takes."""
STATE_BYTES, MORE_STATES = 16, 32


def sort_bytes(indices: int, largest: int, cuda: Cuda) -> int:
    """Bytes of cub's radix sort of pairs of 8 bytes each: tables, counters and, for several passes, a copy of the pairs."""
    if indices <= SORTED_AT_ONCE:
        return 1
    tile = next(tile for least, tile in SORT_TILES if cuda.compute_capability >= least)
    passes = -(-max(largest.bit_length(), 1) // PASS_BITS)
    copies = 2 * _aligned(INT64_BYTES * indices) if passes > 1 else 0
    tables = OF_PASS_BYTES * passes + OF_TILE_BYTES * -(-indices // tile)
    return tables + copies + AROUND


def unique_bytes(keys: int, cuda: Cuda) -> int:
    """Bytes of the selection of unique keys, and of where each first is."""
    capability = cuda.compute_capability
    other = UNIQUE_TILE_HOPPER if capability >= HOPPER else UNIQUE_TILE
    return _states_bytes(keys, UNIQUE_TILES.get(capability, other))


def sum_bytes(numbers: int) -> int:
    """Bytes of an exclusive sum."""
    return _states_bytes(numbers, SUM_TILE)


def _states_bytes(numbers: int, tile: int) -> int:
    """The state of each block of a scan."""
    return _aligned(STATE_BYTES * (-(-numbers // tile) + MORE_STATES)) + AROUND


def _aligned(nbytes: int) -> int:
    """Bytes up to the next multiple of 256."""
    return -(-nbytes // ALIGNMENT) * ALIGNMENT
