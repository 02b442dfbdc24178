"""Swin Transformer: windowed attention with a bias per relative position, windows shifted in every other block.

Source: arXiv:2103.14030 and microsoft/Swin-Transformer, models/swin_transformer.py. Names, operations and lifetimes of
tensors are those of that code; for a grid that needs padding, those of its detector
(SwinTransformer/Swin-Transformer-Object-Detection, mmdet/models/backbones/swin_transformer.py). The detector always calls
pad, which copies even if there is nothing to pad. Here the grid is padded only if necessary, since Microsoft's classifier
never pads. Shapes: B batch, H x W grid, C width, h heads, d = C / h, M = B * windows, N tokens of a window.
"""

from __future__ import annotations

from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...encoder.keys import Size
from ...encoder.plan import LayerConfig, PartConfig
from ...stack.by_cpu import made_by_cpu
from ...stack.patches import in_whole_patches, patch_convolution
from ...stack.windows import add_mask, crop, cut, join, of_images, padded, shift_mask, shifted, shifted_back
from .words import SQUARE, corners, merging_of_neck, norm_stages, square_of, table_window

NORM_EPS = 1e-5


class ShiftedWindows(nn.Module):
    """The common base of Swin's and Swin V2's blocks: attention over windows, which may be shifted."""

    attn_mask: Tensor | None

    def __init__(self, layer: LayerConfig, attention: nn.Module) -> None:
        super().__init__()
        stage, self.grid = layer.stage, layer.grid
        self.window_size = layer.windows.size
        self.shift_size = layer.shift_size if layer.is_shifted else None
        self.norm1 = nn.LayerNorm(stage.embed_dim, eps=NORM_EPS)
        self.attn = attention
        self.norm2 = nn.LayerNorm(stage.embed_dim, eps=NORM_EPS)
        self.mlp = Mlp(stage.embed_dim, stage.mlp_dim)
        sizes = layer.grid, self.window_size, self.shift_size
        mask = made_by_cpu(shift_mask, *sizes) if self.shift_size else None
        self.register_buffer("attn_mask", mask, persistent=False)

    def attend(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """(B, H, W, C), of whole windows, -> the same, and the tensors that Microsoft's forward keeps until its end."""
        N = prod(self.window_size)
        shifted_x = shifted(x, self.shift_size) if self.shift_size else x
        x_windows = cut(shifted_x, self.window_size).view(-1, N, x.shape[-1])
        attn_windows = self.attn(x_windows, self.attn_mask)
        shifted_x = join(attn_windows, self.window_size, self.grid)
        x = shifted_back(shifted_x, self.shift_size) if self.shift_size else shifted_x
        return x, (x_windows, attn_windows, shifted_x)


class Block(ShiftedWindows):
    """Swin's block: norm, attention, shortcut; norm, MLP, shortcut."""

    def __init__(self, layer: LayerConfig, kernel: str = "eager") -> None:
        super().__init__(layer, WindowAttention(layer, kernel))

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        shortcut = x
        x = padded(self.norm1(x), self.window_size)
        x, kept = self.attend(x)
        x = crop(x, self.grid)
        x = shortcut + x
        x = x + self.mlp(self.norm2(x))
        del kept
        return x


class WindowAttention(nn.Module):
    """Multi-head self-attention over windows of N tokens with a learned bias per relative position and head."""

    relative_position_index: Tensor

    def __init__(self, layer: LayerConfig, kernel: str = "eager") -> None:
        super().__init__()
        stage = layer.stage
        dim, self.num_heads = stage.embed_dim, stage.num_heads
        self.scale = (dim // self.num_heads) ** -0.5
        self.kernel = kernel
        size = table_window(layer)
        self.tokens = prod(layer.windows.size)
        entries = prod(2 * side - 1 for side in size)
        self.relative_position_bias_table = nn.Parameter(torch.zeros(entries, self.num_heads))
        index = made_by_cpu(relative_position_index, size)
        self.register_buffer("relative_position_index", index, persistent=False)
        self.qkv = nn.Linear(dim, 3 * dim, bias=stage.qkv_bias)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(M, N, C), and the mask of shifted windows (windows, N, N), to (M, N, C)."""
        return self._sdpa(x, mask) if self.kernel == "sdpa" else self._eager(x, mask)

    def _eager(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Microsoft's code: makes the score matrix, then adds its bias and the mask."""
        M, N, C = x.shape
        # (M, N, 3C) -> (M, N, 3, h, d) -> (3, M, h, N, d)
        qkv = self.qkv(x).reshape(M, N, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        q = q * self.scale
        attn = q @ k.transpose(-2, -1)  # (M, h, N, N)
        bias = self._bias()
        attn = attn + bias.unsqueeze(0)
        if mask is not None:
            attn = add_mask(attn, mask)
        attn = attn.softmax(dim=-1)
        x = (attn @ v).transpose(1, 2).reshape(M, N, C)
        return self.proj(x)

    def _sdpa(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Torch's scaled_dot_product_attention; its mask is bias plus mask, as in transformers' SwinAttention."""
        M, N, C = x.shape
        q, k, v = self.qkv(x).reshape(M, N, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        bias = self._bias().unsqueeze(0)
        if mask is not None:
            bias = bias + of_images(mask, M)
        x = F.scaled_dot_product_attention(q, k, v, bias, scale=self.scale)
        return self.proj(x.transpose(1, 2).reshape(M, N, C))

    def _bias(self) -> Tensor:
        """The bias of the scores of a window: (h, N, N)."""
        index = self.relative_position_index
        if self.tokens != len(index):  # in videos the first tokens of the window, as in Video Swin
            index = index[: self.tokens, : self.tokens]
        bias = self.relative_position_bias_table[index.reshape(-1)].view(*index.shape, -1)
        return bias.permute(2, 0, 1).contiguous()


def relative_position_index(size: Size) -> Tensor:
    """The row of the table for each query and key of a window: (N, N)."""
    places = torch.meshgrid(*map(torch.arange, size), indexing="ij")
    offsets = (at.flatten()[:, None] - at.flatten() for at in places)
    index = torch.zeros((), dtype=torch.long)
    for side, offset in zip(size, offsets, strict=True):
        index = index * (2 * side - 1) + offset + side - 1
    return index


class Mlp(nn.Module):
    """Linear, GELU, linear."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C)."""
        return self.fc2(self.act(self.fc1(x)))


class PatchEmbed(nn.Module):
    """Non-overlapping patches to vectors, and their norm; pixels that do not fill a patch are dropped, in videos padded."""

    def __init__(self, part: PartConfig) -> None:
        super().__init__()
        self.patch, self.proj = part.config.patch, patch_convolution(part)
        self.norm = nn.LayerNorm(part.leaving.dim, eps=NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_chans, height, width) -> (B, H, W, C)."""
        x = self.proj(in_whole_patches(x, self.patch))
        return self.norm(x.movedim(1, -1))


class PatchMerging(nn.Module):
    """Merges each 2x2 tokens into one, or each cube of 2x2x2: norm, then a linear layer. An odd row or column is padded, as in the detector."""

    def __init__(self, part: PartConfig) -> None:
        super().__init__()
        self.square = square_of(part)
        width = prod(self.square) * part.entering.dim
        self.reduction = nn.Linear(width, part.leaving.dim, bias=False)
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H / 2, W / 2, C')."""
        quarters = parts_of(
            padded(x, self.square), self.square
        )  # kept until the end, as in Microsoft's forward
        return self.reduction(self.norm(torch.cat(quarters, -1)))


class StageNorms(nn.Module):
    """The norms of a detector's features; its code norms the output of a stage when the stage has run, here at the end."""

    def __init__(self, part: PartConfig) -> None:
        super().__init__()
        config = part.config
        self.norms = nn.ModuleDict(
            {
                str(stage): nn.LayerNorm(config.stages[stage].embed_dim, eps=NORM_EPS)
                for stage in norm_stages(config)
            }
        )

    def forward(self, x: Tensor, *ends: Tensor) -> tuple[Tensor, ...]:
        """The outputs of stages, (B, H, W, C) each -> the same, normed, (B, C, H, W), the finest first."""
        pairs = zip(self.norms.values(), (*ends, x), strict=True)
        return tuple(norm(each).movedim(-1, 1).contiguous() for norm, each in pairs)


class SwinBackbone(StageNorms):
    """The norms of transformers' SwinBackbone, after the norm that ends its SwinModel, whose output it drops."""

    def __init__(self, part: PartConfig) -> None:
        super().__init__(part)
        self.layernorm = nn.LayerNorm(part.entering.dim, eps=NORM_EPS)

    def forward(self, x: Tensor, *ends: Tensor) -> tuple[Tensor, ...]:
        """As StageNorms; no gradient reaches the first norm."""
        self.layernorm(x)
        return super().forward(x, *ends)


class SwinUnetr(nn.Module):
    """The end of Swin UNETR's encoder: a merging after the last stage, then a norm without weights for each of five maps.

    MONAI norms a map as soon as it is made, here all are normed at the end. Source: MONAI 1.6.1,
    monai/networks/nets/swin_unetr.py, SwinTransformer.
    """

    def __init__(self, part: PartConfig) -> None:
        super().__init__()
        self.downsample = PatchMerging(merging_of_neck(part))

    def forward(self, x: Tensor, *maps: Tensor) -> tuple[Tensor, ...]:
        """The tokens after the last block, and those that entered each stage -> (B, C, D, H, W), the finest first."""
        maps = (*maps, self.downsample(x))
        return tuple(F.layer_norm(each, each.shape[-1:]).movedim(-1, 1) for each in maps)


def parts_of(x: Tensor, square: Size) -> list[Tensor]:
    """The tokens of each 2x2 square, or of each cube, as tensors (B, H / 2, W / 2, C)."""
    places = corners(sum(side > 1 for side in square))
    return [_corner(x, corner) for corner in places]


def _corner(x: Tensor, corner: tuple[int, ...]) -> Tensor:
    """Every other token along the last axes of the grid, from a place on."""
    along: list[Any] = [slice(at, None, 2) for at in corner]
    place = (..., *along, slice(None))
    return x[place]


def quarters_of(x: Tensor) -> list[Tensor]:
    """The four tokens of each 2x2 square, as four tensors (B, H / 2, W / 2, C)."""
    return parts_of(x, SQUARE)


BLOCKS = {"swin": Block}
PATCH_EMBEDS = {"patch_norm": PatchEmbed}
TRANSITIONS = {"patch_merging": PatchMerging, "patch_merging_3d": PatchMerging}
NECKS = {"stage_norms": StageNorms, "swin_backbone": SwinBackbone, "swin_unetr": SwinUnetr}
