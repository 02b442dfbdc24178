"""Makes operations on meta tensors return what they return in torch 2.13.0 and 2.14.1, on older versions too.

- The output and the gradients of a convolution are channels-last if the input or the weight is, as cuDNN makes them. On
  meta, torch 2.13.0 and 2.14.1 give a contiguous output, and torch 2.6.0 and 2.9.1 contiguous gradients. This matters
  because autograd copies a weight's gradient that has another memory order than the weight, and a view of the output may
  need a copy. Sources: meta_conv and meta_convolution_backward; cudnn_conv_suggest_memory_format in
  aten/src/ATen/native/ConvUtils.h.
- Pixel shuffle and its gradient are contiguous, as on CUDA. On meta they are channels-last if their input is. Source:
  meta_pixel_shuffle, and math_pixel_shuffle in aten/src/ATen/native/PixelShuffle.cpp.
- The random state of flash attention is two numbers. In torch 2.6.0 it is one. Source:
  meta__scaled_dot_product_flash_attention.

All sources are in torch/_meta_registrations.py. For slices see `slices`; for differences between meta and CUDA see `cuda`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._prims_common import suggest_memory_format

RANDOM_STATE = 6
"""Its index in the results of flash attention."""


def as_in_torch_2_13(func: Any, args: Sequence[Any], result: Any) -> Any:
    """The `result` of an operation, with the layout and sizes of torch 2.13.0."""
    change = change_of(func)
    return change(args, result) if change else result


def change_of(func: Any) -> Callable[[Sequence[Any], Any], Any] | None:
    """What makes the result of an operation, from its arguments and its result, that of torch 2.13.0; None if it is that."""
    return _CHANGED.get(func)


def _in_order(args: Sequence[Any], out: Tensor) -> Tensor:
    return out.contiguous(memory_format=_layout(*args[:2]))


def _gradients(args: Sequence[Any], gradients: Sequence[Tensor | None]) -> tuple[Tensor | None, ...]:
    of_x, of_weight, of_bias = gradients
    layout = _layout(*args[1:3])
    return _as(layout, of_x), _as(layout, of_weight), of_bias


def _layout(x: Tensor, weight: Tensor) -> torch.memory_format:
    formats = {suggest_memory_format(x), suggest_memory_format(weight)} - {torch.contiguous_format}
    return formats.pop() if formats else torch.contiguous_format


def _as(layout: torch.memory_format, gradient: Tensor | None) -> Tensor | None:
    return None if gradient is None else gradient.contiguous(memory_format=layout)


def _contiguous(_: Sequence[Any], out: Tensor) -> Tensor:
    return out.contiguous()


def _two_numbers(_: Sequence[Any], results: tuple[Any, ...]) -> tuple[Any, ...]:
    state = results[RANDOM_STATE]
    return (*results[:RANDOM_STATE], state.new_empty(2), *results[RANDOM_STATE + 1 :])


_CHANGED: dict[Any, Callable[[Sequence[Any], Any], Any]] = {
    torch.ops.aten.convolution.default: _in_order,
    torch.ops.aten.convolution_backward.default: _gradients,
    torch.ops.aten.pixel_shuffle.default: _contiguous,
    torch.ops.aten.pixel_unshuffle.default: _contiguous,
    torch.ops.aten._scaled_dot_product_flash_attention.default: _two_numbers,
}
