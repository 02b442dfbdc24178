"""TinyViT, and MobileSAM's image encoder: convolutions with BatchNorm, attention in windows with a bias per distance.

Source: microsoft/Cream, TinyViT/models/tiny_vit.py; ChaoningZhang/MobileSAM, mobile_sam/modeling/tiny_vit_sam.py. Names,
operations and lifetimes of tensors are those of that code. One difference: the biases are made anew when weights are loaded;
there a model that is in evaluation mode by then keeps those of before. Tokens are (B, L, C) there and (B, H, W, C) here.
Shapes: B batch, H x W grid, L = H * W, C width, h heads, d = C / h, M = B * windows, N tokens of a window.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...encoder.keys import Pair
from ...encoder.plan import LayerConfig, PartConfig
from ...stack.windows import crop, padded

NORM_EPS = 1e-5


def conv_norm(entering: int, leaving: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """A convolution and its BatchNorm: (B, entering, height, width) -> (B, leaving, ...)."""
    conv = nn.Conv2d(entering, leaving, kernel, stride, kernel // 2, groups=groups, bias=False)
    both = nn.Sequential()
    both.add_module("c", conv)
    both.add_module("bn", nn.BatchNorm2d(leaving))
    return both


class MBConv(nn.Module):
    """Convolutions to a larger width and back, and the shortcut."""

    def __init__(self, layer: LayerConfig, _kernel: str = "eager") -> None:
        super().__init__()
        narrow, wide = layer.stage.embed_dim, layer.stage.mlp_dim
        self.conv1 = conv_norm(narrow, wide, 1)
        self.act1 = nn.GELU()
        self.conv2 = conv_norm(wide, wide, 3, groups=wide)
        self.act2 = nn.GELU()
        self.conv3 = conv_norm(wide, narrow, 1)
        self.act3 = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> the same."""
        shortcut = x.permute(0, 3, 1, 2)
        x = self.conv1(shortcut)
        x = self.act1(x)
        x = self.conv2(x)
        x = self.act2(x)
        x = self.conv3(x)
        x += shortcut
        x = self.act3(x)
        return x.permute(0, 2, 3, 1)


