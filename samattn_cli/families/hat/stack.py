"""HAT restores images: shifted windows with channel attention next to them, and windows of queries in larger ones of keys.

Source: XPixelGroup/HAT, hat/archs/hat_arch.py. Names, operations and lifetimes of tensors are those of that code. Differences:
the end of the last group is in the neck; tokens are (B, H, W, C) here and (B, L, C) there; the mask is made in the type of the
image, and in float32 there, so that float16 fails there without autocast; an image that is not of whole windows is padded here, and
there before the network runs (hat/models/hat_model.py); there is no dropout and no stochastic depth. Shapes: B batch, H x W grid of
pixels, C width, c channels of the image, h heads, d = C / h, M = B * windows, N tokens of a window of queries, K of a window of
keys, r upscale.
"""

from __future__ import annotations

from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...encoder.keys import Pair
from ...encoder.plan import LayerConfig, PartConfig
from ...stack.by_cpu import made_by_cpu
from ...stack.windows import add_mask, cut, join, shift_mask, shifted, shifted_back
from ..swin.stack import Mlp, relative_position_index
from ..swinir.stack import IMG_RANGE, NORM_EPS, conv3, mean_of, steps_of, upsampling
from ..swinir.words import FEATURES
from .words import OVERLAPPING, reach, shared_window, shares

CONV_SCALE = 0.01


class Pixels(nn.Module):
    """A 3x3 convolution of the image, then tokens; and what all blocks share."""

    mean: Tensor
    relative_position_index_sa: Tensor
    relative_position_index_oca: Tensor

    def __init__(self, part: PartConfig) -> None:
        super().__init__()
        config, dim = part.config, part.leaving.dim
        self.grid, self.window = part.leaving.grid, shared_window(config)
        self.register_buffer("mean", mean_of(config.in_chans), persistent=False)
        self.conv_first = conv3(config.in_chans, dim)
        self.norm = nn.LayerNorm(dim, eps=NORM_EPS)
        if self.window:
            found = (
                each for each in config.stages if (each.block, each.window_size) == (OVERLAPPING, self.window)
            )
            down, across = next(map(reach, found), (0, 0))
            keys = self.window[0] + down, self.window[1] + across
            for name, index in (
                ("sa", made_by_cpu(relative_position_index, self.window)),
                ("oca", made_by_cpu(overlapping_index, self.window, keys)),
            ):
                self.register_buffer(f"relative_position_index_{name}", index, persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, c, height, width) -> (B, H, W, C), the features (B, C, H, W), the mean of channels, then what blocks share."""
        below, right = (whole - side for whole, side in zip(self.grid, x.shape[2:], strict=True))
        if below or right:
            x = F.pad(x, (0, right, 0, below), "reflect")
        x = (x - self.mean) * IMG_RANGE
        x = self.conv_first(x)
        shared: tuple[Tensor, ...] = ()
        if self.window:
            mask = self._mask(x, self.window)
            shared = mask, self.relative_position_index_sa, self.relative_position_index_oca
        return (self.norm(x.permute(0, 2, 3, 1)), x, self.mean, *shared)

    def _mask(self, x: Tensor, window: Pair) -> Tensor:
        """The mask of shifted windows (windows, N, N), made by the CPU in each forward; on meta its shape alone."""
        (H, W), (h, w) = self.grid, window
        if x.is_meta:
            return x.new_empty((H // h) * (W // w), h * w, h * w)
        return shift_mask(self.grid, window, (h // 2, w // 2)).to(x)


class HybridBlock(nn.Module):
    """HAT's block (HAB): norm, attention in windows and channel attention, shortcut; norm, MLP, shortcut."""

    relative_position_index: Tensor

    def __init__(self, layer: LayerConfig, _kernel: str = "eager") -> None:
        super().__init__()
        stage = layer.stage
        dim, self.window_size = stage.embed_dim, layer.windows.size
        self.grid, self.shift_size = layer.grid, layer.shift_size if layer.is_shifted else None
        self.norm1 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.attn = WindowAttention(layer)
        self.conv_block = ChannelAttentionBlock(dim, stage.compress_ratio, stage.squeeze_factor)
        self.norm2 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.mlp = Mlp(dim, stage.mlp_dim)

    def forward(self, x: Tensor, _features: Tensor, _mean: Tensor, *shared: Tensor) -> Tensor:
        """(B, H, W, C) -> the same."""
        mask, index = shared[:2] if shared else (None, None)
        shortcut, shift = x, self.shift_size
        x = self.norm1(x)
        conv_x = self.conv_block(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1).contiguous()
        shifted_x = shifted(x, shift) if shift else x
        x_windows = cut(shifted_x, self.window_size).view(-1, prod(self.window_size), x.shape[-1])
        attn_windows = self.attn(x_windows, mask if shift else None, index)
        shifted_x = join(attn_windows, self.window_size, self.grid)
        attn_x = shifted_back(shifted_x, shift) if shift else shifted_x
        x = shortcut + attn_x + conv_x * CONV_SCALE
        x = x + self.mlp(self.norm2(x))
        del conv_x, x_windows, attn_windows, shifted_x, attn_x
        return x


