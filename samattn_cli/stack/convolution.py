"""Corrects torch's FLOP formula for the backward of a convolution in groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.flop_counter import flop_registry

BACKWARD = torch.ops.aten.convolution_backward


def is_grouped_backward(func: Any, args: Sequence[Any]) -> bool:
    """Whether this is the backward of a convolution in groups: (gradient, x, weight, ..., groups, output mask)."""
    return func is BACKWARD.default and args[-2] > 1


def of_grouped_backward(*args: Any, out_val: Any) -> int:
    """FLOPs of the backward of a convolution in groups.

    torch's conv_backward_flop ignores groups: for the gradient of the weight it multiplies each channel of x with each
    channel of the gradient, and not only with those of its group.
    """
    *before, groups, (of_x, of_weight, _) = args
    formula = flop_registry[BACKWARD]
    by_x = formula(*before, groups, (of_x, False, False), out_val=out_val)
    by_weight = formula(*before, groups, (False, of_weight, False), out_val=out_val)
    return int(by_x) + int(by_weight) // int(groups)