class Attention(nn.Module):
    """Norm and attention over windows of N tokens, with a learned bias per distance of tokens and head."""

    attention_bias_idxs: Tensor
    ab: Tensor

    def __init__(self, layer: LayerConfig, kernel: str) -> None:
        super().__init__()
        stage, size = layer.stage, layer.windows.size
        dim, self.num_heads, self.kernel = stage.embed_dim, stage.num_heads, kernel
        self.scale = (dim // self.num_heads) ** -0.5
        self.norm = nn.LayerNorm(dim, eps=NORM_EPS)
        self.qkv = nn.Linear(dim, 3 * dim, bias=stage.qkv_bias)
        self.proj = nn.Linear(dim, dim)
        self.attention_biases = nn.Parameter(torch.zeros(self.num_heads, size[0] * size[1]))
        self.register_buffer("attention_bias_idxs", index_of_distances(size), persistent=False)
        self.register_load_state_dict_post_hook(_renew)

    def train(self, mode: bool = True) -> Attention:
        """In evaluation the biases of all pairs are a buffer."""
        super().train(mode)
        self._buffers.pop("ab", None)
        if not mode:
            with torch.no_grad():
                self.register_buffer("ab", self._biases(), persistent=False)
        return self

    def _biases(self) -> Tensor:
        """(h, N, N)."""
        return self.attention_biases[:, self.attention_bias_idxs]

    def forward(self, x: Tensor) -> Tensor:
        """(M, N, C) -> the same."""
        M, N, C = x.shape
        x = self.norm(x)
        parts = self.qkv(x).view(M, N, self.num_heads, -1).split(C // self.num_heads, dim=3)
        q, k, v = (each.permute(0, 2, 1, 3) for each in parts)  # (M, h, N, d)
        del parts
        if self.kernel == "sdpa":
            bias = (self._biases() if self.training else self.ab).unsqueeze(0)
            x = F.scaled_dot_product_attention(q, k, v, bias, scale=self.scale)
            del bias
            x = x.transpose(1, 2).reshape(M, N, C)
        else:
            attn = (q @ k.transpose(-2, -1)) * self.scale + (self._biases() if self.training else self.ab)
            attn = attn.softmax(dim=-1)
            x = (attn @ v).transpose(1, 2).reshape(M, N, C)
        return self.proj(x)


def _renew(attention: nn.Module, _: object) -> None:
    attention.train(attention.training)


def index_of_distances(size: Pair) -> Tensor:
    """The bias for each query and key of a window: (N, N). Distances are numbered in the order in which they first occur."""
    rows, columns = torch.meshgrid(*map(torch.arange, size), indexing="ij")
    down, right = ((at.flatten()[:, None] - at.flatten()).abs() for at in (rows, columns))
    return down * size[1] + right


class Mlp(nn.Module):
    """Norm, linear, GELU, linear."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=NORM_EPS)
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, dim)
        self.act = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> the same."""
        x = self.norm(x)
        x = self.fc1(x)
        x = self.act(x)
        return self.fc2(x)


class Block(nn.Module):
    """Attention, shortcut; convolution; MLP, shortcut."""

    def __init__(self, layer: LayerConfig, kernel: str = "eager") -> None:
        super().__init__()
        dim = layer.stage.embed_dim
        self.grid, self.window_size = layer.grid, layer.windows.size
        self.attn = Attention(layer, kernel)
        self.mlp = Mlp(dim, layer.stage.mlp_dim)
        self.local_conv = conv_norm(dim, dim, 3, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> the same."""
        x = x + self._attend(x)
        x = self.local_conv(x.permute(0, 3, 1, 2))
        x = x.permute(0, 2, 3, 1)
        return x + self.mlp(x)

    def _attend(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> the same."""
        (B, H, W, C), (h, w) = x.shape, self.window_size
        if self.grid == self.window_size:
            return self.attn(x.view(B, H * W, C)).view(B, H, W, C)
        x = padded(x, self.window_size)
        rows, columns = x.shape[1] // h, x.shape[2] // w
        # (B, rows, h, columns, w, C) -> (B, rows, columns, h, w, C)
        x = x.view(B, rows, h, columns, w, C).transpose(2, 3).reshape(-1, h * w, C)
        x = self.attn(x)
        x = x.view(B, rows, columns, h, w, C).transpose(2, 3).reshape(B, rows * h, columns * w, C)
        return crop(x, self.grid)


class PatchEmbed(nn.Module):
    """Two convolutions of stride 2."""

    def __init__(self, part: PartConfig) -> None:
        super().__init__()
        width = part.leaving.dim
        self.seq = nn.Sequential(
            conv_norm(part.config.in_chans, width // 2, 3, 2), nn.GELU(), conv_norm(width // 2, width, 3, 2)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_chans, height, width) -> (B, H, W, C)."""
        return self.seq(x).permute(0, 2, 3, 1)


class Merging(nn.Module):
    """Convolutions to the width of the next stage; with a stride of 2 they halve the grid."""

    def __init__(self, part: PartConfig, *, stride: int) -> None:
        super().__init__()
        width = part.leaving.dim
        self.act = nn.GELU()
        self.conv1 = conv_norm(part.entering.dim, width, 1)
        self.conv2 = conv_norm(width, width, 3, stride, groups=width)
        self.conv3 = conv_norm(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H / stride, W / stride, C')."""
        x = self.conv1(x.permute(0, 3, 1, 2))
        x = self.act(x)
        x = self.conv2(x)
        x = self.act(x)
        x = self.conv3(x)
        return x.permute(0, 2, 3, 1)


BLOCKS: dict[str, Any] = {"mbconv": MBConv, "tiny_vit": Block}
PATCH_EMBEDS = {"conv_stem": PatchEmbed}
TRANSITIONS = {"conv_merging": partial(Merging, stride=2), "conv_widening": partial(Merging, stride=1)}
