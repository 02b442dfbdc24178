"""LW-DETR's encoder in PyTorch: a plain ViT over windows that are a batch, and the projector.

Sources: Atten4Vis/LW-DETR, models/backbone/vit.py, for names and lifetimes of blocks; transformers 5.23,
models/lw_detr/modeling_lw_detr.py, for the projector, which LW-DETR's code writes with activations in place. Its code makes a map
as soon as a block has run; here the maps are made after the last block. Shapes: B images, H x W grid, k x l windows of an image,
M = B * k * l, N tokens of a window, C width, h heads, d = C / h.
"""

from __future__ import annotations

from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...encoder.plan import LayerConfig, PartConfig
from ...stack.norms import NORM_EPS
from ..rf_detr.stack import C2f, ChannelNorm, ConvNorm, Mlp
from ..rf_detr.words import blocks_read
from .words import WIDE

SCALE = 0.1
"""The numbers by which a block scales what it adds, at the start."""


class Block(nn.Module):
    """Pre-norm block that scales what it adds; its global kind attends to all windows of an image at once."""

    def __init__(self, layer: LayerConfig, kernel: str) -> None:
        super().__init__()
        stage = layer.stage
        dim = stage.embed_dim
        self.gamma_1 = nn.Parameter(torch.full((dim,), SCALE))
        self.gamma_2 = nn.Parameter(torch.full((dim,), SCALE))
        self.norm1 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.attn = Attention(dim, stage.num_heads, qkv_bias=stage.qkv_bias, kernel=kernel)
        self.norm2 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.mlp = Mlp(dim, stage.mlp_dim)
        self.joins = prod(layer.cut) if layer.is_global else 1

    def forward(self, x: Tensor) -> Tensor:
        """(M, N, C) -> (M, N, C)."""
        M, N, C = x.shape
        shortcut = x
        x = self.norm1(x)
        x = x.reshape(M // self.joins, self.joins * N, C)
        x = self.gamma_1 * self.attn(x)
        x = x.reshape(M, N, C)
        x = shortcut + x
        return x + self.gamma_2 * self.mlp(self.norm2(x))


class Attention(nn.Module):
    """Multi-head self-attention with one projection, whose keys have no bias."""

    def __init__(self, dim: int, num_heads: int, *, qkv_bias: bool, kernel: str) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.scale = (dim // num_heads) ** -0.5
        self.kernel = kernel
        self.q_bias = nn.Parameter(torch.zeros(dim)) if qkv_bias else None
        self.v_bias = nn.Parameter(torch.zeros(dim)) if qkv_bias else None
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, N, C)."""
        B, N, C = x.shape
        bias = self._qkv_bias()
        # (B, N, 3C) -> (B, N, 3, h, d) -> (3, B, h, N, d)
        qkv = F.linear(x, self.qkv.weight, bias).reshape(B, N, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        if self.kernel == "eager":
            q = q * self.scale
            attn = q @ k.transpose(-2, -1)  # (B, h, N, N)
            attn = attn.softmax(dim=-1)
            x = attn @ v
        else:
            x = F.scaled_dot_product_attention(q, k, v, scale=self.scale)
        x = x.transpose(1, 2).reshape(B, N, C)
        return self.proj(x)

    def _qkv_bias(self) -> Tensor | None:
        """The bias of queries, keys (zeros) and values: (3C,)."""
        if self.q_bias is None or self.v_bias is None:
            return None
        return torch.cat((self.q_bias, torch.zeros_like(self.q_bias, requires_grad=False), self.v_bias))


class Positions(nn.Module):
    """The positions of patches, then windows as a batch."""

    lets_go = True

    def __init__(self, part: PartConfig) -> None:
        super().__init__()
        self.grid, self.cut = part.config.pretrain_grid, part.leaving.cut
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + prod(self.grid), part.entering.dim))

    def forward(self, entering: list[Tensor]) -> Tensor:
        """(B, H, W, C) -> (M, N, C)."""
        x = entering.pop()
        x = x + self._positions(x.shape[1], x.shape[2])
        (B, H, W, C), (k, m) = x.shape, self.cut
        # (B, k, H / k, l, W / l, C) -> (B, k, l, H / k, W / l, C)
        x = x.view(B, k, H // k, m, W // m, C).permute(0, 1, 3, 2, 4, 5)
        return x.reshape(B * k * m, -1, C)

    def _positions(self, height: int, width: int) -> Tensor:
        """Those of patches, resized to another grid: (1, height, width, C)."""
        positions = self.pos_embed[:, 1:]
        if (height, width) == self.grid:
            return positions.reshape(1, height, width, -1)
        positions = positions.reshape(1, *self.grid, -1).permute(0, 3, 1, 2)
        positions = F.interpolate(positions, size=(height, width), mode="bicubic", align_corners=False)
        return positions.permute(0, 2, 3, 1)


class Maps(nn.Module):
    """The outputs of some blocks as maps."""

    lets_go_of_taps = True

    def __init__(self, part: PartConfig) -> None:
        super().__init__()
        self.number = len(blocks_read(part.config))
        self.grid, self.cut = part.entering.grid, part.entering.cut

    def forward(self, entering: list[Tensor], taps: list[Tensor]) -> tuple[Tensor, ...]:
        """(M, N, C), each -> maps (B, C, H, W)."""
        made = tuple(map(self._map, [*taps, entering[0]][: self.number]))
        if (
            torch._C._is_tracing() and len(taps) == self.number
        ):  # a trace leaves out blocks that nothing reads
            made = (*made, entering[0])
        entering.clear()
        taps.clear()
        return made

    def _map(self, x: Tensor) -> Tensor:
        """(M, N, C) -> (B, C, H, W)."""
        (H, W), (k, m) = self.grid, self.cut
        B, C = x.shape[0] // (k * m), x.shape[2]
        # (B, k, l, H / k, W / l, C) -> (B, C, k, H / k, l, W / l)
        x = x.reshape(B, k, m, H // k, W // m, C).permute(0, 5, 1, 3, 2, 4)
        return x.reshape(B, C, H, W)


class Projector(Maps):
    """The maps, and a map of all of them for each scale."""

    def __init__(self, part: PartConfig) -> None:
        super().__init__(part)
        config = part.config
        self.scale_layers = nn.ModuleList(
            ScaleLayer(self.number, part.entering.dim, config.out_chans, scale)
            for scale in config.neck_scales
        )

    def forward(self, entering: list[Tensor], taps: list[Tensor]) -> tuple[Tensor, ...]:
        """(M, N, C), each -> (B, out_chans, ...), one for each scale."""
        maps = super().forward(entering, taps)
        made = tuple(layer(maps[: self.number]) for layer in self.scale_layers)
        return (*made, *maps[self.number :])


class ScaleLayer(nn.Module):
    """Maps at a scale, joined, and a C2f layer with its norm."""

    def __init__(self, number: int, dim: int, channels: int, scale: float) -> None:
        super().__init__()
        self.sampling_layers = nn.ModuleList(Sampling(dim, scale) for _ in range(number))
        times = 1 if scale <= 1 else 4 if dim > WIDE else 2
        self.projector_layer = C2f(number * (dim // times), channels, nn.BatchNorm2d)
        self.layer_norm = ChannelNorm(channels, eps=NORM_EPS)

    def forward(self, maps: tuple[Tensor, ...]) -> Tensor:
        """(B, C, H, W), each -> (B, channels, scale * H, scale * W)."""
        sampled = [layer(each) for layer, each in zip(self.sampling_layers, maps, strict=True)]
        x = torch.cat(sampled, dim=1)
        x = self.projector_layer(x)
        return self.layer_norm(x)


class Sampling(nn.Module):
    """A map at a scale of 2, 1 or 0.5."""

    def __init__(self, dim: int, scale: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_layers(dim, scale))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, ..., scale * H, scale * W)."""
        for layer in self.layers:
            x = layer(x)
        return x


def _layers(dim: int, scale: float) -> list[nn.Module]:
    if scale == 1:
        return []
    if scale < 1:
        return [ConvNorm(dim, dim, 3, nn.BatchNorm2d, stride=2, act=nn.ReLU)]
    if dim > WIDE:
        narrow = ConvNorm(dim, dim // 2, 1, nn.BatchNorm2d, act=nn.ReLU)
        return [narrow, nn.ConvTranspose2d(dim // 2, dim // 4, kernel_size=2, stride=2)]
    return [nn.ConvTranspose2d(dim, dim // 2, kernel_size=2, stride=2)]


BLOCKS = {"lw_detr": Block}
POS_EMBEDS = {"lw_detr": Positions}
NECKS = {"lw_detr_maps": Maps, "lw_detr": Projector}
