"""Slices that take a whole dimension, such as the `:` of `x[:, :n]`.

In torch 2.9.1 and later such a slice does nothing. In torch 2.6.0 it is an operation: autograd records it, and its backward
makes a tensor of zeros and copies the gradient into it. The figures are those of torch 2.9.1 and later. So on an older torch
the trace runs slices like torch 2.9.1, and its verdict says so. Source: applySlice in ATen's TensorIndexing.h, which compares
the length of the dimension with the end of the slice (`==` in 2.6.0, `<=` in 2.9.1; a `:` ends at 2**63 - 1).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor


def _are_recorded() -> bool:
    with torch.inference_mode(mode=False), torch.enable_grad():
        cut = torch.empty(2, 2, device="meta", requires_grad=True)[:, :1]
    before = cut.grad_fn and cut.grad_fn.next_functions[0][0]
    return before is not None and before.name() == "SliceBackward0"


RECORDED = _are_recorded()
"""Whether the installed torch records slices that take a whole dimension."""

NOTE = (
    f"with slices as in torch 2.9.1: torch {torch.__version__} makes one more copy in backward for each slice that takes "
    "a whole dimension"
    if RECORDED
    else ""
)


def written_out(x: Tensor, index: Any) -> Any:
    """`index` of `x` with each slice in numbers, such as `0:n` for `:`. Every torch skips `0:n` of a whole dimension.

    An index with masks or lists is returned unchanged.
    """
    parts = index if isinstance(index, tuple) else (index,)
    if not all(map(_is_simple, parts)):
        return index
    indexed = sum(part is not None and part is not Ellipsis for part in parts)
    return tuple(_in_numbers(parts, iter(x.shape), x.dim() - indexed))


def _is_simple(part: Any) -> bool:
    """Whether it is a number, a slice, `None`, an ellipsis or a tensor of indices."""
    if isinstance(part, Tensor):
        return part.dtype not in {torch.bool, torch.uint8}
    return part is None or part is Ellipsis or type(part) in {int, slice}


def _in_numbers(parts: tuple[Any, ...], sizes: Iterator[int], left_out: int) -> Iterator[Any]:
    for part in parts:
        if part is Ellipsis:
            for _ in range(left_out):
                next(sizes)
        size = None if part is None or part is Ellipsis else next(sizes)
        yield part if size is None or not isinstance(part, slice) else slice(*part.indices(size))
