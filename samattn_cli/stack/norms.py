"""Norms that families write as several operations, and the epsilon that most of them have."""

from __future__ import annotations

import torch
from torch import Tensor, nn

NORM_EPS = 1e-6


class LayerNorm2d(nn.Module):
    """Layer norm over the channels of (B, C, H, W), as several operations like in SAM's code."""

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


class RMSNorm(nn.Module):
    """Vectors divided by their root mean square in float32, then scaled: the operations of transformers (T5's norm)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> the same."""
        dtype = x.dtype
        x = x.to(torch.float32)
        variance = x.pow(2).mean(-1, keepdim=True)
        x = x * torch.rsqrt(variance + NORM_EPS)
        return self.weight * x.to(dtype)
