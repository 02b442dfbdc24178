"""What LayerNorm allocates internally on CUDA.

Source: native/cuda/layer_norm_kernel.cu of PyTorch 2.14.1 (layer_norm_backward_cuda, LaunchGammaBetaBackwardCUDAKernel), compared with
dry runs of torch 2.6.0, 2.11.0, 2.14.1 and 2.15.0.

- Forward and backward copy an operand that is not contiguous.
- Since `IN_PARTS_SINCE` (pytorch/pytorch #150625, April 2025), the gradients of weight and bias of many short rows are partial sums
  of blocks of rows, which are then added up. That makes these gradients once more.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..encoder.torch_versions import Version
from .inside_others import FLOAT_BYTES
from .reduction import partial_sums
from .tensor import contiguous_stride, is_contiguous

if TYPE_CHECKING:
    from .inside import Cuda, Steps
    from .ops import Op

IN_PARTS_SINCE: Version = (2, 8)
MANY_ROWS = 64 * 1024
BLOCK_WIDTH = BLOCK_ROWS = 32
MOST_PARTIAL = 1 << 20
"""The most partial sums of a weight's gradient."""


def forward(op: Op, _: Cuda) -> Steps:
    """A copy of the input."""
    return _copies(op, 1)


def backward(op: Op, cuda: Cuda) -> Steps:
    """Copies of the gradient and the input, of one shape, and partial sums of the gradients of weight and bias."""
    copies = _copies(op, 2)
    width = op.entering[-1]
    rows = math.prod(op.entering[:-1])
    if not _is_in_parts(rows, width, cuda):
        return copies
    return (*copies, *_in_parts(op, (_blocks(rows, width), width), len(copies), cuda))


def _copies(op: Op, operands: int) -> tuple[int, ...]:
    nbytes = op.allocates[0].nbytes
    return tuple(nbytes for stride in op.strides[:operands] if not is_contiguous(op.entering, stride))


def _is_in_parts(rows: int, width: int, cuda: Cuda) -> bool:
    is_narrow = width // BLOCK_WIDTH < cuda.multiprocessors // 2
    return cuda.torch >= IN_PARTS_SINCE and rows > MANY_ROWS and is_narrow


def _blocks(rows: int, width: int) -> int:
    """How many blocks of rows have sums of their own."""
    return min(-(-rows // BLOCK_ROWS), MOST_PARTIAL // width)


def _in_parts(op: Op, shape: tuple[int, int], made: int, cuda: Cuda) -> Iterator[int | None]:
    """The steps after `made` internal allocations, for partial sums of a shape (blocks, width)."""
    blocks, width = shape
    weights = [each.nbytes for each in op.allocates if each.nbytes <= width * FLOAT_BYTES]
    scratch = partial_sums(
        shape, contiguous_stride(shape), (width,), cuda.multiprocessors, cuda.threads_per_multiprocessor
    )
    yield from [None] * (len(op.allocates) - len(weights))  # the gradient of the input
    yield from weights
    yield from (blocks * nbytes for nbytes in weights)
    first, made = made + 1, made + 2 * len(weights)
    for number in range(len(weights)):
        yield None  # the sum
        yield from scratch
        yield from range(-made - len(scratch), -made)
        made += len(scratch)
        yield -(first + number)
