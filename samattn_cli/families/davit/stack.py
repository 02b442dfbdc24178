"""DaViT: attention in windows and attention over channels, in turn, with depthwise convolutions as positions.

Source: timm, models/davit.py, which is adapted from dingmyu/davit (arXiv:2204.03645) and runs Florence-2's encoder too. Names
within a part, operations and lifetimes of tensors are those of timm, which is the reference here; timm also copies the image,
as it pads it with nothing. Shapes: B batch, H x W grid, T = HW tokens, C width, h heads, d = C / h, M = B * windows, N tokens
of a window.
"""

from __future__ import annotations

from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from ...encoder.plan import LayerConfig, PartConfig
from ...stack.windows import crop, cut, join
from ..swin.stack import NORM_EPS, Mlp

SQUARE = 2
"""The side of the convolution between DaViT's stages."""


class Positions(nn.Module):
    """A depthwise convolution, added to its input."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(dim, dim, kernel_size=3, padding=1, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        feat = self.proj(x)
        return x + feat


class Block(nn.Module):
    """A block of either kind: position, norm, attention, shortcut; position, norm, MLP, shortcut."""

    def __init__(self, layer: LayerConfig, kernel: str, attention: type[ChannelAttention]) -> None:
        super().__init__()
        dim = layer.stage.embed_dim
        self.grid, self.window_size = layer.grid, layer.windows.size
        self.cpe1 = Positions(dim)
        self.norm1 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.attn: nn.Module = attention(layer) if layer.over_channels else WindowAttention(layer, kernel)
        self.cpe2 = Positions(dim)
        self.norm2 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.mlp = Mlp(dim, layer.stage.mlp_dim)
        self.over_channels = layer.over_channels

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        return self.of_channels(x) if self.over_channels else self.of_windows(x)

    def of_channels(self, x: Tensor) -> Tensor:
        """A channel block."""
        B, H, W, C = x.shape
        x = self.cpe1(x.permute(0, 3, 1, 2)).flatten(2).transpose(1, 2)  # (B, T, C)
        cur = self.norm1(x)
        cur = self.attn(cur)
        x = x + cur
        x = self.cpe2(x.transpose(1, 2).view(B, C, H, W)).flatten(2).transpose(1, 2)
        x = x + self.mlp(self.norm2(x))
        return x.view(B, H, W, C)

    def of_windows(self, x: Tensor) -> Tensor:
        """A spatial block."""
        (B, H, W, C), (h, w) = x.shape, self.window_size
        shortcut = self.cpe1(x.permute(0, 3, 1, 2)).flatten(2).transpose(1, 2)
        x = self.norm1(shortcut)
        x = F.pad(x.view(B, H, W, C), (0, 0, 0, -W % w, 0, -H % h))
        x_windows = cut(x, self.window_size).view(-1, h * w, C)
        attn_windows = self.attn(x_windows)
        x = join(attn_windows, self.window_size, self.grid)
        x = crop(x, self.grid).view(B, H * W, C)
        x = shortcut + x
        x = self.cpe2(x.transpose(1, 2).view(B, C, H, W)).flatten(2).transpose(1, 2)
        x = x + self.mlp(self.norm2(x))
        return x.view(B, H, W, C)


class WindowAttention(nn.Module):
    """Multi-head self-attention over the N tokens of a window."""

    def __init__(self, layer: LayerConfig, kernel: str) -> None:
        super().__init__()
        dim, self.num_heads = layer.stage.embed_dim, layer.stage.num_heads
        self.scale = (dim // self.num_heads) ** -0.5
        self.kernel = kernel
        self.qkv = nn.Linear(dim, 3 * dim, bias=layer.stage.qkv_bias)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(M, N, C) -> (M, N, C)."""
        M, N, C = x.shape
        # (M, N, 3C) -> (M, N, 3, h, d) -> (3, M, h, N, d)
        q, k, v = self.qkv(x).reshape(M, N, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        if self.kernel == "sdpa":
            x = F.scaled_dot_product_attention(q, k, v)
        else:
            q = q * self.scale
            attn = q @ k.transpose(-2, -1)  # (M, h, N, N)
            attn = attn.softmax(dim=-1)
            x = attn @ v
        x = x.transpose(1, 2).reshape(M, N, C)
        return self.proj(x)


class ChannelAttention(nn.Module):
    """Attention of the d channels of a head to each other, by products over all T tokens.

    DaViT compares keys with values, by the width of a head, and weighs queries.
    """

    roles = (1, 2, 0)
    """Which of queries, keys and values are compared, the first scaled, and which are weighed."""

    def __init__(self, layer: LayerConfig) -> None:
        super().__init__()
        dim, self.num_heads = layer.stage.embed_dim, layer.stage.num_heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=layer.stage.qkv_bias)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        B, T, C = x.shape
        # (B, T, 3C) -> (B, T, 3, h, d) -> (3, B, h, T, d)
        each = self.qkv(x).reshape(B, T, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        one, other, weighed = (each[role] for role in self.roles)
        one = one * self.summed(T) ** -0.5
        attn = one.transpose(-1, -2) @ other  # (B, h, d, d)
        attn = attn.softmax(dim=-1)
        x = (attn @ weighed.transpose(-1, -2)).transpose(-1, -2)
        x = x.transpose(1, 2).reshape(B, T, C)
        return self.proj(x)

    def summed(self, _T: int) -> int:
        """By what its products are scaled."""
        return self.proj.in_features // self.num_heads


class Florence2ChannelAttention(ChannelAttention):
    """Florence-2 compares queries with keys, by the number of tokens, and weighs values."""

    roles = (0, 1, 2)

    def summed(self, T: int) -> int:
        """The tokens that a product sums over."""
        return T


class PatchEmbed(nn.Module):
    """Overlapping patches to vectors, and their norm."""

    def __init__(self, part: PartConfig) -> None:
        super().__init__()
        patch, dim = part.config.patch_size, part.leaving.dim
        self.conv = nn.Conv2d(part.config.in_chans, dim, 2 * patch - 1, stride=patch, padding=patch - 1)
        self.norm = nn.LayerNorm(dim, eps=NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_chans, height, width) -> (B, H, W, C)."""
        return self.norm(self.conv(x).permute(0, 2, 3, 1))


class ConvEmbed(nn.Module):
    """A norm, then a convolution at stride 2: of 3x3, which pads both sides, or of 2x2, for which an odd side is padded."""

    def __init__(self, part: PartConfig, kernel: int) -> None:
        super().__init__()
        self.kernel = kernel
        self.norm = nn.LayerNorm(part.entering.dim, eps=NORM_EPS)
        self.conv = nn.Conv2d(
            part.entering.dim, part.leaving.dim, kernel, stride=2, padding=(kernel - 1) // 2
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H / 2, W / 2, C')."""
        _, H, W, _ = x.shape
        x = self.norm(x)
        if self.kernel == SQUARE:
            x = F.pad(x, (0, 0, 0, W % SQUARE, 0, H % SQUARE))
        return self.conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


BLOCKS = {
    "davit": partial(Block, attention=ChannelAttention),
    "florence2": partial(Block, attention=Florence2ChannelAttention),
}
PATCH_EMBEDS = {"overlapping_norm": PatchEmbed}
TRANSITIONS = {"conv_embed": partial(ConvEmbed, kernel=3), "conv_embed_2x2": partial(ConvEmbed, kernel=2)}
