"""Windows over a grid, as SAM, ViTDet and SAM 2 cut them. Source: segment-anything, modeling/image_encoder.py."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ..config.keys import Pair


def window_partition(x: Tensor, window: Pair) -> Tensor:
    """Cut (B, H, W, C) into (B * windows, h, w, C), padding below and to the right with zeros.

    The padding comes after norm1: padded tokens take part in the softmax, unmasked.
    """
    B, H, W, C = x.shape
    h, w = window
    rest_h, rest_w = -H % h, -W % w
    if rest_h or rest_w:
        x = F.pad(x, (0, 0, 0, rest_w, 0, rest_h))
    # (B, rows, h, columns, w, C) -> (B, rows, columns, h, w, C)
    x = x.view(B, (H + rest_h) // h, h, (W + rest_w) // w, w, C)
    return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, h, w, C)


def window_unpartition(windows: Tensor, window: Pair, grid: Pair) -> Tensor:
    """Join (B * windows, h, w, C) to (B, H, W, C), dropping the padding."""
    x = join(windows, window, grid)
    B, rows, h, columns, w, C = x.shape
    x = x.contiguous().view(B, rows * h, columns * w, C)
    H, W = grid
    if rows * h > H or columns * w > W:
        x = x[:, :H, :W].contiguous()
    return x


def join(windows: Tensor, window: Pair, grid: Pair) -> Tensor:
    """(B * windows, h, w, C) as a view in the order of the grid, (B, rows, h, columns, w, C)."""
    (h, w), (H, W) = window, grid
    rows, columns = -(-H // h), -(-W // w)
    B = windows.shape[0] // (rows * columns)
    # (B, rows, columns, h, w, C) -> (B, rows, h, columns, w, C)
    return windows.view(B, rows, columns, h, w, -1).permute(0, 1, 3, 2, 4, 5)
