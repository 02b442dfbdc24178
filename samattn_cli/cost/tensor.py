"""Tensors without data: shape, strides and the storage they view, as PyTorch keeps them.

Whether a reshape is a view or a copy, and so whether it takes memory and time, depends on strides. The rules here
are ATen's: TensorUtils.cpp (computeStride) for views, TensorGeometry for contiguity, TensorIterator.cpp
(compute_strides) for the result of an elementwise operation.

A dimension is an int, a NumPy array (one entry a point of a sweep) or a SymPy symbol; `decide` is the only place
where a dimension steers the pass.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

Dim = Any
Shape = tuple[Dim, ...]


class MixedStructureError(Exception):
    """The points of an array disagree on a decision: they need one pass each."""


def decide(condition: Any) -> bool:
    """The truth of a comparison between dimensions; for arrays the one that all points share.

    Raises:
        MixedStructureError: if the points of an array do not share it.
    """
    if isinstance(condition, bool):
        return condition
    if not hasattr(condition, "all"):
        return bool(condition)
    every, some = bool(condition.all()), bool(condition.any())
    if every != some:
        raise MixedStructureError
    return every


def ceil_div(a: Dim, b: Dim) -> Dim:
    """Divide and round up."""
    return -(-a // b)


@dataclass(frozen=True, eq=False)
class Storage:
    """Memory behind one or more tensors, in bytes as asked for (not yet rounded by an allocator)."""

    nbytes: Dim


@dataclass(frozen=True, eq=False)
class Tensor:
    """A view of a storage: `shape` and `stride` in elements, `item_bytes` a number."""

    shape: Shape
    stride: Shape
    storage: Storage
    item_bytes: int

    @property
    def elements(self) -> Dim:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> Dim:
        """Bytes of its elements."""
        return self.elements * self.item_bytes

    @property
    def is_contiguous(self) -> bool:
        """Whether its elements lie in row-major order; dimensions of size 1 do not matter."""
        expected: Dim = 1
        for size, stride in zip(reversed(self.shape), reversed(self.stride), strict=True):
            if decide(size != 1):
                if decide(stride != expected):
                    return False
                expected = expected * size
        return True

    def permute(self, *order: int) -> Tensor:
        """The dimensions in another order; no copy."""
        return replace(
            self, shape=tuple(self.shape[i] for i in order), stride=tuple(self.stride[i] for i in order)
        )

    def narrow(self, shape: Shape) -> Tensor:
        """The leading corner of `shape`; no copy."""
        return replace(self, shape=shape)

    def select(self) -> Tensor:
        """The tensor without its first dimension, as one of ``unbind(0)``; no copy."""
        return replace(self, shape=self.shape[1:], stride=self.stride[1:])

    def view(self, *shape: Dim) -> Tensor:
        """The same elements in another shape; no copy.

        Raises:
            ValueError: where PyTorch would refuse a view.
        """
        stride = view_stride(self, shape)
        if stride is None:
            raise ValueError(f"no view of {self.shape} with strides {self.stride} has the shape {shape}")
        return replace(self, shape=shape, stride=stride)


def contiguous_stride(shape: Shape) -> Shape:
    """Row-major strides."""
    stride: list[Dim] = []
    step: Dim = 1
    for size in reversed(shape):
        stride.append(step)
        step = step * size
    return tuple(reversed(stride))


def dense_stride_like(tensor: Tensor) -> Shape:
    """Strides without gaps in the memory order of `tensor`: what an elementwise result of it gets."""
    if tensor.is_contiguous:
        return contiguous_stride(tensor.shape)
    order = _memory_order(tensor)
    dense = contiguous_stride(tuple(tensor.shape[i] for i in order))
    return tuple(dense[order.index(i)] for i in range(len(order)))


def _memory_order(tensor: Tensor) -> list[int]:
    """Dimensions from the largest stride to the smallest, with ATen's ways for equal strides (reorder_dimensions)."""
    order = list(reversed(range(len(tensor.shape))))
    for start in range(1, len(order)):
        at = start
        for other in reversed(range(start)):
            left, right = order[other], order[at]
            if _lies_outside(tensor, left, right):
                order[other], order[at] = right, left
                at = other
            elif decide(tensor.stride[left] != tensor.stride[right]):
                break
    return order[::-1]


def _lies_outside(tensor: Tensor, left: int, right: int) -> bool:
    """Whether dimension `left` has the larger stride, or the same and the larger size."""
    if decide(tensor.stride[left] == tensor.stride[right]):
        return decide(tensor.shape[left] > tensor.shape[right])
    return decide(tensor.stride[left] > tensor.stride[right])


def view_stride(tensor: Tensor, shape: Shape) -> Shape | None:
    """Strides of `tensor` viewed as `shape`, or None where only a copy has that shape (ATen's computeStride)."""
    new = list(reversed(shape))
    stride: list[Dim] = []
    base, chunk = tensor.stride[-1], 1
    for dim in reversed(range(len(tensor.shape))):
        chunk = chunk * tensor.shape[dim]
        if dim and not _splits(tensor, dim, chunk * base):
            continue
        taken: Dim = 1
        while len(stride) < len(new) and (decide(taken != chunk) or decide(new[len(stride)] == 1)):
            stride.append(taken * base)
            taken = taken * new[len(stride) - 1]
        if decide(taken != chunk):
            return None
        base, chunk = tensor.stride[dim - 1], 1
    return tuple(reversed(stride)) if len(stride) == len(new) else None


def _splits(tensor: Tensor, dim: int, span: Dim) -> bool:
    """Whether memory has a gap, or another order, between `dim` and the dimension before it."""
    return decide(tensor.shape[dim - 1] != 1) and decide(tensor.stride[dim - 1] != span)
