"""Weights for comparing two implementations: drawn at random, and renamed from another's names."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn


def randomised(module: nn.Module, spread: float, seed: int = 0) -> nn.Module:
    """The module with its weights drawn anew from a normal distribution."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in module.parameters():
            weight.normal_(0, spread, generator=generator)
    return module


def packed(
    weights: Mapping[str, Tensor], renamed: Mapping[str, str | Callable[[re.Match[str]], str]]
) -> dict[str, Tensor]:
    """Weights by our names, those of `q_proj`, `k_proj` and `v_proj` in one.

    Args:
        weights: by another implementation's names.
        renamed: patterns in those names, in order, and what to put in their place.
    """
    result: dict[str, Tensor] = {}
    for name in weights:
        if "k_proj" in name or "v_proj" in name:
            continue
        parts = "qkv" if "q_proj" in name else "q"
        tensors = [weights[name.replace("q_proj", f"{part}_proj")] for part in parts]
        for pattern, ours in renamed.items():
            name = re.sub(pattern, ours, name)  # noqa: PLW2901 - one step after the other
        result[name] = torch.cat(tensors)
    return result
