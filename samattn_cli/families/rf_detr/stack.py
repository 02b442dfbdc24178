"""RF-DETR's encoder in PyTorch: DINOv2's blocks over windows that are a batch, and the projector.

Sources: rfdetr 1.11 of Roboflow, models/backbone/dinov2_with_windowed_attn.py, for the order of operations and the lifetimes of
tensors of blocks; transformers 5.23, models/rf_detr/modeling_rf_detr.py, for names and for the projector, which Roboflow's code
writes with activations in place. Shapes: B images, H x W grid, k x l windows of an image, M = B * k * l, N tokens of a window, its
class token included, C width, h heads, d = C / h.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...encoder.plan import LayerConfig, PartConfig
from ...stack.norms import NORM_EPS
from .words import BLOCKS_OF_C2F, blocks_read

PROJECTOR_EPS = 1e-5


class Block(nn.Module):
    """Pre-norm block with LayerScale, whose global kind attends to all windows of an image at once."""

    def __init__(self, layer: LayerConfig, kernel: str) -> None:
        super().__init__()
        stage = layer.stage
        dim = stage.embed_dim
        self.norm1 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.attn = Attention(dim, stage.num_heads, qkv_bias=stage.qkv_bias, kernel=kernel)
        self.layer_scale1 = LayerScale(dim)
        self.norm2 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.mlp = Mlp(dim, stage.mlp_dim)
        self.layer_scale2 = LayerScale(dim)
        self.joins = prod(layer.cut) if layer.is_global else 1

    def forward(self, x: Tensor) -> Tensor:
        """(M, N, C) -> (M, N, C)."""
        M, N, C = x.shape
        attended = self.attn(self.norm1(x.view(M // self.joins, self.joins * N, C)))
        scaled = self.layer_scale1(attended.view(M, N, C))
        x = scaled + x
        return self.layer_scale2(self.mlp(self.norm2(x))) + x


class Attention(nn.Module):
    """Multi-head self-attention with a projection for each of queries, keys and values."""

    def __init__(self, dim: int, num_heads: int, *, qkv_bias: bool, kernel: str) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.scale = (dim // num_heads) ** -0.5
        self.kernel = kernel
        self.q_proj = nn.Linear(dim, dim, bias=qkv_bias)
        self.k_proj = nn.Linear(dim, dim, bias=qkv_bias)
        self.v_proj = nn.Linear(dim, dim, bias=qkv_bias)
        self.o_proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, N, C)."""
        x = self._attended(x)
        return self.o_proj(x)

    def _attended(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, N, C)."""
        B, N, C = x.shape
        q, k, v = (
            # (B, N, h, d) -> (B, h, N, d)
            project(x).view(B, N, self.num_heads, -1).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        if self.kernel == "eager":
            attn = torch.matmul(q, k.transpose(2, 3)) * self.scale  # (B, h, N, N)
            attn = attn.softmax(dim=-1)
            y = torch.matmul(attn, v)
        else:
            y = F.scaled_dot_product_attention(q, k, v, scale=self.scale)
        y = y.transpose(1, 2).contiguous()
        return y.view(B, N, C)


class LayerScale(nn.Module):
    """Channels times a learned number each."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.lambda1 = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C)."""
        return x * self.lambda1


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


