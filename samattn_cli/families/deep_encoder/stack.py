"""DeepSeek-OCR's DeepEncoder: the compressor between SAM's blocks and CLIP's, and the projector after them.

Source: deepseek-ai/DeepSeek-OCR, deepencoder/sam_vary_sdpa.py, clip_sdpa.py, build_linear.py and deepseek_ocr.py, with their
names. Position tables have the image's size; the public code resizes those of 1024 pixels. Its VitModel keeps the embeddings
until CLIP's blocks have run; here they are freed after their norm. Shapes: B batch, H x W grid, h x w the compressed grid,
N = 1 + hw tokens, C width of SAM's blocks, D of CLIP's.
"""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor, nn

from ...encoder.plan import PartConfig
from ..plain.stack import CLIP_NORM_EPS
from ..vit.stack import SamNeck
from .words import sam_channels


class Compressor(nn.Module):
    """SAM's neck, two convolutions of stride 2 that double its channels, and CLIP's embeddings with their norm."""

    def __init__(self, part: PartConfig) -> None:
        super().__init__()
        dim, tokens = part.leaving.dim, 1 + prod(part.leaving.grid)
        self.neck = SamNeck(part, dim // 4)
        self.net_2 = nn.Conv2d(dim // 4, dim // 2, kernel_size=3, stride=2, padding=1, bias=False)
        self.net_3 = nn.Conv2d(dim // 2, dim, kernel_size=3, stride=2, padding=1, bias=False)
        self.class_embedding = nn.Parameter(torch.zeros(dim))
        self.position_embedding = nn.Embedding(tokens, dim)
        self.register_buffer("position_ids", torch.arange(tokens).expand(1, -1))
        self.pre_layrnorm = nn.LayerNorm(dim, eps=CLIP_NORM_EPS)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, H, W, C) -> normed embeddings (B, N, D), and the features that they are made from (B, D, h, w)."""
        features = self._compressed(x)
        return self.pre_layrnorm(self._embedded(features)), features

    def _compressed(self, x: Tensor) -> Tensor:
        neck_output = self.neck(x)
        conv2_output = self.net_2(neck_output)
        return self.net_3(conv2_output)

    def _embedded(self, features: Tensor) -> Tensor:
        """Puts a class token first, then adds a learned vector to each token."""
        class_embeds = self.class_embedding.expand(features.shape[0], 1, -1)
        embeddings = torch.cat([class_embeds, _flat(features)], dim=1)
        return embeddings + self.position_embedding(self.position_ids)


class Projector(nn.Module):
    """CLIP's tokens without the class token, joined with the compressor's features by channel; then a linear layer."""

    def __init__(self, part: PartConfig) -> None:
        super().__init__()
        self.layers = nn.Linear(2 * part.entering.dim, part.leaving.dim)

    def forward(self, x: Tensor, features: Tensor) -> Tensor:
        """(B, N, D), (B, D, h, w) -> (B, hw, out_chans)."""
        return self.layers(torch.cat((x[:, 1:], _flat(features)), dim=-1))


class DeepSeekSamNeck(nn.Sequential):
    """SAM's neck, and two convolutions of stride 2, as in DeepSeek-OCR 2, whose second encoder takes what it returns."""

    def __init__(self, part: PartConfig) -> None:
        channels, doubled, out_chans = sam_channels(part.config)
        super().__init__()
        self.neck = SamNeck(part, channels)
        self.net_2 = nn.Conv2d(channels, doubled, kernel_size=3, stride=2, padding=1, bias=False)
        self.net_3 = nn.Conv2d(doubled, out_chans, kernel_size=3, stride=2, padding=1, bias=False)


def _flat(features: Tensor) -> Tensor:
    """(B, D, h, w) -> (B, hw, D), a view."""
    return features.flatten(2).transpose(1, 2)


TRANSITIONS = {"deepseek_compressor": Compressor}
NECKS = {"deepseek": Projector, "deepseek_sam": DeepSeekSamNeck}
