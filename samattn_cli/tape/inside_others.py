"""Memory that CUDA operators allocate internally which samattn's own encoders do not run, but traced modules do.

Sources, of PyTorch 2.14.1, below aten/src/ATen/native/cuda:

- group norm makes a scale and a shift for each image and channel, and its backward two sums for each, two factors for each
  group, and a scale (group_norm_kernel.cu);
- dropout makes its mask before its result (Dropout.cu);
- a maximum, or another reduction of a dimension, keeps partial results as a sum does (Reduce.cuh);
- unfold makes a tensor like its input, and resizes it (Im2Col.cu).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .reduction import partial_sums
from .tensor import is_contiguous

if TYPE_CHECKING:
    from .inside import Cuda, Steps
    from .ops import Op

FLOAT_BYTES = 4
IMAGES_AND_CHANNELS = 2
WITHOUT_WEIGHTS = 4  # operands of a group norm's backward: gradient, input, mean, factor
PAIR_BYTES = 16
"""Bytes of a value and its index, and of the running mean, variance and count of `var`."""
IN_OWN_TYPE = frozenset({"amax", "amin"})
"""Reductions whose partial results are of the type of their result."""
WIDENS = frozenset({"sum", "mean", "prod", "linalg_vector_norm"})
"""Reductions whose partial results are float32, or int64 and float64 for such a result."""
WIDE_BYTES = 8


def group_norm(op: Op, _: Cuda) -> Steps:
    """Forward: a scale and a shift for each image and channel, if it has weights. One pixel is normalized without them."""
    if math.prod(op.entering[IMAGES_AND_CHANNELS:]) == 1 or len(op.reads) == 1:
        return ()
    scale = FLOAT_BYTES * math.prod(op.entering[:IMAGES_AND_CHANNELS])
    return (*[None] * len(op.allocates), scale, scale)


def group_norm_backward(op: Op, _: Cuda) -> Steps:
    """Two sums for each image and channel; for the input's gradient two factors for each group, and a scale with weights."""
    groups = FLOAT_BYTES * math.prod(op.layout.shape) if op.layout else 0
    sums = FLOAT_BYTES * math.prod(op.entering[:IMAGES_AND_CHANNELS])
    of_input = (groups, groups) if op.leaving == op.entering else ()
    if math.prod(op.entering[IMAGES_AND_CHANNELS:]) == 1:
        return (*[None] * len(op.allocates), *of_input)
    scale = (sums,) if of_input and len(op.reads) > WITHOUT_WEIGHTS else ()
    return (*[None] * len(op.allocates), sums, sums, *of_input, *scale)


def dropout(op: Op, _: Cuda) -> Steps:
    """The mask, which is its second result, first."""
    return op.allocates[1:]


def reduced(op: Op, cuda: Cuda) -> Steps:
    """Partial results after the results, where blocks share an output. Before them, numbers that are summed as int64."""
    numbers = math.prod(op.entering)
    item = int(op.allocates[0].nbytes // max(math.prod(op.leaving), 1))
    widened = op.name in WIDENS and item == WIDE_BYTES and op.reads[0].nbytes < numbers * item
    shape, stride, kept = op.entering, op.strides[0], op.layout.shape if op.layout else ()
    taken = partial_sums(
        shape,
        stride,
        kept,
        cuda.multiprocessors,
        cuda.threads_per_multiprocessor,
        sum_bytes=_partial_bytes(op.name, item),
    )
    return (*[None] * len(op.allocates), *[numbers * item] * widened, *taken)


def _partial_bytes(name: str, item_bytes: int) -> int:
    """Bytes of a partial result."""
    if name in IN_OWN_TYPE:
        return item_bytes
    return max(FLOAT_BYTES, item_bytes) if name in WIDENS else PAIR_BYTES


def unfold(op: Op, _: Cuda) -> Steps:
    """A tensor like the input, which its result replaces if it is larger; before that, a copy of an input with gaps."""
    nbytes = int(op.reads[0].nbytes)
    if op.allocates[0].nbytes <= nbytes:
        return ()
    copied = () if is_contiguous(op.entering, op.strides[0]) else (nbytes,)
    return (nbytes, *copied, None, -1)