class Positions(nn.Module):
    """A class token in front, a learned vector added to each token, then windows with a class token in each."""

    lets_go = True

    def __init__(self, part: PartConfig) -> None:
        super().__init__()
        self.grid, self.cut, C = part.config.pretrain_grid, part.leaving.cut, part.entering.dim
        self.cls_token = nn.Parameter(torch.zeros(1, 1, C))
        self.mask_token = nn.Parameter(torch.zeros(1, C), requires_grad=False)  # which nothing uses
        self.position_embeddings = nn.Parameter(torch.zeros(1, 1 + prod(self.grid), C))

    def forward(self, entering: list[Tensor]) -> Tensor:
        """(B, H, W, C) -> (M, N, C)."""
        x = entering.pop()
        size = x.shape[1], x.shape[2]
        x = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), x.flatten(1, 2)), dim=1)
        x = x + (self.position_embeddings if size == self.grid else self._resized(*size))
        return x if self.cut == (1, 1) else self._windows(x, *size)

    def _resized(self, height: int, width: int) -> Tensor:
        """The vector of the class token, and those of patches resized in float32: (1, 1 + height * width, C)."""
        of_class = self.position_embeddings[:, :1]
        patches = self.position_embeddings[:, 1:].reshape(1, *self.grid, -1).permute(0, 3, 1, 2)
        dtype = patches.dtype
        patches = F.interpolate(
            patches.to(torch.float32),
            size=(height, width),
            mode="bicubic",
            align_corners=False,
            antialias=True,
        ).to(dtype)
        patches = patches.permute(0, 2, 3, 1).view(1, height * width, -1)
        return torch.cat((of_class, patches), dim=1)

    def _windows(self, x: Tensor, height: int, width: int) -> Tensor:
        """(B, 1 + HW, C) -> (M, N, C)."""
        (B, _, C), (k, m) = x.shape, self.cut
        of_class = x[:, :1]
        # (B, k, H / k, l, W / l, C) -> (B, k, l, H / k, W / l, C)
        windows = x[:, 1:].view(B, k, height // k, m, width // m, C).transpose(2, 3)
        windows = windows.reshape(B * k * m, -1, C)
        classes = of_class.repeat(k * m, 1, 1)
        return torch.cat((classes, windows), dim=1)


class Maps(nn.Module):
    """The outputs of some blocks as maps, after one LayerNorm that they share."""

    lets_go_of_taps = True

    def __init__(self, part: PartConfig) -> None:
        super().__init__()
        self.read = blocks_read(part.config)
        self.grid, self.cut = part.entering.grid, part.entering.cut
        self.layernorm = nn.LayerNorm(part.entering.dim, eps=NORM_EPS)

    def forward(self, entering: list[Tensor], taps: list[Tensor]) -> tuple[Tensor, ...]:
        """The last output, then what enters the first block and all other outputs, (M, N, C) -> maps (B, C, H, W)."""
        outputs = [*taps[1:], entering[0]]
        made = tuple(self._map(outputs[index]) for index in self.read)
        if torch._C._is_tracing():  # a trace leaves out blocks that nothing reads
            made = (*made, outputs[-1])
        for each in (entering, taps, outputs):
            each.clear()
        return made

    def _map(self, x: Tensor) -> Tensor:
        """(M, N, C) -> (B, C, H, W)."""
        x = self.layernorm(x)[:, 1:]
        (H, W), (k, m) = self.grid, self.cut
        B, C = x.shape[0] // (k * m), x.shape[2]
        if self.cut != (1, 1):
            x = x.reshape(B, H * W, C).view(B, k, m, H // k, W // m, C).transpose(2, 3)
        x = x.reshape(B, H, W, C)
        return x.permute(0, 3, 1, 2).contiguous()


class Projector(Maps):
    """The maps, joined along their channels, and a C2f layer with its norm."""

    def __init__(self, part: PartConfig) -> None:
        super().__init__(part)
        channels = part.config.out_chans
        self.projector_layer = C2f(len(self.read) * part.entering.dim, channels, ChannelNorm)
        self.layer_norm = ChannelNorm(channels, eps=NORM_EPS)

    def forward(self, entering: list[Tensor], taps: list[Tensor]) -> Any:
        """(M, N, C), each -> (B, out_chans, H, W)."""
        maps = super().forward(entering, taps)
        x = torch.cat(maps[: len(self.read)], dim=1)
        x = self.projector_layer(x)
        x = self.layer_norm(x)
        return (x, *maps[len(self.read) :]) if torch._C._is_tracing() else x


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of (B, C, H, W)."""

    def __init__(self, channels: int, eps: float = PROJECTOR_EPS) -> None:
        super().__init__(channels, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W), in the memory order of (B, H, W, C)."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


Norm = Callable[[int], nn.Module]


class ConvNorm(nn.Module):
    """A convolution without a bias, its norm and an activation."""

    def __init__(
        self,
        entering: int,
        leaving: int,
        kernel: int,
        norm: Norm,
        *,
        stride: int = 1,
        act: type[nn.Module] = nn.SiLU,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(entering, leaving, kernel, stride, padding=kernel // 2, bias=False)
        self.norm = norm(leaving)
        self.activation = act()

    def forward(self, x: Tensor) -> Tensor:
        """(B, entering, H, W) -> (B, leaving, H / stride, W / stride)."""
        x = self.conv(x)
        x = self.norm(x)
        return self.activation(x)


class Bottleneck(nn.Module):
    """Two 3x3 convolutions."""

    def __init__(self, channels: int, norm: Norm) -> None:
        super().__init__()
        self.conv1 = ConvNorm(channels, channels, 3, norm)
        self.conv2 = ConvNorm(channels, channels, 3, norm)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) -> the same."""
        return self.conv2(self.conv1(x))


class C2f(nn.Module):
    """YOLOv8's C2f: half of a 1x1 convolution's output goes through bottlenecks, and all parts are joined."""

    def __init__(self, entering: int, channels: int, norm: Norm) -> None:
        super().__init__()
        self.channels = channels // 2
        self.conv1 = ConvNorm(entering, 2 * self.channels, 1, norm)
        self.conv2 = ConvNorm((2 + BLOCKS_OF_C2F) * self.channels, channels, 1, norm)
        self.bottlenecks = nn.ModuleList(Bottleneck(self.channels, norm) for _ in range(BLOCKS_OF_C2F))

    def forward(self, x: Tensor) -> Tensor:
        """(B, entering, H, W) -> (B, channels, H, W)."""
        parts = list(self.conv1(x).split(self.channels, 1))
        y = parts[-1].contiguous()
        for bottleneck in self.bottlenecks:
            y = bottleneck(y)
            parts.append(y)
        y = torch.cat(parts, 1)
        return self.conv2(y)


BLOCKS = {"rf_detr": Block}
POS_EMBEDS = {"rf_detr": Positions}
NECKS = {"rf_detr_maps": Maps, "rf_detr": Projector}
