"""LayerScale."""

from __future__ import annotations

import torch
from torch import Tensor, nn

LAYER_SCALE = 1e-5
"""Its factors before training, in DINOv2."""


class LayerScale(nn.Module):
    """Scales each channel by a learned factor (CaiT, arXiv:2103.17239)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim,), LAYER_SCALE))

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C)."""
        return x * self.gamma
