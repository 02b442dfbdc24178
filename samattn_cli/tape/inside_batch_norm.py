"""Memory that batch norm allocates internally on CUDA, where ATen's own kernels run; cuDNN's workspace is not modelled.

Sources, of PyTorch 2.14.1, below aten/src/ATen/native/cuda: Normalization.cu (batch_norm_backward_cuda), Normalization.cuh.

- Of images in the memory order of channels-last, blocks that share a channel keep partial sums, and a counter for each group of
  channels: of the mean and variance in the forward, and of two sums for the gradients in the backward.
- Their backward first makes those two sums for each channel, then the gradients of weight and bias, then that of the input.
- Of contiguous images one kernel computes all gradients; it copies a gradient whose rows cannot be merged.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .storage import Shape
from .tensor import CHANNELS_LAST, IMAGE_DIMS, lies_in_order

if TYPE_CHECKING:
    from .inside import Cuda, Steps
    from .ops import Op

FLOAT_BYTES = 4
COUNTER_BYTES = 4
BLOCK = 512
TILE = 32
PER_THREAD = 16
MOST_BLOCKS = 128
FEWEST_BLOCKS = 8
"""Of fewer blocks for a channel, one does all the work."""
IN_FORWARD, IN_BACKWARD = 4, 2
"""Partial results for each channel: mean, squares and counts; two sums."""
OF_CUDNN = 6
"""Operands of the backward where the forward is cuDNN's; the fourth is empty if it ran in evaluation."""


def forward(op: Op, _: Cuda) -> Steps:
    """In training mode, partial results after the results."""
    if len(op.allocates) == OF_CUDNN - 2 or not _is_last(op.entering, op.strides[0]):
        return ()
    return (*[None] * len(op.allocates), *_partial(op.entering, IN_FORWARD))


def backward(op: Op, _: Cuda) -> Steps:
    """The sums, and partial results, before the gradient of the input."""
    gradient, entering = op.strides[:2]
    if len(op.reads) == OF_CUDNN and op.reads[3].nbytes:
        return ()
    gives_input = len(op.allocates) % 2 == 1
    is_last = _is_last(op.entering, entering)
    copied = () if is_last or _has_merged_rows(op.entering, gradient) else (int(op.reads[0].nbytes),)
    if gives_input and not is_last:
        return copied
    sums = (FLOAT_BYTES * op.entering[1],) * 2
    partial = _partial(op.entering, IN_BACKWARD) if _is_last(op.entering, gradient) else ()
    freed = range(-len(sums) - len(partial), -len(sums))
    of_weights = op.allocates[1:] if gives_input else op.allocates
    return (*sums, *of_weights, *partial, *freed)


def _partial(shape: Shape, numbers: int) -> tuple[int, ...]:
    """Partial results, and counters of finished blocks, where several blocks share a channel (flexible_launch_configs)."""
    channels = shape[1]
    values = math.prod(shape) // channels
    across = min(_power_of_2(channels), TILE)
    down = min(_power_of_2(-(-values // PER_THREAD)), BLOCK // across)
    if across * down != BLOCK:
        across = min(_power_of_2(channels), BLOCK // down)
    blocks = min(-(-values // (down * PER_THREAD)), MOST_BLOCKS)
    if blocks < FEWEST_BLOCKS:
        return ()
    return numbers * FLOAT_BYTES * channels * blocks, COUNTER_BYTES * -(-channels // across)


def _power_of_2(number: int) -> int:
    """The largest power of 2 that is not above a number."""
    return 1 << (number.bit_length() - 1)


def _is_last(shape: Shape, stride: Shape) -> bool:
    """Whether a tensor lies in the order of channels-last."""
    return len(shape) == IMAGE_DIMS and lies_in_order(shape, stride, CHANNELS_LAST)


def _has_merged_rows(shape: Shape, stride: Shape) -> bool:
    """Whether (B, C, H, W) is also a view (B, C, H * W)."""
    if len(shape) != IMAGE_DIMS:
        return True
    (*_, height, width), (*_, down, across) = shape, stride
    return bool(height == 1 or width == 1 or down == across * width)