class WindowAttention(nn.Module):
    """Multi-head self-attention over windows of N tokens with a learned bias per relative position and head."""

    relative_position_index: Tensor

    def __init__(self, layer: LayerConfig) -> None:
        super().__init__()
        stage, size = layer.stage, layer.windows.size
        dim, self.num_heads = stage.embed_dim, stage.num_heads
        self.scale = (dim // self.num_heads) ** -0.5
        entries = (2 * size[0] - 1) * (2 * size[1] - 1)
        self.relative_position_bias_table = nn.Parameter(torch.zeros(entries, self.num_heads))
        self.has_own_index = not shares(layer)
        if self.has_own_index:
            own = made_by_cpu(relative_position_index, size)
            self.register_buffer("relative_position_index", own, persistent=False)
        self.qkv = nn.Linear(dim, 3 * dim, bias=stage.qkv_bias)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, mask: Tensor | None, index: Tensor | None) -> Tensor:
        """(M, N, C), the mask of shifted windows (windows, N, N), and rows of the table (N, N), to (M, N, C)."""
        M, N, C = x.shape
        # (M, N, 3C) -> (M, N, 3, h, d) -> (3, M, h, N, d)
        qkv = self.qkv(x).reshape(M, N, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        q = q * self.scale
        attn = q @ k.transpose(-2, -1)  # (M, h, N, N)
        used = self.relative_position_index if self.has_own_index else index
        bias = bias_of(self.relative_position_bias_table, used)
        attn = attn + bias.unsqueeze(0)
        if mask is not None:
            attn = add_mask(attn, mask)
        attn = attn.softmax(dim=-1)
        x = (attn @ v).transpose(1, 2).reshape(M, N, C)
        return self.proj(x)


def bias_of(table: Tensor, index: Tensor | None) -> Tensor:
    """The bias of scores, by the row of the table for each query and key (N, K): (h, N, K)."""
    if index is None:
        raise RuntimeError
    return table[index.view(-1)].view(*index.shape, -1).permute(2, 0, 1).contiguous()


class ChannelAttentionBlock(nn.Module):
    """Two convolutions, then channel attention (CAB)."""

    def __init__(self, dim: int, compress_ratio: int, squeeze_factor: int) -> None:
        super().__init__()
        self.cab = nn.Sequential(
            conv3(dim, dim // compress_ratio),
            nn.GELU(),
            conv3(dim // compress_ratio, dim),
            ChannelAttention(dim, squeeze_factor),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same."""
        return self.cab(x)


class ChannelAttention(nn.Module):
    """A factor for each channel, from the means of all channels."""

    def __init__(self, dim: int, squeeze_factor: int) -> None:
        super().__init__()
        self.attention = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(dim, dim // squeeze_factor, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(dim // squeeze_factor, dim, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same."""
        return x * self.attention(x)


class OverlappingBlock(nn.Module):
    """HAT's overlapping cross-attention (OCAB): norm, attention, shortcut; norm, MLP, shortcut.

    Its weights of attention are in a module of their own, and in that of the block in the authors' code.
    """

    def __init__(self, layer: LayerConfig, _kernel: str = "eager") -> None:
        super().__init__()
        dim = layer.stage.embed_dim
        self.norm1 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.attn = OverlappingAttention(layer)
        self.norm2 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.mlp = Mlp(dim, layer.stage.mlp_dim)

    def forward(self, x: Tensor, _features: Tensor, _mean: Tensor, *shared: Tensor) -> Tensor:
        """(B, H, W, C) -> the same."""
        index = shared[2] if shared else None
        attended, joined, kept = self.attn([self.norm1(x)], index)
        x = attended + x
        del attended, joined
        x = x + self.mlp(self.norm2(x))
        del kept
        return x


class OverlappingAttention(nn.Module):
    """Queries of windows, and keys and values of larger windows around them."""

    relative_position_index: Tensor

    def __init__(self, layer: LayerConfig) -> None:
        super().__init__()
        size, keys, dim = layer.windows.size, layer.keys_size, layer.stage.embed_dim
        self.grid, self.window_size, self.keys = layer.grid, size, keys
        self.num_heads = layer.stage.num_heads
        self.scale = (dim // self.num_heads) ** -0.5
        entries = (size[0] + keys[0] - 1) * (size[1] + keys[1] - 1)
        self.relative_position_bias_table = nn.Parameter(torch.zeros(entries, self.num_heads))
        self.has_own_index = not shares(layer)
        if self.has_own_index:
            self.register_buffer("relative_position_index", overlapping_index(size, keys), persistent=False)
        self.qkv = nn.Linear(dim, 3 * dim, bias=layer.stage.qkv_bias)
        padding = (keys[0] - size[0]) // 2, (keys[1] - size[1]) // 2
        self.unfold = nn.Unfold(keys, stride=size, padding=padding)
        self.proj = nn.Linear(dim, dim)

    def forward(
        self, entering: list[Tensor], index: Tensor | None
    ) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """(B, H, W, C) -> the same; what entered the last layer; and what the authors' block has names for until its end."""
        x = entering.pop()
        (B, H, W, C), heads = x.shape, self.num_heads
        qkv = self.qkv(x).reshape(B, H, W, 3, C).permute(3, 0, 4, 1, 2)  # (3, B, C, H, W)
        q = qkv[0].permute(0, 2, 3, 1)
        kv = torch.cat((qkv[1], qkv[2]), dim=1)  # (B, 2C, H, W)
        q_windows = cut(q, self.window_size).view(-1, prod(self.window_size), C)
        kv_windows = self._in_larger_windows(kv)
        k_windows, v_windows = kv_windows[0], kv_windows[1]
        M, N, _ = q_windows.shape
        q = q_windows.reshape(M, N, heads, -1).permute(0, 2, 1, 3)
        k = k_windows.reshape(M, -1, heads, C // heads).permute(0, 2, 1, 3)
        v = v_windows.reshape(M, -1, heads, C // heads).permute(0, 2, 1, 3)
        q = q * self.scale
        attn = q @ k.transpose(-2, -1)  # (M, h, N, K)
        bias = bias_of(
            self.relative_position_bias_table, self.relative_position_index if self.has_own_index else index
        )
        attn = attn + bias.unsqueeze(0)
        attn = attn.softmax(dim=-1)
        attn_windows = (attn @ v).transpose(1, 2).reshape(M, N, C)
        x = join(attn_windows, self.window_size, self.grid)
        return self.proj(x), x, (qkv, kv, q_windows, k, v, q, attn, bias, attn_windows)

    def _in_larger_windows(self, kv: Tensor) -> Tensor:
        """Keys and values (B, 2C, H, W) of windows that overlap: (2, M, K, C)."""
        B, C, K = kv.shape[0], kv.shape[1] // 2, prod(self.keys)
        # (B, 2 * C * K, windows) -> (2, B, windows, K, C)
        kv_windows = self.unfold(kv).reshape(B, 2, C, K, -1).permute(1, 0, 4, 3, 2)
        return kv_windows.reshape(2, -1, K, C).contiguous()


def overlapping_index(size: Pair, keys: Pair) -> Tensor:
    """The row of the table for each query of a window and each key of a larger one around it, as in the authors' code: (N, K)."""
    (h, w), (K, L) = size, keys
    rows, columns = torch.meshgrid(*map(torch.arange, size), indexing="ij")
    far, along = torch.meshgrid(*map(torch.arange, keys), indexing="ij")
    down = far.flatten() - rows.flatten()[:, None] + h - K + 1
    right = along.flatten() - columns.flatten()[:, None] + w - L + 1
    return down * (w + L - 1) + right


class Group(nn.Module):
    """The end of a residual group."""

    lets_go = True

    def __init__(self, part: PartConfig) -> None:
        super().__init__()
        self.conv = conv3(part.entering.dim, part.entering.dim)

    def forward(self, entering: list[Tensor], before: Tensor) -> Tensor:
        """(B, H, W, C), and what entered the group, -> the same."""
        x = entering.pop().permute(0, 3, 1, 2).contiguous()
        x = self.conv(x)
        return x.permute(0, 2, 3, 1) + before


class PixelShuffle(nn.Module):
    """The end of the last group; a norm, a convolution, and the features of the first one; then an upsampler."""

    lets_go_of_taps = True

    def __init__(self, part: PartConfig) -> None:
        super().__init__()
        config, dim = part.config, part.entering.dim
        self.times, self.size = config.upscale, config.image_size
        self.group = Group(part)
        self.norm = nn.LayerNorm(dim, eps=NORM_EPS)
        self.conv_after_body = conv3(dim, dim)
        self.conv_before_upsample = nn.Sequential(conv3(dim, FEATURES), nn.LeakyReLU(inplace=True))
        self.upsample = upsampling(FEATURES, FEATURES, steps_of(config.upscale))
        self.conv_last = conv3(FEATURES, config.out_chans)

    def forward(self, entering: list[Tensor], taps: list[Tensor]) -> Tensor:
        """(B, H, W, C) -> (B, out_chans, r height, r width)."""
        mean = taps[2]
        x = self.conv_after_body(self._normed(entering, taps)) + taps[0]
        taps.clear()
        x = self.conv_before_upsample(x)
        x = self.conv_last(self.upsample(x))
        x = x / IMG_RANGE + mean
        height, width = self.size
        return x[:, :, : self.times * height, : self.times * width]

    def _normed(self, entering: list[Tensor], taps: list[Tensor]) -> Tensor:
        x = self.norm(self.group(entering, taps.pop(0)))
        x = x.permute(0, 3, 1, 2).contiguous()
        del taps[1:]  # the mask lives until here
        return x


BLOCKS = {"hybrid_attention": HybridBlock, "overlapping_cross_attention": OverlappingBlock}
PATCH_EMBEDS = {"hat_pixels": Pixels}
TRANSITIONS = {"residual_hybrid_group": Group}
NECKS = {"hat_pixelshuffle": PixelShuffle}
