"""ViTDet's own parts: convolutional residual blocks, pretrained position embeddings, the simple feature pyramid.

Source: ViTDet (arXiv:2203.16527) and its code, detectron2's modeling/backbone/vit.py and utils.py; parameter names,
values and the lifetimes of tensors are theirs. (Their ``pos_embed`` is ``pos_embed.pos_embed`` here, ``simfp_2`` to
``simfp_5`` are ``neck.simfp_2`` to ``neck.simfp_5``.) Norms over channels are detectron2's LayerNorm, written out as
SAM's. Shapes: B batch, H x W grid, C width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...encoder.plan import LayerConfig, PartConfig
from ...stack.norms import LayerNorm2d
from ..vit import stack as vit


class Block(vit.Block):
    """SAM's block, followed by a convolutional residual block if it has one."""

    def __init__(self, layer: LayerConfig, kernel: str = "eager") -> None:
        super().__init__(layer, kernel)
        self.residual = ResBottleneckBlock(layer.stage.embed_dim) if layer.has_residual_block else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        x = super().forward(x)
        return x if self.residual is None else self.residual(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class ResBottleneckBlock(nn.Sequential):
    """Convolutions 1x1, 3x3 and 1x1 with half of the width, a norm after each, GELU between; added to the input."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        half = dim // 2
        self.conv1 = nn.Conv2d(dim, half, 1, bias=False)
        self.norm1 = LayerNorm2d(half)
        self.act1 = nn.GELU()
        self.conv2 = nn.Conv2d(half, half, 3, padding=1, bias=False)
        self.norm2 = LayerNorm2d(half)
        self.act2 = nn.GELU()
        self.conv3 = nn.Conv2d(half, dim, 1, bias=False)
        self.norm3 = LayerNorm2d(dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return x + super().forward(x)


class PretrainedPosEmbed(nn.Module):
    """A vector per token of the pretraining grid, resized to another grid; that of the class token is unused."""

    def __init__(self, part: PartConfig) -> None:
        super().__init__()
        self.grid = part.config.pretrain_grid
        H, W = self.grid
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + H * W, part.entering.dim))

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        return x + self._positions(x.shape[1], x.shape[2])

    def _positions(self, height: int, width: int) -> Tensor:
        """(1, height, width, C)."""
        positions = self.pos_embed[:, 1:].reshape(1, *self.grid, -1)
        if self.grid == (height, width):
            return positions
        size = (height, width)
        return F.interpolate(positions.permute(0, 3, 1, 2), size=size, mode="bicubic").permute(0, 2, 3, 1)


class ConvNorm(nn.Conv2d):
    """A convolution that keeps the size, without a bias, and its norm, like detectron2's Conv2d."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False)
        self.norm = LayerNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, out_channels, H, W)."""
        x = super().forward(x)
        return self.norm(x)


class SimpleFeaturePyramid(nn.Module):
    """Five maps from the last feature map: at scales 4, 2, 1, 1/2, and the last subsampled (LastLevelMaxPool)."""

    def __init__(self, part: PartConfig) -> None:
        super().__init__()
        dim, channels = part.entering.dim, part.config.out_chans
        by_four = (
            nn.ConvTranspose2d(dim, dim // 2, kernel_size=2, stride=2),
            LayerNorm2d(dim // 2),
            nn.GELU(),
            nn.ConvTranspose2d(dim // 2, dim // 4, kernel_size=2, stride=2),
        )
        by_two = nn.ConvTranspose2d(dim, dim // 2, kernel_size=2, stride=2)
        self.simfp_2 = _level(*by_four, width=dim // 4, channels=channels)
        self.simfp_3 = _level(by_two, width=dim // 2, channels=channels)
        self.simfp_4 = _level(width=dim, channels=channels)
        self.simfp_5 = _level(nn.MaxPool2d(kernel_size=2, stride=2), width=dim, channels=channels)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, H, W, C) -> (B, out_chans, ...) of sides 4H, 2H, H, H/2, H/4: detectron2's p2 to p6 at patches of 16."""
        x = x.permute(0, 3, 1, 2)
        levels = [level(x) for level in self.children()]
        return *levels, F.max_pool2d(levels[-1], kernel_size=1, stride=2)


def _level(*scale: nn.Module, width: int, channels: int) -> nn.Sequential:
    """One map: scaled to `width` channels, then convolutions 1x1 and 3x3, a norm after each."""
    return nn.Sequential(*scale, ConvNorm(width, channels, 1), ConvNorm(channels, channels, 3))


BLOCKS = {"vitdet": Block}
POS_EMBEDS = {"pretrained": PretrainedPosEmbed}
NECKS = {"simple_fpn": SimpleFeaturePyramid}
