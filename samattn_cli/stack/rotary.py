"""Rotary positions of a grid: queries and keys are rotated by angles that grow with column and row.

Source: axial RoPE of rope-vit (arXiv:2403.13298) as in SAM 3. Meta's code multiplies by complex numbers, which are a buffer.
Here, as in transformers' models/sam3, cosines and sines are computed in the forward of each block. Coordinates and
frequencies, which are buffers in transformers, are computed there too: before a pass, only weights are in memory.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..encoder.keys import Pair

THETA = 10000.0


def rotations(
    size: Pair,
    scale: tuple[float, float],
    head_dim: int,
    device: torch.device,
    *,
    rows_first: bool = False,
    theta: float = THETA,
    first: int = 0,
) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the angles of H x W tokens: (HW, d) each, in float32.

    Channels are rotated in pairs: the first half of the pairs by the column, the second half by the row, as in SAM 3.

    Args:
        size: tokens (height, width).
        scale: length of a step down, and of a step to the right.
        head_dim: d, channels of a head.
        device: device of the result.
        rows_first: the first half of the pairs by the row, as in EVA-02.
        theta: the base of the frequencies.
        first: the place of the first token along each axis.
    """
    (H, W), quarter = size, head_dim // 4
    frequencies = torch.logspace(0, 4 / head_dim - 1, quarter, theta, dtype=torch.float32, device=device)
    rows = _angles(H, scale[0], frequencies, first)[:, None].expand(H, W, quarter)
    columns = _angles(W, scale[1], frequencies, first).expand(H, W, quarter)
    angles = torch.cat([rows, columns] if rows_first else [columns, rows], dim=-1)  # (H, W, d / 2)
    angles = angles.view(H * W, -1, 1).expand(-1, -1, 2).reshape(H * W, head_dim)
    return angles.cos(), angles.sin()


def _angles(length: int, scale: float, frequencies: Tensor, first: int) -> Tensor:
    """The angles of each place along an axis: (length, d / 4)."""
    places = torch.arange(first, first + length, dtype=torch.float32, device=frequencies.device)
    return places[:, None] * (frequencies * scale)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Queries or keys (..., HW, d) rotated in float32; the result has the type of `x`."""
    wide = x.float()
    return (wide * cos + _quarter_turn(wide) * sin).type_as(x)


def _quarter_turn(x: Tensor) -> Tensor:
    """Each pair of channels (a, b) as (-b, a)."""
    a, b = x.view(*x.shape[:-1], -1, 2).unbind(dim=-1)
    return torch.stack((-b, a), dim=-1).flatten(start_dim=-2)
