"""Patch embedding, position embedding, blocks and neck: the image encoder of SAM.

Source: segment-anything, modeling/image_encoder.py and modeling/common.py. A released checkpoint's
``image_encoder.*`` entries load with ``strict=True``.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..config.model import EncoderConfig
from .cuda import AutocastOnCuda
from .vit import NORM_EPS, Block


class ImageEncoderViT(nn.Module):
    """The encoder that a config describes."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        width = config.stages[0].embed_dim
        self.patch_embed = PatchEmbed(config.in_chans, width, config.patch_size)
        learned = config.pos_embed == "learned"
        self.pos_embed = nn.Parameter(torch.zeros(1, *config.grid, width)) if learned else None
        self.blocks = nn.ModuleList(
            Block(layer, config.grid, config.run.attention) for layer in config.layers
        )
        self.neck = sam_neck(width, config.out_chans) if config.neck == "sam" else None
        self.checkpointing = config.run.checkpointing
        self.autocast = None if config.run.autocast == "none" else getattr(torch, config.run.autocast)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_chans, height, width) -> (B, out_chans, H, W); without a neck (B, H, W, C)."""
        with self._autocast(x):
            return self._forward(x)

    def _autocast(self, x: Tensor) -> AbstractContextManager[Any]:
        if self.autocast is None:
            return nullcontext()
        return AutocastOnCuda(self.autocast) if x.is_meta else torch.autocast(x.device.type, self.autocast)

    def _forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)
        if self.pos_embed is not None:
            x = x + self.pos_embed
        for block in self.blocks:
            x = self._run(block, x)
        if self.neck is None:
            return x
        return self.neck(x.permute(0, 3, 1, 2))

    def _run(self, block: nn.Module, x: Tensor) -> Tensor:
        if not (self.checkpointing and torch.is_grad_enabled()):
            return block(x)
        again = (
            self._autocast(x) if x.is_meta else nullcontext()
        )  # a device's own is restored by checkpoint itself
        return checkpoint(
            block, x, use_reentrant=False, preserve_rng_state=False, context_fn=lambda: (nullcontext(), again)
        )


class PatchEmbed(nn.Module):
    """Non-overlapping patches to vectors; a rest of the image smaller than a patch is dropped."""

    def __init__(self, in_chans: int, dim: int, patch_size: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_chans, dim, kernel_size=patch_size, stride=patch_size)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_chans, height, width) -> (B, H, W, C)."""
        return self.proj(x).permute(0, 2, 3, 1)


class LayerNorm2d(nn.Module):
    """Layer norm over the channels of (B, C, H, W), written out as in SAM's code."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        mean = x.mean(1, keepdim=True)
        variance = (x - mean).pow(2).mean(1, keepdim=True)
        x = (x - mean) / torch.sqrt(variance + NORM_EPS)
        return self.weight[:, None, None] * x + self.bias[:, None, None]


def sam_neck(dim: int, out_chans: int) -> nn.Sequential:
    """1x1 convolution, norm, 3x3 convolution, norm."""
    return nn.Sequential(
        nn.Conv2d(dim, out_chans, kernel_size=1, bias=False),
        LayerNorm2d(out_chans),
        nn.Conv2d(out_chans, out_chans, kernel_size=3, padding=1, bias=False),
        LayerNorm2d(out_chans),
    )


def build(config: EncoderConfig, device: str = "cpu") -> ImageEncoderViT:
    """The encoder of `config` in its dtype on `device` ("meta" takes no memory), in evaluation mode."""
    with torch.device(device):
        return ImageEncoderViT(config).to(getattr(torch, config.run.dtype)).eval()


def image_for(config: EncoderConfig, device: str = "cpu") -> Tensor:
    """An input of the size, batch and dtype of `config`: (B, in_chans, height, width)."""
    shape = (config.run.batch_size, config.in_chans, *config.image_size)
    return torch.empty(shape, dtype=getattr(torch, config.run.dtype), device=device)
