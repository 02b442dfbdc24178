"""The partial sums of a reduction on CUDA: the buffers of blocks that share an output, and their semaphores.

Source: aten/src/ATen/native/cuda/Reduce.cuh of PyTorch 2.14.1 (setReduceConfig, global_memory_size, semaphore_size) and
TensorIterator, which puts reduced dimensions first, in the order of their strides, then the others in the order of the result,
whose memory is in row-major order, and joins dimensions that are adjacent in the memory of both.
"""

from __future__ import annotations

import math

from ..records import dataclass
from .storage import Shape
from .tensor import contiguous_stride

WARP = 32
MOST_THREADS = 512
VECTOR = 4
LEAST_TO_VECTORIZE = 128
LEAST_VALUES, MOST_VALUES = 16, 256
"""Values that a thread sums."""

SUM_BYTES = 4
"""Bytes of a partial sum, which is float32 for every type of input."""

INT_BYTES = 4


@dataclass(frozen=True)
class _Dim:
    size: int
    stride: int
    to: int  # the stride of the result; 0 if it is reduced

    @property
    def is_reduced(self) -> bool:
        return self.to == 0


def partial_sums(
    shape: Shape,
    stride: Shape,
    kept: Shape,
    multiprocessors: int,
    threads_per_multiprocessor: int,
    *,
    sum_bytes: int = SUM_BYTES,
) -> tuple[int, ...]:
    """The bytes that a sum allocates in addition to its result: partial sums and semaphores; () if it needs none.

    Args:
        shape: the shape of the input.
        stride: its strides, in elements.
        kept: the shape of the result. Leading dimensions that it lacks are summed, and those that are 1.
        multiprocessors: those of the device.
        threads_per_multiprocessor: resident threads of each.
        sum_bytes: bytes of a partial sum, or of what another reduction keeps.
    """
    dims = _joined(shape, stride, kept)
    outputs = math.prod(dim.size for dim in dims if not dim.is_reduced)
    inputs = math.prod(dim.size for dim in dims if dim.is_reduced)
    if outputs * inputs == 0:
        return ()
    reduced = sum(dim.is_reduced for dim in dims)
    along = (
        reduced == len(dims) or dims[0].stride < dims[reduced].stride
    )  # the reduced dimension is the fastest
    fastest = dims[0 if along else reduced].stride if dims else 1
    width, height, vector = (inputs, outputs, 1) if along else (outputs, inputs, 1)
    if fastest == 1 and along and width >= LEAST_TO_VECTORIZE and reduced == 1:
        width //= VECTOR
    elif fastest == 1 and not along:
        vector = _output_vector(dims, reduced)
        width //= vector
    block_width, block_height = _block(width, height, MOST_THREADS // vector)
    grid, values, splits = _split(inputs, outputs // vector, block_width, block_height, along=along)
    most = multiprocessors * (threads_per_multiprocessor // (block_width * block_height))
    if not splits or values < MOST_VALUES or grid > most:
        return ()
    least, top = _div_up(values, MOST_VALUES), _div_up(values, LEAST_VALUES)
    blocks = min(max(_div_up(most, grid), least), top)
    if blocks <= 1:
        return ()
    size = sum_bytes * outputs * blocks * (1 if along else block_width * vector)
    return size, INT_BYTES * grid


def _joined(shape: Shape, stride: Shape, kept: Shape) -> list[_Dim]:
    """The dimensions as in TensorIterator: reduced first, smallest stride first, adjacent ones joined."""
    leading = len(shape) - len(kept)
    to = (*[0] * leading, *contiguous_stride(kept))
    dims = [
        _Dim(size, step, 0 if at < leading or kept[at - leading] == 1 else to[at])
        for at, (size, step) in enumerate(zip(shape, stride, strict=True))
        if size != 1
    ]
    joined: list[_Dim] = []
    for dim in sorted(dims, key=lambda dim: (dim.to, dim.stride)):
        last = joined[-1] if joined else None
        if last and (last.size * last.stride, last.size * last.to) == (dim.stride, dim.to):
            joined[-1] = _Dim(last.size * dim.size, last.stride, last.to)
        else:
            joined.append(dim)
    return joined


def _output_vector(dims: list[_Dim], reduced: int) -> int:
    """Number of outputs that a thread loads at once."""
    vector = VECTOR
    for at, dim in enumerate(dims):
        number = dim.size if at == reduced else dim.stride
        while number % vector:
            vector //= 2
    return vector


def _block(width: int, height: int, most: int) -> tuple[int, int]:
    wide, high = (min(_last_power(side), most) for side in (width, height))
    block_height = min(high, most // min(wide, WARP))
    return min(wide, most // block_height), block_height


def _split(
    inputs: int, outputs: int, block_width: int, block_height: int, *, along: bool
) -> tuple[int, int, bool]:
    """The number of blocks over the outputs, the values of a thread, and whether the warps of a block share an output."""
    step_in, step_out = (block_width, 1) if along else (1, block_width)
    splits = _div_up(inputs, step_in) >= min(block_height * LEAST_VALUES, MOST_VALUES)
    if splits:
        step_in *= block_height
    else:
        step_out *= block_height
    return _div_up(outputs, step_out), _div_up(inputs, step_in), splits


def _last_power(number: int) -> int:
    """The largest power of two up to a number."""
    return 1 << (max(number, 1).bit_length() - 1)


def _div_up(number: int, by: int) -> int:
    return -(-number // by)
