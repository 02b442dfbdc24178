"""MiniCPM-V 4.6's and Muse Glimmer's vision encoders: packed sequences of any aspect ratio, plain blocks.

Source: transformers 5.23.0, models/minicpmv4_6/modeling_minicpmv4_6.py, models/muse_glimmer/modeling_muse_glimmer.py and
vision_utils.py. Operations and lifetimes of tensors are those of that code; attention runs over one image or window after the
other, like its "eager" and "sdpa". What depends on the image's size only is computed on the host and copied to the device.
There are these differences: lengths of images and windows are Python integers in attention; Muse Glimmer's tokens before its
first norm are freed. Shapes: T tokens of all images, C width, h heads, d = C / h.
"""

from __future__ import annotations

from functools import partial
from math import prod

import torch
from torch import Tensor, nn

from ...encoder.keys import Pair
from ...encoder.model import StageConfig
from ...encoder.plan import LayerConfig, PartConfig
from ...records import replace
from ...stack.norms import NORM_EPS
from ..plain.mlps_stack import MLPS
from ..qwen2_5_vl.stack import OneByOne, rotations, turned, windows
from ..qwen2_5_vl.words import FRAMES, window_of
from .words import MERGER, MINICPM, MUSE, SHUFFLE, SIDE, SQUARE

MUSE_EPS = 1e-5


class PatchesInARow(nn.Module):
    """Patches next to each other to vectors, as a convolution."""

    def __init__(self, part: PartConfig) -> None:
        super().__init__()
        patch = part.config.patch_size
        self.proj = nn.Conv2d(part.config.in_chans, part.leaving.dim, kernel_size=patch, stride=patch)

    def forward(self, x: Tensor) -> Tensor:
        """(1, in_chans, p, T * p) -> (T, C), transposed in memory."""
        return self.proj(x).flatten(2).transpose(1, 2).squeeze(0)


