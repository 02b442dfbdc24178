"""What decides how much memory an operator takes inside on CUDA: how its operands lie, and what it sums."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ...reports.trace import TracedDetail, TracedOperand

REDUCTIONS = frozenset({
    "sum", "mean", "amax", "amin", "argmax", "argmin", "linalg_vector_norm", "max", "min", "prod", "std", "std_mean", "var",
    "var_mean",
})  # fmt: skip
DIMENSIONS_AT = {"linalg_vector_norm": 2}
"""Where a reduction has its dimensions, if they are not its second argument."""
CONVOLUTIONS = frozenset({"convolution", "convolution_backward"})
WITH_DETAIL = REDUCTIONS | CONVOLUTIONS | {
    "native_layer_norm", "native_layer_norm_backward", "_softmax_backward_data", "max_pool2d_with_indices",
    "max_pool2d_with_indices_backward", "upsample_bicubic2d_backward", "upsample_linear1d_backward", "index",
    "native_group_norm", "native_group_norm_backward", "native_dropout", "im2col", "addmm",
    "_scaled_dot_product_efficient_attention_backward", "_scaled_dot_product_flash_attention_backward",
}  # fmt: skip
"""The operations of which `studies/traced/inside.py` knows what they take."""


def detail_of(name: str, args: Sequence[Any], operands: Sequence[Tensor]) -> TracedDetail | None:
    """The detail of an operation; None of those that take nothing inside."""
    if name not in WITH_DETAIL or not operands:
        return None
    given = tuple(TracedOperand(tuple(x.shape), tuple(x.stride()), x.element_size()) for x in operands)
    kept = _kept(name, given[0].shape, args) if name in REDUCTIONS else ()
    gives = tuple(map(bool, args[-1][:2])) if name == "convolution_backward" else (False, False)
    return TracedDetail(given, kept, gives)  # type: ignore[arg-type]


def _kept(name: str, shape: tuple[int, ...], args: Sequence[Any]) -> tuple[int, ...]:
    at = DIMENSIONS_AT.get(name, 1)
    dims = args[at] if len(args) > at and isinstance(args[at], int | list | tuple) else None
    dims = [dims] if isinstance(dims, int) else list(dims or range(len(shape)))
    summed = {dim % len(shape) for dim in dims} if shape else set()
    return tuple(1 if dim in summed else size for dim, size in enumerate(shape))
