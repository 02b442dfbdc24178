"""Windows over a grid, as in SAM, ViTDet and SAM 2, and shifted windows, as in Swin.

Source: segment-anything, modeling/image_encoder.py; microsoft/Swin-Transformer, models/swin_transformer.py.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..encoder.keys import Pair
from ..encoder.placement import UNSHIFTED


def window_partition(x: Tensor, window: Pair, shift: Pair = UNSHIFTED) -> Tensor:
    """Cut (B, H, W, C) into (B * windows, h, w, C), padding below and to the right with zeros, then shifting.

    The padding comes after norm1: padded tokens take part in the softmax, unmasked.
    """
    x = padded(x, window)
    if shift != UNSHIFTED:
        x = shifted(x, shift)
    return cut(x, window)


def window_unpartition(windows: Tensor, window: Pair, grid: Pair, shift: Pair = UNSHIFTED) -> Tensor:
    """Join (B * windows, h, w, C) to (B, H, W, C), shifting back, then dropping the padding."""
    x = join(windows, window, grid)
    if shift != UNSHIFTED:
        x = shifted_back(x, shift)
    return crop(x, grid)


def padded(x: Tensor, window: Pair) -> Tensor:
    """(B, H, W, C) with zeros below and to the right up to whole windows."""
    (H, W), (h, w) = x.shape[1:3], window
    rest_h, rest_w = -H % h, -W % w
    return F.pad(x, (0, 0, 0, rest_w, 0, rest_h)) if rest_h or rest_w else x


def cut(x: Tensor, window: Pair) -> Tensor:
    """Cut (B, H, W, C), of whole windows, into (B * windows, h, w, C)."""
    (B, H, W, C), (h, w) = x.shape, window
    # (B, rows, h, columns, w, C) -> (B, rows, columns, h, w, C)
    x = x.view(B, H // h, h, W // w, w, C)
    return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, h, w, C)


def join(windows: Tensor, window: Pair, grid: Pair) -> Tensor:
    """Join (B * windows, h, w, C) to (B, H, W, C), padding included."""
    (h, w), (H, W) = window, grid
    rows, columns = -(-H // h), -(-W // w)
    B = windows.shape[0] // (rows * columns)
    # (B, rows, columns, h, w, C) -> (B, rows, h, columns, w, C)
    x = windows.view(B, rows, columns, h, w, -1).permute(0, 1, 3, 2, 4, 5)
    return x.contiguous().view(B, rows * h, columns * w, -1)


def crop(x: Tensor, grid: Pair) -> Tensor:
    """(B, H, W, C) without the padding below and to the right."""
    H, W = grid
    return x[:, :H, :W].contiguous() if x.shape[1:3] != (H, W) else x


def shifted(x: Tensor, shift: Pair) -> Tensor:
    """(B, H, W, C) rolled up and to the left, as Swin's windows are."""
    return torch.roll(x, shifts=(-shift[0], -shift[1]), dims=(1, 2))


def shifted_back(x: Tensor, shift: Pair) -> Tensor:
    """(B, H, W, C) rolled down and to the right."""
    return torch.roll(x, shifts=shift, dims=(1, 2))


def shift_mask(grid: Pair, window: Pair, shift: Pair) -> Tensor:
    """The mask between tokens that only the shift brought into one window: (windows, hw, hw) of 0 and -100.

    A window has tokens of up to four regions: for each axis, those before the border and those rolled around it.

    Source: microsoft/Swin-Transformer, models/swin_transformer.py (attn_mask).
    """
    rows, columns = (_regions(*sides) for sides in zip(grid, window, shift, strict=True))
    region = rows[:, None] * _REGIONS + columns
    of_tokens = cut(region[None, :, :, None], window).flatten(1)  # (windows, hw)
    apart = of_tokens[:, None] != of_tokens[:, :, None]
    return torch.zeros(apart.shape).masked_fill(apart, _APART)


def add_mask(scores: Tensor, mask: Tensor) -> Tensor:
    """Scores (B * windows, h, N, N) plus the mask of their window (windows, N, N)."""
    windows, (M, *rest) = len(mask), scores.shape
    masked = scores.view(M // windows, windows, *rest) + mask.unsqueeze(1).unsqueeze(0)
    return masked.view(-1, *rest)


def of_images(mask: Tensor, M: int) -> Tensor:
    """The mask of each window (windows, N, N), repeated for all images: (M, 1, N, N)."""
    windows, N, _ = mask.shape
    return mask[None, :, None].expand(M // windows, windows, 1, N, N).reshape(M, 1, N, N)


_REGIONS = 3
_APART = -100.0


def _regions(length: int, window: int, shift: int) -> Tensor:
    """The region of each token along one axis: 0; in the last window 1, or 2 if it was rolled around the border."""
    at = torch.arange(-(-length // window) * window)
    return (at >= len(at) - window).long() + (at >= len(at) - shift).long()
