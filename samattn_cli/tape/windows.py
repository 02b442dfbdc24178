"""Windows over a grid on the Tape, shifted ones too; in torch, with the sources: `samattn_cli/stack/windows.py`.

A grid has any number of axes. Shapes are written for two: B batch, H x W grid, h x w window, C width.
"""

from __future__ import annotations

from itertools import chain
from math import prod

from ..encoder.keys import Size
from ..encoder.placement import UNSHIFTED, Windows, each_is
from ..encoder.plan import LayerConfig
from .storage import Dim, Shape
from .tape import Tape
from .tensor import Tensor


def window_partition(tape: Tape, x: Tensor, cuts: Windows, shift: Size = UNSHIFTED) -> Tensor:
    """Cut (B, H, W, C) into (B * windows, h, w, C), padding below and to the right with zeros, then shifting."""
    whole = rolled = padded(tape, x, cuts)
    if not each_is(0, shift):
        rolled = shifted(tape, whole)
        tape.free(whole, keep=x)
    windows = cut(tape, rolled, cuts)
    if rolled is not x:
        tape.free(rolled, keep=windows)
    return windows


def window_unpartition(
    tape: Tape, windows: Tensor, cuts: Windows, grid: Shape, shift: Size = UNSHIFTED
) -> Tensor:
    """Join (B * windows, h, w, C) to (B, H, W, C), shifting back, then dropping the padding."""
    joined = whole = join(tape, windows, cuts)
    if not each_is(0, shift):
        whole = shifted_back(tape, joined)
        tape.free(joined, keep=windows)
    out = crop(tape, whole, grid)
    if out is not whole and whole.storage is not windows.storage:
        tape.free(whole, keep=out)
    return out


def padded(tape: Tape, x: Tensor, cuts: Windows) -> Tensor:
    """(B, H, W, C) with zeros below and to the right up to whole windows."""
    B, *grid, C = x.shape
    return tape.pad("pad", x, B, *cuts.covered, C) if cuts.covered != tuple(grid) else x


def cut(tape: Tape, x: Tensor, cuts: Windows) -> Tensor:
    """Cut (B, H, W, C), of whole windows, into (B * windows, h, w, C)."""
    B, *_, C = x.shape
    sides = chain.from_iterable(zip(cuts.counts, cuts.size, strict=True))
    # (B, rows, h, columns, w, C) -> (B, rows, columns, h, w, C)
    windows = x.view(B, *sides, C).permute(*apart(len(cuts)))
    return tape.contiguous("window_partition", windows).view(B * cuts.number, *cuts.size, C)


def cut_from_copy(tape: Tape, x: Tensor, cuts: Windows) -> Tensor:
    """Windows cut from a padded copy, which is made even where there is nothing to pad: ``F.pad`` by zero copies."""
    B, *_, C = x.shape
    whole = tape.pad("pad", x, B, *cuts.covered, C)
    windows = cut(tape, whole, cuts)
    tape.free(whole, keep=windows)
    return windows


def join(tape: Tape, windows: Tensor, cuts: Windows) -> Tensor:
    """Join (B * windows, h, w, C) to (B, H, W, C), padding included."""
    B, C = windows.shape[0] // cuts.number, windows.shape[-1]
    # (B, rows, columns, h, w, C) -> (B, rows, h, columns, w, C)
    joined = windows.view(B, *cuts.counts, *cuts.size, C).permute(*together(len(cuts)))
    return tape.contiguous("window_unpartition", joined).view(B, *cuts.covered, C)


def apart(axes: int) -> tuple[int, ...]:
    """The order in which windows come before their tokens: (0, 1, 3, 2, 4, 5) for two axes."""
    return 0, *range(1, 2 * axes, 2), *range(2, 2 * axes + 1, 2), 2 * axes + 1


def together(axes: int) -> tuple[int, ...]:
    """The order in which each axis has its windows, then their tokens: (0, 1, 3, 2, 4, 5) for two axes."""
    return 0, *chain.from_iterable((axis, axes + axis) for axis in range(1, axes + 1)), 2 * axes + 1


def crop(tape: Tape, x: Tensor, grid: Shape) -> Tensor:
    """(B, H, W, C) without the padding below and to the right."""
    B, *whole, C = x.shape
    return tape.contiguous("crop", x.narrow((B, *grid, C))) if tuple(whole) != tuple(grid) else x


def shifted(tape: Tape, x: Tensor) -> Tensor:
    """(B, H, W, C) rolled up and to the left, as Swin's windows are."""
    return tape.roll("shift", x, *_axes(x))


def shifted_back(tape: Tape, x: Tensor) -> Tensor:
    """(B, H, W, C) rolled down and to the right."""
    return tape.roll("shift_back", x, *_axes(x))


def _axes(x: Tensor) -> range:
    """The dimensions of (B, H, W, C) that are axes of the grid."""
    return range(1, len(x.shape) - 1)


def shift_mask(tape: Tape, layer: LayerConfig) -> Tensor | None:
    """The mask between tokens that only the shift brought into one window, a buffer: (windows, hw, hw)."""
    if not layer.is_shifted:
        return None
    N = prod(layer.windows.size)
    return tape.buffer(layer.windows.number, N, N)


def add_mask(tape: Tape, scores: Tensor, mask: Tensor) -> Tensor:
    """Scores (B * windows, h, N, N) plus the mask of their window."""
    (M, h, N, _), windows = scores.shape, mask.shape[0]
    out = tape.add("add_mask", scores.view(M // windows, windows, h, N, N), mask.unsqueeze(1).unsqueeze(0))
    return out.view(M, h, N, N)


def of_images(tape: Tape, mask: Tensor, M: Dim) -> Tensor:
    """The mask of each window (windows, N, N), repeated for all images: (M, 1, N, N)."""
    windows, N, _ = mask.shape
    repeated = mask.view(1, windows, 1, N, N).expand_to(M // windows, windows, 1, N, N)
    return tape.reshape("repeat_mask", repeated, M, 1, N, N)


def free_unless_shared(tape: Tape, x: Tensor, kept: tuple[Tensor, ...]) -> None:
    """Free `x`, unless one of the `kept` tensors shares its memory."""
    if all(x.storage is not other.storage for other in kept):
        tape.free(x)
