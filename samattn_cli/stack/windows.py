"""Windows over a grid, as in SAM, ViTDet and SAM 2, and shifted windows, as in Swin.

A grid has any number of axes. Shapes are written for two: B batch, H x W grid, h x w window, C width.

Source: segment-anything, modeling/image_encoder.py; microsoft/Swin-Transformer, models/swin_transformer.py.
"""

from __future__ import annotations

from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from ..encoder.keys import Size
from ..encoder.placement import UNSHIFTED


def window_partition(x: Tensor, window: Size, shift: Size = UNSHIFTED) -> Tensor:
    """Cut (B, H, W, C) into (B * windows, h, w, C), padding below and to the right with zeros, then shifting.

    The padding comes after norm1: padded tokens take part in the softmax, unmasked.
    """
    x = padded(x, window)
    if any(shift):
        x = shifted(x, shift)
    return cut(x, window)


def window_unpartition(windows: Tensor, window: Size, grid: Size, shift: Size = UNSHIFTED) -> Tensor:
    """Join (B * windows, h, w, C) to (B, H, W, C), shifting back, then dropping the padding."""
    x = join(windows, window, grid)
    if any(shift):
        x = shifted_back(x, shift)
    return crop(x, grid)


def padded(x: Tensor, window: Size) -> Tensor:
    """(B, H, W, C) with zeros below and to the right up to whole windows."""
    rests = [-whole % side for whole, side in zip(x.shape[1:-1], window, strict=True)]
    last_first = (part for rest in reversed(rests) for part in (0, rest))
    return F.pad(x, (0, 0, *last_first)) if any(rests) else x


def cut(x: Tensor, window: Size) -> Tensor:
    """Cut (B, H, W, C), of whole windows, into (B * windows, h, w, C)."""
    (B, *grid, C), axes = x.shape, len(window)
    sides = [part for whole, side in zip(grid, window, strict=True) for part in (whole // side, side)]
    # (B, rows, h, columns, w, C) -> (B, rows, columns, h, w, C)
    x = x.view(B, *sides, C)
    order = (0, *range(1, 2 * axes, 2), *range(2, 2 * axes + 1, 2), 2 * axes + 1)
    return x.permute(order).contiguous().view(-1, *window, C)


def join(windows: Tensor, window: Size, grid: Size) -> Tensor:
    """Join (B * windows, h, w, C) to (B, H, W, C), padding included."""
    axes, counts = len(window), [-(-whole // side) for whole, side in zip(grid, window, strict=True)]
    B = windows.shape[0] // prod(counts)
    order = (0, *(dim for axis in range(1, axes + 1) for dim in (axis, axes + axis)), 2 * axes + 1)
    # (B, rows, columns, h, w, C) -> (B, rows, h, columns, w, C)
    x = windows.view(B, *counts, *window, -1).permute(order)
    return x.contiguous().view(B, *(count * side for count, side in zip(counts, window, strict=True)), -1)


def crop(x: Tensor, grid: Size) -> Tensor:
    """(B, H, W, C) without the padding below and to the right."""
    if x.shape[1:-1] == grid:
        return x
    corner = (slice(None), *map(slice, grid))
    return x[corner].contiguous()


def shifted(x: Tensor, shift: Size) -> Tensor:
    """(B, H, W, C) rolled up and to the left, as Swin's windows are."""
    return torch.roll(x, shifts=[-by for by in shift], dims=[*range(1, len(shift) + 1)])


def shifted_back(x: Tensor, shift: Size) -> Tensor:
    """(B, H, W, C) rolled down and to the right."""
    return torch.roll(x, shifts=shift, dims=[*range(1, len(shift) + 1)])


def shift_mask(grid: Size, window: Size, shift: Size) -> Tensor:
    """The mask between tokens that only the shift brought into one window: (windows, hw, hw) of 0 and -100.

    A window has tokens of up to two regions for each axis: those before the border and those rolled around it.

    Source: microsoft/Swin-Transformer, models/swin_transformer.py (attn_mask).
    """
    first, *others = (_regions(*sides) for sides in zip(grid, window, shift, strict=True))
    region = first
    for along in others:
        region = region[..., None] * _REGIONS + along
    of_tokens = cut(region[None, ..., None], window).flatten(1)  # (windows, hw)
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