class FlatPatches(nn.Module):
    """Flattened patches of two frames to vectors, without a bias."""

    def __init__(self, part: PartConfig) -> None:
        super().__init__()
        numbers = part.config.in_chans * FRAMES * part.config.patch_size**2
        self.proj = nn.Linear(numbers, part.leaving.dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(T, in_chans * 2 * p * p) -> (T, C)."""
        return self.proj(x)


class NearestPositions(nn.Module):
    """Adds to each token the nearest of the learned vectors; returns the ends of images too, (images + 1)."""

    def __init__(self, part: PartConfig) -> None:
        super().__init__()
        config = part.config
        self.grid, self.made_for, self.images = config.grid, config.pretrain_grid, config.run.batch_size
        self.position_embedding = nn.Embedding(prod(self.made_for), part.entering.dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(T, C) -> (T, C), and the ends."""
        x = self._placed(x)
        return x, ends_of(prod(self.grid), self.images).to(x.device)

    def _placed(self, x: Tensor) -> Tensor:
        index = nearest(self.grid, self.made_for).repeat(self.images).to(x.device)
        positions = self.position_embedding(index)
        return x + positions


def ends_of(tokens: int, images: int) -> Tensor:
    """Where each of the images, of so many tokens, begins and ends, on the host: (images + 1) in int32."""
    return torch.arange(0, tokens * images + 1, tokens, dtype=torch.int32, device="cpu")


def nearest(grid: Pair, made_for: Pair) -> Tensor:
    """The place of the nearest learned vector for each token of an image: (HW)."""
    axes = []
    for length, side in zip(grid, made_for, strict=True):
        boundaries = torch.arange(1 / side, 1.0, 1 / side, device="cpu", dtype=torch.float32)
        places = torch.arange(length, device="cpu", dtype=torch.float32) / length
        axes.append(torch.bucketize(places, boundaries, right=True))
    rows, columns = axes
    return (rows[:, None] * made_for[1] + columns).flatten()


class OrderedPositions(nn.Module):
    """Muse Glimmer's: learned positions, a norm, the order of windows, and the cosines and sines of a head."""

    lets_go = True

    def __init__(self, part: PartConfig) -> None:
        super().__init__()
        config, stage = part.config, part.config.stages[0]
        self.grid, self.made_for, self.images = config.grid, config.pretrain_grid, config.run.batch_size
        self.window_size, self.head_dim = window_of(config), stage.embed_dim // stage.num_heads
        self.position_embedding = nn.Embedding(prod(self.made_for), part.entering.dim)
        self.ln_pre = nn.LayerNorm(part.entering.dim, eps=MUSE_EPS)

    def forward(self, entering: list[Tensor]) -> tuple[Tensor, ...]:
        """(T, C) -> the tokens in the order of windows, cosines and sines (T, d), and the order (T)."""
        x = self._placed(entering)
        x = self.ln_pre(x)
        order = order_of(self.grid, self.window_size, self.images)
        places = places_in(order, self.grid).to(x.device)
        order = order.to(x.device)
        x = x[order]
        cos, sin = rotations(places, self.head_dim)
        cos, sin = cos.to(x.dtype), sin.to(x.dtype)
        return x, cos, sin, order

    def _placed(self, entering: list[Tensor]) -> Tensor:
        taps, shares = taps_of(self.grid, self.made_for)
        taps, shares = (each.repeat(self.images, 1).to(entering[0].device) for each in (taps, shares))
        positions = (self.position_embedding(taps) * shares[:, :, None]).sum(1)
        x = entering.pop()
        return x + positions.to(x.dtype)


def order_of(grid: Pair, size: Pair, images: int) -> Tensor:
    """The tokens of all images in the order of windows, on the host: (T)."""
    one = torch.cat(windows(grid, size, merge=1))
    return torch.cat([one + image * len(one) for image in range(images)])


def places_in(order: Tensor, grid: Pair) -> Tensor:
    """Column and row, from 1, of each token in an order: (T, 2)."""
    inside = order % prod(grid)
    return torch.stack([inside % grid[1] + 1, inside // grid[1] + 1], dim=-1)


def taps_of(grid: Pair, made_for: Pair) -> tuple[Tensor, Tensor]:
    """For each token of an image the places of four learned vectors, and their shares: (HW, 4) each.

    As F.grid_sample shares them (bilinear, align_corners=False, padding_mode="zeros").
    """
    (rows, of_rows), (columns, of_columns) = map(_along, grid, made_for)
    taps = rows[:, None, :, None] * made_for[1] + columns[None, :, None, :]  # (H, W, 2, 2)
    shares = of_rows[:, None, :, None] * of_columns[None, :, None, :]
    return taps.reshape(-1, SQUARE), shares.reshape(-1, SQUARE)


def _along(length: int, side: int) -> tuple[Tensor, Tensor]:
    """The two nearest places of an axis, and their shares, which are 0 outside: (length, 2) each."""
    at = (torch.arange(length, device="cpu", dtype=torch.float32) + 0.5) * side / length - 0.5
    first = torch.floor(at)
    places = first.long()[:, None] + torch.arange(2, device="cpu")
    shares = (1 - (at[:, None] - places).abs()).clamp(min=0) * ((places >= 0) & (places < side))
    return places.clamp(0, side - 1), shares


class Attention(OneByOne):
    """Multi-head self-attention of one image or window after the other, with a projection each for queries, keys, values."""

    def __init__(self, stage: StageConfig, lengths: tuple[int, ...], kernel: str) -> None:
        super().__init__(stage, lengths, kernel)
        C, bias = stage.embed_dim, stage.qkv_bias
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(C, C, bias=bias) for _ in "qkv")
        self.proj = nn.Linear(C, C)

    def forward(self, x: Tensor, *angles: Tensor) -> Tensor:
        """(T, C), with cosines and sines (T, d) or without -> (T, C)."""
        q, k, v = (
            proj(x).view(len(x), -1, self.head_dim) for proj in (self.q_proj, self.k_proj, self.v_proj)
        )
        if angles:
            q, k = turned(q, k, *angles)
        return self.by_windows(q, k, v)


class Block(nn.Module):
    """Pre-norm block: attention over images or their windows, then an MLP, each with its shortcut.

    Args:
        layer: its config.
        kernel: "eager" or "sdpa".
        eps: of the norms.
        rotates: whether its queries and keys are rotated.
    """

    def __init__(self, layer: LayerConfig, kernel: str, *, eps: float, rotates: bool) -> None:
        super().__init__()
        stage, self.rotates = layer.stage, rotates
        lengths = tuple(len(window) for window in windows(layer.grid, layer.windows.size, merge=1))
        self.norm1 = nn.LayerNorm(stage.embed_dim, eps=eps)
        self.norm2 = nn.LayerNorm(stage.embed_dim, eps=eps)
        self.attn = Attention(stage, lengths, kernel)
        self.mlp = MLPS[stage.mlp](stage.embed_dim, stage.mlp_dim)

    def forward(self, x: Tensor, *taps: Tensor) -> Tensor:
        """(T, C), with what pos_embed made besides -> (T, C)."""
        x = x + self.attn(self.norm1(x), *(taps[:2] if self.rotates else ()))
        return x + self.mlp(self.norm2(x))


class WindowMerger(nn.Module):
    """Attention in windows of 2x2 tokens, then an MLP from each window to one token; their mean is the shortcut."""

    def __init__(self, part: PartConfig) -> None:
        super().__init__()
        stage = stage_before(part)
        self.grid, self.images = part.entering.grid, part.config.run.batch_size
        C, merged = stage.embed_dim, SQUARE * stage.embed_dim
        self.attn = Attention(_with_bias(stage), (SQUARE,), part.config.run.attention)
        self.norm1 = nn.LayerNorm(C, eps=NORM_EPS)
        self.pre_norm = nn.LayerNorm(merged, eps=NORM_EPS)
        self.linear_1 = nn.Linear(merged, SQUARE * stage.mlp_dim)
        self.act = nn.GELU(approximate="tanh")
        self.linear_2 = nn.Linear(SQUARE * stage.mlp_dim, C)

    def forward(self, x: Tensor, _ends: Tensor) -> Tensor:
        """(T, C) -> (T / 4, C)."""
        normed = self.norm1(x)
        order = order_of(self.grid, (SIDE, SIDE), self.images).to(x.device)
        normed = normed[order]
        attended = self.attn(normed)
        del normed
        attended = x[order] + attended
        squares = attended.view(-1, SQUARE, x.shape[-1])
        flat = squares.flatten(1)
        mean = squares.mean(dim=1)
        y = self.pre_norm(flat)
        y = self.linear_1(y)
        y = self.act(y)
        y = self.linear_2(y)
        return y + mean


def _with_bias(stage: StageConfig) -> StageConfig:
    return replace(stage, qkv_bias=True)


def stage_before(part: PartConfig) -> StageConfig:
    """The stage before a transition."""
    return part.config.stages[int(part.name.rpartition(".")[2]) - 1]


class PixelShuffle(nn.Module):
    """The order of the image again, a norm, and the channels of 2x2 tokens next to each other."""

    lets_go = True

    def __init__(self, part: PartConfig) -> None:
        super().__init__()
        self.grid, self.images = part.entering.grid, part.config.run.batch_size
        self.ln_post = nn.LayerNorm(part.entering.dim, eps=MUSE_EPS)

    def forward(self, entering: list[Tensor], _cos: Tensor, _sin: Tensor, order: Tensor) -> Tensor:
        """(T, C) -> (T / 4, 4 * C)."""
        back = torch.argsort(order)
        x = entering.pop()
        x = x[back]
        x = self.ln_post(x)
        return self._shuffled(x)

    def _shuffled(self, x: Tensor) -> Tensor:
        squares = order_of(self.grid, (SIDE, SIDE), self.images)
        x = x[squares.to(x.device)]
        return x.view(-1, SQUARE, x.shape[-1]).permute(0, 2, 1).reshape(-1, SQUARE * x.shape[-1])


BLOCKS = {
    MINICPM: partial(Block, eps=NORM_EPS, rotates=False),
    MUSE: partial(Block, eps=MUSE_EPS, rotates=True),
}
PATCH_EMBEDS = {MINICPM: PatchesInARow, MUSE: FlatPatches}
POS_EMBEDS = {MINICPM: NearestPositions, MUSE: OrderedPositions}
TRANSITIONS = {MERGER: WindowMerger}
NECKS = {SHUFFLE: PixelShuffle}
