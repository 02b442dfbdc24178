"""Counting an implementation that others wrote: its parameters, and its FLOPs as torch's FlopCounterMode has them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from samattn_cli.stack.meta import OnMeta


def counted(model: nn.Module, *inputs: Any, **named: Any) -> tuple[int, int]:
    """Parameters, and FLOPs of one forward, on meta tensors."""
    with torch.no_grad(), OnMeta(), FlopCounterMode(display=False) as counter:
        model(*inputs, **named)
    return sum(weight.numel() for weight in model.parameters()), counter.get_total_flops()
