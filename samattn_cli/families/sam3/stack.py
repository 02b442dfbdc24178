"""SAM 3's vision encoder: ViTDet's blocks with rotary positions, tiled absolute ones, a pyramid.

Sources: SAM 3 (arXiv:2511.16719) and its code, sam3/model/vitdet.py and necks.py. Names, the packed projection and lifetimes
of tensors are those of that code. Rotary positions (see `rotary`) and eager attention, which Meta's code does not have, are
those of transformers' models/sam3. Shapes: B batch, H x W grid, C width, h heads, d = C / h.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from ...encoder.plan import LayerConfig, PartConfig
from ...stack.rotary import rotate, rotations
from ..vit import stack as vit


class Block(vit.WindowedBlock):
    """ViTDet's block with rotary positions; in a window they are those within the window."""

    def __init__(self, layer: LayerConfig, kernel: str = "eager") -> None:
        stage = layer.stage
        layers = OrderedDict(
            fc1=nn.Linear(stage.embed_dim, stage.mlp_dim),
            act=nn.GELU(),
            fc2=nn.Linear(stage.mlp_dim, stage.embed_dim),
        )
        super().__init__(layer, Attention(layer, kernel), nn.Sequential(layers))


class Attention(vit.Attention):
    """Multi-head self-attention over H x W tokens with rotary positions.

    In a global block, positions are scaled from the grid to the stage's window, on which SAM 3 was pretrained (its
    `rope_interp`).
    """

    def __init__(self, layer: LayerConfig, kernel: str) -> None:
        stage, size = layer.stage, layer.windows.size
        super().__init__(
            stage.embed_dim,
            stage.num_heads,
            qkv_bias=stage.qkv_bias,
            rel_pos="none",
            size=size,
            kernel=kernel,
        )
        self.size = size
        (H, W), (h, w) = self.size, stage.window_size
        self.position_scale = (h / H, w / W) if h else (1.0, 1.0)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        B, H, W, _ = x.shape
        q, k, v = self._split(x)  # (B, h, HW, d) each
        cos, sin = rotations(self.size, self.position_scale, q.shape[-1], x.device)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        out = self._attend(q, k, v)
        return self.proj(out.transpose(1, 2).reshape(B, H, W, -1))

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """(B, h, HW, d), each -> (B, h, HW, d)."""
        if self.kernel == "sdpa":
            return nn.functional.scaled_dot_product_attention(q, k, v, scale=self.scale)
        scores = (q @ k.transpose(-2, -1)) * self.scale  # (B, h, HW, HW)
        scores = scores.softmax(dim=-1)
        return scores @ v


def patch_no_bias(part: PartConfig) -> vit.PatchEmbed:
    """Non-overlapping patches by a convolution without a bias."""
    return vit.PatchEmbed(part, bias=False)


class TiledPosEmbed(nn.Module):
    """A learned vector for each patch of the pretraining grid, which is repeated over a larger grid and cut to it."""

    def __init__(self, part: PartConfig) -> None:
        super().__init__()
        self.size, self.grid = part.config.pretrain_grid, part.entering.grid
        self.position_embeddings = nn.Parameter(
            torch.zeros(1, self.size[0] * self.size[1], part.entering.dim)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> the same."""
        return x + self._tiled()

    def _tiled(self) -> Tensor:
        """(1, H, W, C)."""
        (h, w), (H, W) = self.size, self.grid
        table = self.position_embeddings.reshape(1, h, w, -1)
        if (h, w) == (H, W):
            return table
        # channels first, as in Meta's code: one tile more than fits whole, then cut to the grid
        tiles = table.permute(0, 3, 1, 2).tile([1, 1, H // h + 1, W // w + 1])
        return tiles[:, :, :H, :W].permute(0, 2, 3, 1)


class Sam3Fpn(nn.Module):
    """A simple pyramid: maps of out_chans at 4, 2, 1 and 1/2 times the grid, without their position encodings."""

    def __init__(self, part: PartConfig) -> None:
        super().__init__()
        dim, channels = part.entering.dim, part.config.out_chans
        resized: list[tuple[int, OrderedDict[str, nn.Module]]] = [
            (
                dim // 4,
                OrderedDict(
                    dconv_2x2_0=nn.ConvTranspose2d(dim, dim // 2, kernel_size=2, stride=2),
                    gelu=nn.GELU(),
                    dconv_2x2_1=nn.ConvTranspose2d(dim // 2, dim // 4, kernel_size=2, stride=2),
                ),
            ),
            (dim // 2, OrderedDict(dconv_2x2=nn.ConvTranspose2d(dim, dim // 2, kernel_size=2, stride=2))),
            (dim, OrderedDict()),
            (dim, OrderedDict(maxpool_2x2=nn.MaxPool2d(kernel_size=2, stride=2))),
        ]
        self.convs = nn.ModuleList(
            nn.Sequential(
                OrderedDict(
                    **layers,
                    conv_1x1=nn.Conv2d(width, channels, kernel_size=1),
                    conv_3x3=nn.Conv2d(channels, channels, kernel_size=3, padding=1),
                )
            )
            for width, layers in resized
        )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, H, W, C) -> four of (B, out_chans, H', W'), the largest first."""
        x = x.permute(0, 3, 1, 2)
        return tuple(level(x) for level in self.convs)


BLOCKS = {"rope_vit": Block}
PATCH_EMBEDS = {"patch_no_bias": patch_no_bias}
POS_EMBEDS = {"tiled": TiledPosEmbed}
NECKS = {"sam3_fpn": Sam3Fpn}
