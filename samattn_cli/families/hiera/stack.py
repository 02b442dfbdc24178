"""SAM 2's image encoder: Hiera with windowed positions, and its FPN neck.

Source: SAM 2 (arXiv:2408.00714) and its code, sam2/modeling/backbones/hieradet.py, utils.py and image_encoder.py. Parameter
names within a block, values and lifetimes of tensors are those of that code. "eager" is the attention of transformers'
modeling_sam2.py, without the softmax over heads that it computes and drops. Here a global block may pool too; that code
cannot run it, because it divides by the window. If one image is a single row of windows, that code's reshape is a view where
this code copies. Shapes: B batch, H x W grid, C and D width before and after a block, h heads, d = D / h.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...encoder.plan import LayerConfig, PartConfig
from ...stack.norms import NORM_EPS
from ...stack.windows import join, window_partition


class Block(nn.Module):
    """Pre-norm block. If it changes the width, it projects its shortcut and pools it like its queries."""

    def __init__(self, layer: LayerConfig, kernel: str = "sdpa") -> None:
        super().__init__()
        stage = layer.stage
        self.window_size = None if layer.is_global else layer.windows.size
        self.q_stride = layer.q_stride
        self.norm1 = nn.LayerNorm(layer.in_dim, eps=NORM_EPS)
        self.attn = Attention(layer, kernel)
        self.norm2 = nn.LayerNorm(stage.embed_dim, eps=NORM_EPS)
        self.mlp = MLP(stage.embed_dim, stage.mlp_dim)
        self.proj = None
        if layer.in_dim != stage.embed_dim:
            self.proj = nn.Linear(layer.in_dim, stage.embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H / q_stride, W / q_stride, D)."""
        shortcut = x
        x = self.norm1(x)
        if self.proj is not None:
            shortcut = pool(self.proj(x), self.q_stride)
        if self.window_size is not None:
            x = window_partition(x, self.window_size)
        x = self.attn(x)
        if self.window_size is not None:
            height, width = (side // self.q_stride for side in self.window_size)
            H, W = shortcut.shape[1:3]
            x = join(x, (height, width), (H, W))[:, :H, :W]
        x = shortcut + x
        return x + self.mlp(self.norm2(x))


class Attention(nn.Module):
    """Multi-head attention of queries, which are pooled by the stride of the block, to all keys."""

    def __init__(self, layer: LayerConfig, kernel: str) -> None:
        super().__init__()
        width = layer.stage.embed_dim
        self.num_heads = layer.stage.num_heads
        self.scale = (width // self.num_heads) ** -0.5
        self.q_stride = layer.q_stride
        self.kernel = kernel
        self.qkv = nn.Linear(layer.in_dim, 3 * width, bias=layer.stage.qkv_bias)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H / q_stride, W / q_stride, D)."""
        B, H, W, _ = x.shape
        q, k, v = self.qkv(x).reshape(B, H * W, 3, self.num_heads, -1).unbind(2)  # (B, HW, h, d), each
        if self.q_stride != 1:
            q = pool(q.reshape(B, H, W, -1), self.q_stride)
            H, W = q.shape[1:3]
            q = q.reshape(B, H * W, self.num_heads, -1)
        if self.kernel == "eager":
            x, _kept = self._eager(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))
        else:
            x = self._sdpa(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))
        return self.proj(x.reshape(B, H, W, -1))

    def _sdpa(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """(B, h, N, d), (B, h, M, d) twice -> (B, N, h, d)."""
        return F.scaled_dot_product_attention(q, k, v, scale=self.scale).transpose(1, 2)

    def _eager(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """The same, and the probabilities (B, h, N, M), which transformers' code keeps until the end of attention."""
        attn = (q @ k.transpose(2, 3)) * self.scale
        attn = attn.softmax(dim=-1, dtype=torch.float32).to(q.dtype)
        return (attn @ v).transpose(1, 2).contiguous(), attn


class MLP(nn.Module):
    """Linear, GELU, linear."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(dim, hidden_dim), nn.Linear(hidden_dim, dim)])
        self.act = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        first, second = self.layers
        return second(self.act(first(x)))


def pool(x: Tensor, stride: int) -> Tensor:
    """Maxima over squares of (B, H, W, C); for a stride of 1, `x` itself."""
    if stride == 1:
        return x
    return F.max_pool2d(x.permute(0, 3, 1, 2), stride, stride).permute(0, 2, 3, 1)


class PatchEmbed(nn.Module):
    """Overlapping patches to vectors."""

    def __init__(self, part: PartConfig) -> None:
        super().__init__()
        patch = part.config.patch_size
        self.proj = nn.Conv2d(
            part.config.in_chans, part.leaving.dim, kernel_size=2 * patch - 1, stride=patch, padding=patch - 1
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_chans, height, width) -> (B, H, W, C)."""
        return self.proj(x).permute(0, 2, 3, 1)


class PosEmbed(nn.Module):
    """A background that is resized to the grid, plus a window that is repeated over it (arXiv:2311.05613)."""

    def __init__(self, part: PartConfig) -> None:
        super().__init__()
        width = part.entering.dim
        self.background = nn.Parameter(torch.zeros(1, width, *part.config.pos_embed_background))
        self.window = nn.Parameter(torch.zeros(1, width, *part.config.pos_embed_window))

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> the same."""
        return x + self._positions(x.shape[1:3])

    def _positions(self, grid: torch.Size) -> Tensor:
        """(1, H, W, C)."""
        positions = F.interpolate(self.background, size=grid, mode="bicubic")
        times = [side // tile for side, tile in zip(grid, self.window.shape[2:], strict=True)]
        positions = positions + self.window.tile([1, 1, *times])
        return positions.permute(0, 2, 3, 1)


class Fpn(nn.Module):
    """SAM 2's FpnNeck, and `scalp`, which drops the last level; its sine encodings of positions are left out."""

    def __init__(self, part: PartConfig) -> None:
        super().__init__()
        widths = [stage.embed_dim for stage in reversed(part.config.stages)]
        channels = part.config.out_chans
        self.convs = nn.ModuleList(Lateral(width, channels) for width in widths)

    def forward(self, x: Tensor, *finer: Tensor) -> tuple[Tensor, ...]:
        """The outputs of the stages, (B, H, W, C) each -> three (B, out_chans, H, W), the finest first."""
        fine, middle, coarse = finer
        of_coarsest, of_coarse, of_middle, of_fine = self.convs
        coarsest = of_coarsest(x)
        lateral = of_coarse(coarse)
        top_down = F.interpolate(coarsest.to(dtype=torch.float32), scale_factor=2.0, mode="nearest")
        summed = lateral + top_down
        lateral = second = of_middle(middle)  # frees the last lateral here, like SAM 2's loop
        return of_fine(fine), second, summed


class Lateral(nn.Sequential):
    """A 1x1 convolution."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, channels, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, out_chans, H, W)."""
        return self.conv(x.permute(0, 3, 1, 2))


BLOCKS = {"hiera": Block}
PATCH_EMBEDS = {"overlapping": PatchEmbed}
POS_EMBEDS = {"hiera": PosEmbed}
NECKS = {"sam2_fpn": Fpn}
