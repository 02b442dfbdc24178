"""Memory that the backward of an embedding allocates internally on CUDA, for more indices than it adds one by one.

It sorts the indices, finds where each index begins, adds up to 10 rows of one index at a time, and then the sums of each index.
Sources: Embedding.cu (embedding_dense_backward_cuda) and EmbeddingBackwardKernel.cu of ATen, and the temporary storage of cub's
radix sort, selection of unique keys and exclusive sum. The sizes are those of PyTorch 2.14.1 on the dry device.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..units import INT64_BYTES
from .cub import sort_bytes, sum_bytes, unique_bytes
from .tensor import is_contiguous

if TYPE_CHECKING:
    from .inside import Cuda, Steps
    from .ops import Op

FLOAT_BYTES = 4
ADDED_ONE_BY_ONE = 3072
"""Most indices whose rows are added without sorting."""
ROWS_PER_SUM = 10


def backward(op: Op, cuda: Cuda) -> Steps:
    """The gradient of a table (rows, C) from gradients (..., C): tables, temporaries, sums of rows, in their order."""
    C = op.entering[-1]
    indices, rows = math.prod(op.entering) // C, math.prod(op.leaving[:-1])
    result_bytes = int(op.allocates[0].nbytes)
    item_bytes = result_bytes // (rows * C)
    copied = () if is_contiguous(op.entering, op.strides[0]) else (indices * C * item_bytes,)
    if indices <= ADDED_ONE_BY_ONE:
        return (*copied, None)
    each, used = INT64_BYTES * indices, min(indices, rows)
    of_used, sums = INT64_BYTES * used, indices // ROWS_PER_SUM + used
    sorting = (each, each, each, sort_bytes(indices, rows - 1, cuda))
    found = (each, INT64_BYTES, each, unique_bytes(indices, cuda))
    counted = (of_used, of_used, sum_bytes(used))
    summed = (INT64_BYTES, INT64_BYTES * sums, max(item_bytes, FLOAT_BYTES) * sums * C)
    at = len(copied)
    return (
        *(*copied, *sorting, -at - 4, -at - 3, None),
        *(*found, -at - 8, -at - 7),
        *(*counted, -at - 11),
        *summed,
    )
