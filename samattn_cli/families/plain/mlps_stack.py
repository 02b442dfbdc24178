"""The MLPs of plain blocks, by the words of the key `mlp`.

Sources: timm, layers/mlp.py, for names, order and lifetimes; openai/CLIP, model.py, for quick GELU.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from ...stack.norms import NORM_EPS

MakesMlp = Callable[[int, int], nn.Module]
"""(width, hidden width) -> the module."""


class QuickGELU(nn.Module):
    """CLIP's approximation of GELU (openai/CLIP, model.py)."""

    def forward(self, x: Tensor) -> Tensor:
        """X * sigmoid(1.702 x)."""
        return x * torch.sigmoid(1.702 * x)


class Mlp(nn.Module):
    """Linear, activation, linear."""

    def __init__(self, dim: int, hidden_dim: int, act: Callable[[], nn.Module] = nn.GELU) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.act = act()
        self.fc2 = nn.Linear(hidden_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C)."""
        return self.fc2(self.act(self.fc1(x)))


class SwiGlu(nn.Module):
    """SiLU of one linear layer gates another (arXiv:2002.05202)."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.fc1_g = nn.Linear(dim, hidden_dim)
        self.fc1_x = nn.Linear(dim, hidden_dim)
        self.act = nn.SiLU()
        self.fc2 = nn.Linear(hidden_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C)."""
        gate = self.fc1_g(x)
        x = self.fc1_x(x)
        x = self.act(gate) * x
        return self.fc2(x)


class NormedSwiGlu(nn.Module):
    """The same, with a norm before the last layer, as in EVA-02."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.fc1_g = nn.Linear(dim, hidden_dim)
        self.fc1_x = nn.Linear(dim, hidden_dim)
        self.act = nn.SiLU()
        self.norm = nn.LayerNorm(hidden_dim, eps=NORM_EPS)
        self.fc2 = nn.Linear(hidden_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C)."""
        gate = self.fc1_g(x)
        x = self.fc1_x(x)
        x = self.act(gate) * x
        x = self.norm(x)
        return self.fc2(x)


class PackedSwiGlu(nn.Module):
    """The same, with one linear layer for both."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, 2 * hidden_dim)
        self.act = nn.SiLU()
        self.fc2 = nn.Linear(hidden_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C)."""
        gate, up = self.fc1(x).chunk(2, dim=-1)
        x = self.act(gate) * up
        return self.fc2(x)


quick_gelu = partial(Mlp, act=QuickGELU)

MLPS: dict[str, MakesMlp] = {
    "gelu": Mlp,
    "gelu_tanh": partial(Mlp, act=partial(nn.GELU, approximate="tanh")),
    "swiglu": SwiGlu,
    "swiglu_packed": PackedSwiGlu,
}
