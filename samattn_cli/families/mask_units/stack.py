"""Hiera: attention in mask units and over all tokens, on tokens in the order of mask units.

Source: facebookresearch/hiera, hiera/hiera.py and hiera_utils.py. Names, values and lifetimes of tensors are those of that
code. "eager" is its attention where torch has no scaled_dot_product_attention. Its softmax over classes in evaluation is left
out. The windowed positions are those of timm, models/hiera.py. Shapes: B batch, N tokens, C and D width before and after a
block, h heads, d = D / h, W mask units (1 for all tokens), T = N / W, s = q_stride ** 2.
"""

from __future__ import annotations

from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...encoder.plan import LayerConfig, PartConfig
from ...stack.norms import NORM_EPS
from ..plain.layer_scale_stack import LayerScale
from ..plain.mlps_stack import Mlp
from .shape import levels, stride


class Block(nn.Module):
    """Pre-norm block. If it changes the width, it projects its shortcut and pools it like its queries."""

    def __init__(self, layer: LayerConfig, kernel: str = "sdpa") -> None:
        super().__init__()
        width = layer.stage.embed_dim
        self.norm1 = nn.LayerNorm(layer.in_dim, eps=NORM_EPS)
        self.attn = Attention(layer, kernel)
        self.ls1 = LayerScale(width) if layer.stage.layer_scale else nn.Identity()
        self.norm2 = nn.LayerNorm(width, eps=NORM_EPS)
        self.mlp = Mlp(width, layer.stage.mlp_dim, nn.GELU)
        self.ls2 = LayerScale(width) if layer.stage.layer_scale else nn.Identity()
        self.proj = nn.Linear(layer.in_dim, width) if layer.in_dim != width else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, N / s, D)."""
        x_norm = self.norm1(x)
        if self.proj is not None:
            x = pool(self.proj(x_norm), self.attn.pooled)
        x = x + self.ls1(self.attn(x_norm))
        return x + self.ls2(self.mlp(self.norm2(x)))


def pool(x: Tensor, pooled: int) -> Tensor:
    """Maxima over squares of tokens, which are slices of the sequence: (B, N, C) -> (B, N / pooled, C)."""
    return x.view(x.shape[0], pooled, -1, x.shape[-1]).max(dim=1).values


class Attention(nn.Module):
    """Multi-head attention in mask units, of queries that may be pooled."""

    def __init__(self, layer: LayerConfig, kernel: str) -> None:
        super().__init__()
        width = layer.stage.embed_dim
        self.num_heads = layer.stage.num_heads
        self.scale = (width // self.num_heads) ** -0.5
        self.pooled = layer.q_stride**2
        self.num_windows = prod(layer.windows.counts)
        self.kernel = kernel
        self.qkv = nn.Linear(layer.in_dim, 3 * width, bias=layer.stage.qkv_bias)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, N / s, D)."""
        B, N, _ = x.shape
        tokens, width = N // self.num_windows, self.proj.in_features
        # (B, N, 3D) -> (B, T, W, 3, h, d) -> (3, B, h, W, T, d)
        qkv = (
            self.qkv(x).reshape(B, tokens, self.num_windows, 3, self.num_heads, -1).permute(3, 0, 4, 2, 1, 5)
        )
        q, k, v = qkv[0], qkv[1], qkv[2]
        if self.pooled > 1:
            q = q.view(*q.shape[:3], self.pooled, -1, q.shape[-1]).max(dim=3).values
        if self.kernel == "eager":
            attn = (q * self.scale) @ k.transpose(-1, -2)
            attn = attn.softmax(dim=-1)
            x = attn @ v
        else:
            x = F.scaled_dot_product_attention(q, k, v)  # of five dimensions
        x = x.transpose(1, 3).reshape(B, -1, width)
        return self.proj(x)


class Positions(nn.Module):
    """A learned vector for each token, then the order of mask units."""

    lets_go = True

    def __init__(self, part: PartConfig) -> None:
        super().__init__()
        (H, W), C = part.entering.grid, part.entering.dim
        self.stride, self.levels = stride(part.config), levels(part.config)
        self.pos_embed = nn.Parameter(torch.zeros(1, H * W, C))

    def forward(self, entering: list[Tensor]) -> Tensor:
        """(B, H, W, C) -> (B, HW, C)."""
        x = entering.pop()
        H, W = x.shape[1:3]
        x = x.flatten(1, 2) + self.pos_embed
        return unroll(x, (H, W), self.stride, self.levels)


def unroll(x: Tensor, grid: tuple[int, int], side: int, levels: int) -> Tensor:
    """Tokens in the order of squares of squares, so that each of them is a slice: (B, HW, C) -> the same."""
    (B, N, C), (H, W) = x.shape, grid
    x = x.view(B, H, W, C)
    for _ in range(levels):
        H, W = H // side, W // side
        x = x.view(-1, H, side, W, side, C).permute(0, 2, 4, 1, 3, 5).flatten(0, 2)
    return x.reshape(-1, N, C)


class WindowedPositions(nn.Module):
    """A background that is resized to the grid plus a window that is repeated over it, then the order of mask units."""

    lets_go = True

    def __init__(self, part: PartConfig) -> None:
        super().__init__()
        width, config = part.entering.dim, part.config
        self.stride, self.levels = stride(config), levels(config)
        self.background = nn.Parameter(torch.zeros(1, width, *config.pos_embed_background))
        self.window = nn.Parameter(torch.zeros(1, width, *config.pos_embed_window))

    def forward(self, entering: list[Tensor]) -> Tensor:
        """(B, H, W, C) -> (B, HW, C)."""
        x = entering.pop()
        H, W = x.shape[1:3]
        x = x.flatten(1, 2) + self._positions((H, W))
        return unroll(x, (H, W), self.stride, self.levels)

    def _positions(self, grid: tuple[int, int]) -> Tensor:
        """(1, HW, C)."""
        times = [side // tile for side, tile in zip(grid, self.window.shape[2:], strict=True)]
        window = self.window.tile(times)
        positions = F.interpolate(self.background, size=grid, mode="bicubic", antialias=True)
        positions = positions + window
        return positions.flatten(2).transpose(1, 2)


class Pool(nn.Module):
    """The mean of all tokens, and its norm."""

    lets_go = True

    def __init__(self, part: PartConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(part.entering.dim, eps=NORM_EPS)

    def forward(self, entering: list[Tensor]) -> Tensor:
        """(B, N, C) -> (B, C)."""
        x = entering.pop().mean(dim=1)
        return self.norm(x)


class Classifier(Pool):
    """The same, and a linear layer."""

    def __init__(self, part: PartConfig) -> None:
        super().__init__(part)
        self.head = nn.Linear(part.entering.dim, part.leaving.dim)

    def forward(self, entering: list[Tensor]) -> Tensor:
        """(B, N, C) -> (B, classes)."""
        x = super().forward(entering)
        return self.head(x)


BLOCKS = {"mask_unit": Block}
POS_EMBEDS = {"mask_units": Positions, "mask_units_window": WindowedPositions}
NECKS = {"hiera_pool": Pool, "hiera_classifier": Classifier}
