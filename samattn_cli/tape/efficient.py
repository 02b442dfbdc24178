"""The workspace of memory-efficient attention on CUDA, forward and backward.

Sources: kernel_forward.h (kNeedsOutputAccumulatorBuffer), attention_backward.cu (delta, num_splits_key) and kernel_backward.h (workspace_elements_gk, _gv and _gq,
GradQTempStorage) of ATen, and the sizes of tiles of the kernels that are compiled from it, as seen over the dry device of
torch 2.14.1: compute capability 7.5 to 12.0, heads of 32 to 256.
"""

from __future__ import annotations

import math

from .immutable import immutable
from .storage import Dim
from .symbols.formula import greatest
from .tape import STATISTIC_BYTES
from .tensor import ceil_div

HALF_BYTES = 2
TILE = 64  # the smaller side of tiles, in rows or columns; the other is as large or twice that
TILE_HEAD = 4  # a lock, a counter and padding, in numbers
MOST_SMALL_DIM, MOST_MEDIUM_DIM, MOST_LARGE_DIM = 64, 96, 128  # heads for which kernels are compiled
MOST_SPLITS = 200  # over all heads, where the gradients of keys and values are accumulated


@immutable(frozen=True, eq=True)
class EfficientWorkspace:
    """Workspace of the memory-efficient kernel's backward, in bytes.

    Attributes:
        sums: row sums of the gradient times the output, in float32.
        product: the gradient times the output, from which the sums are computed first; 0 where the kernel computes them.
        tiles: gradients in float32: of the queries in whole tiles, each with a lock and a counter; of the keys and values
            where registers cannot hold them.
    """

    sums: Dim
    product: Dim
    tiles: Dim

    @property
    def nbytes(self) -> Dim:
        """The most at once: the sums are copied while the product is there, and stay until the tiles are freed."""
        return greatest((self.sums + self.tiles, *([self.product + 2 * self.sums] if self.product else [])))


@immutable(frozen=True, eq=True)
class Tiles:
    """The tiles of a kernel.

    Attributes:
        rows: of queries.
        columns: of the head dimension, in the gradient of the queries.
        accumulates: whether the gradients of keys and values are accumulated in the workspace.
    """

    rows: int
    columns: int
    accumulates: bool = False


def efficient_workspace(
    shape: tuple[Dim, ...],
    keys: Dim,
    value_dim: Dim,
    item_bytes: Dim,
    *,
    is_roomy: bool = True,
    is_turing: bool = False,
) -> EfficientWorkspace:
    """Workspace of the memory-efficient kernel's backward.

    Args:
        shape: of the queries, (B, h, N, d).
        keys: number of keys of a head.
        value_dim: the head dimension of the values.
        item_bytes: bytes of a number.
        is_roomy: whether blocks may have more than 100 KiB of shared memory: compute capability 8.0, 8.7, 9.0, 10.0.
        is_turing: whether the compute capability is below 8.0.
    """
    B, h, N, d = shape
    is_half = item_bytes == HALF_BYTES
    widest = max(d, value_dim)
    tiles = _tiles(widest, is_half=is_half, is_roomy=is_roomy, is_turing=is_turing)
    heads_bytes = B * h * STATISTIC_BYTES
    per_head = ceil_div(N, tiles.rows) * ceil_div(d, tiles.columns) * (tiles.rows * tiles.columns + TILE_HEAD)
    if tiles.accumulates:
        width = (ceil_div(d, tiles.rows) + ceil_div(value_dim, tiles.rows)) * tiles.rows
        per_head += _splits(B * h, keys) * TILE * width
    return EfficientWorkspace(
        sums=heads_bytes * N,
        product=0 if is_half else heads_bytes * N * value_dim,
        tiles=heads_bytes * per_head,
    )


def accumulator_bytes(shape: tuple[Dim, ...], query_dim: Dim, item_bytes: Dim) -> Dim:
    """The output in float32, in which the forward of large heads in 16 bits accumulates.

    Args:
        shape: of the output, (B, h, N, e).
        query_dim: the head dimension of the queries and keys.
        item_bytes: bytes of a number of the output.
    """
    large = item_bytes == HALF_BYTES and max(query_dim, shape[-1]) > MOST_LARGE_DIM
    return math.prod(shape) * STATISTIC_BYTES if large else 0


def _tiles(widest: Dim, *, is_half: bool, is_roomy: bool, is_turing: bool) -> Tiles:
    """The tiles of the kernel for heads of at most this dimension."""
    if widest <= MOST_SMALL_DIM:
        return Tiles(TILE, TILE)
    if not is_half:
        return Tiles(2 * TILE if is_roomy else TILE, TILE)
    if widest > MOST_LARGE_DIM:
        return Tiles(2 * TILE, TILE, accumulates=True)
    if is_roomy:
        return Tiles(2 * TILE, 2 * TILE)
    if widest <= MOST_MEDIUM_DIM or is_turing:
        return Tiles(2 * TILE, TILE)
    return Tiles(TILE, TILE, accumulates=True)


def _splits(heads: Dim, keys: Dim) -> Dim:
    """The parts that keys are split into: one for each tile, but at most `MOST_SPLITS` over all heads, and one."""
    blocks, most = ceil_div(keys, TILE), greatest((1, MOST_SPLITS // heads))
    return blocks + most - greatest((blocks, most))
