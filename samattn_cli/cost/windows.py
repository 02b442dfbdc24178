"""Windows over a grid on the Tape, as SAM, ViTDet and SAM 2 cut them; in torch: `samattn_cli/nn/windows.py`."""

from __future__ import annotations

from ..config.keys import Pair
from .tape import Tape
from .tensor import Shape, Tensor, ceil_div, decide


def windows_over(grid: Shape, window: Pair) -> Shape:
    """Windows that cover a grid: (rows, columns); the last of each may reach beyond it, over padding."""
    return ceil_div(grid[0], window[0]), ceil_div(grid[1], window[1])


def window_partition(tape: Tape, x: Tensor, window: Pair) -> Tensor:
    """Cut (B, H, W, C) into (B * windows, h, w, C), padding below and to the right with zeros."""
    (B, H, W, C), (h, w) = x.shape, window
    rows, columns = windows_over((H, W), window)
    padded = x
    if decide(rows * h != H) or decide(columns * w != W):
        padded = tape.pad("pad", x, B, rows * h, columns * w, C)
    # (B, rows, h, columns, w, C) -> (B, rows, columns, h, w, C)
    cut = padded.view(B, rows, h, columns, w, C).permute(0, 1, 3, 2, 4, 5)
    windows = tape.contiguous("window_partition", cut)
    if padded is not x:
        tape.free(padded, keep=windows)
    return windows.view(B * rows * columns, h, w, C)


def window_unpartition(tape: Tape, windows: Tensor, window: Pair, grid: Shape) -> Tensor:
    """Join (B * windows, h, w, C) to (B, H, W, C), dropping the padding."""
    parts, (H, W) = join(windows, window, grid), grid
    B, rows, h, columns, w, C = parts.shape
    joined = tape.contiguous("window_unpartition", parts).view(B, rows * h, columns * w, C)
    if not (decide(rows * h != H) or decide(columns * w != W)):
        return joined
    out = tape.contiguous("crop", joined.narrow((B, H, W, C)))
    if joined.storage is not windows.storage:
        tape.free(joined, keep=out)
    return out


def join(windows: Tensor, window: Pair, grid: Shape) -> Tensor:
    """(B * windows, h, w, C) as a view in the order of the grid, (B, rows, h, columns, w, C)."""
    (h, w), C = window, windows.shape[-1]
    rows, columns = windows_over(grid, window)
    B = windows.shape[0] // (rows * columns)
    # (B, rows, columns, h, w, C) -> (B, rows, h, columns, w, C)
    return windows.view(B, rows, columns, h, w, C).permute(0, 1, 3, 2, 4, 5)
