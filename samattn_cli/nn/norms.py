"""Norms that are written out in the code of the families, and the epsilon that most have."""

from __future__ import annotations

import torch
from torch import Tensor, nn

NORM_EPS = 1e-6


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
