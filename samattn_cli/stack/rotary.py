"""Rotary positions of a grid: queries and keys turned by angles that grow with column and row.

Source: axial RoPE of rope-vit (arXiv:2403.13298) as SAM 3 has it. Meta's code multiplies complex numbers and keeps
what it multiplies by as a buffer; here, as in transformers' models/sam3, they are real, and cosines and sines are made
in the forward of each block. Coordinates and frequencies, buffers there, are made with them: nothing but weights is
there before a pass.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..encoder.keys import Pair

THETA = 10000.0


def rotations(
    size: Pair, scale: tuple[float, float], head_dim: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the angles of H x W tokens: (HW, d) each, in float32.

    Two channels at a time turn together; the first half of the pairs by the column, the second by the row.

    Args:
        size: tokens (high, wide).
        scale: what a step down and a step to the right count for.
        head_dim: d, channels of a head.
        device: where to make them.
    """
    (H, W), quarter = size, head_dim // 4
    frequencies = torch.logspace(0, 4 / head_dim - 1, quarter, THETA, dtype=torch.float32, device=device)
    rows = _angles(H, scale[0], frequencies)[:, None].expand(H, W, quarter)
    columns = _angles(W, scale[1], frequencies).expand(H, W, quarter)
    angles = torch.cat([columns, rows], dim=-1)  # (H, W, d / 2)
    angles = angles.view(H * W, -1, 1).expand(-1, -1, 2).reshape(H * W, head_dim)
    return angles.cos(), angles.sin()


def _angles(length: int, scale: float, frequencies: Tensor) -> Tensor:
    """Of each place along an axis: (length, d / 4)."""
    places = torch.arange(length, dtype=torch.float32, device=frequencies.device)
    return places[:, None] * (frequencies * scale)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Queries or keys (..., HW, d) turned, in float32: in the type of `x` again."""
    wide = x.float()
    return (wide * cos + _quarter_turn(wide) * sin).type_as(x)


def _quarter_turn(x: Tensor) -> Tensor:
    """Each pair of channels (a, b) as (-b, a)."""
    a, b = x.view(*x.shape[:-1], -1, 2).unbind(dim=-1)
    return torch.stack((-b, a), dim=-1).flatten(start_dim=-2)
