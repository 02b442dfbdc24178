"""What torch's tools have otherwise of a convolution's backward: FLOPs of one in groups, and layouts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch._prims_common import suggest_memory_format
from torch.utils.flop_counter import flop_registry

FORWARD = torch.ops.aten.convolution
BACKWARD = torch.ops.aten.convolution_backward


def is_grouped_backward(func: Any, args: Sequence[Any]) -> bool:
    """Whether this is the backward of a convolution in groups: (gradient, x, weight, ..., groups, output mask)."""
    return func is BACKWARD.default and args[-2] > 1


def of_grouped_backward(*args: Any, out_val: Any) -> int:
    """FLOPs of the backward of a convolution in groups.

    torch's conv_backward_flop knows no groups: it multiplies each channel of x with each of the gradient for the
    gradient of the weight, where each meets only those of its group.
    """
    *before, groups, (of_x, of_weight, _) = args
    formula = flop_registry[BACKWARD]
    by_x = formula(*before, groups, (of_x, False, False), out_val=out_val)
    by_weight = formula(*before, groups, (False, of_weight, False), out_val=out_val)
    return int(by_x) + int(by_weight) // int(groups)


def laid_out(func: Any, args: Sequence[Any], result: Any) -> Any:
    """What a convolution or its backward made, in the layout that it has on meta in torch 2.13.0 and 2.14.1.

    The output of a convolution is contiguous; its gradients are channels-last if the input or the weight is. In torch
    2.6.0 and 2.9.1 it is the output that follows the input, and the gradients are contiguous. Sources: meta_conv and
    meta_convolution_backward in torch/_meta_registrations.py. The layout matters to autograd, which copies the gradient
    of a weight that is laid out otherwise than the weight.
    """
    if func is FORWARD.default:
        return result.contiguous()
    if func is not BACKWARD.default:
        return result
    of_x, of_weight, of_bias = result
    layout = _layout(*args[1:3])
    return (*(_as(layout, each) for each in (of_x, of_weight)), of_bias)


def _layout(x: Tensor, weight: Tensor) -> torch.memory_format:
    formats = {suggest_memory_format(x), suggest_memory_format(weight)} - {torch.contiguous_format}
    return formats.pop() if formats else torch.contiguous_format


def _as(layout: torch.memory_format, gradient: Tensor | None) -> Tensor | None:
    return None if gradient is None else gradient.contiguous(memory_format=layout)
