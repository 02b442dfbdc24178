"""Traced operations in the Tape's form: kinds, MACs, elementwise FLOPs, storages."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from ...reports.trace import TracedOp, TracedWeight
from ...tape.ops import ELEMENTWISE_FLOPS, Op, Parameter
from ...tape.storage import Storage
from ...units import FLOPS_PER_MAC

KINDS = {
    "addmm": "linear",
    "mm": "linear",
    "bmm": "matmul",
    "baddbmm": "matmul",
    "convolution": "conv2d",
    "convolution_backward": "conv2d",
    "_softmax": "softmax",
    "_safe_softmax": "softmax",
    "_softmax_backward_data": "softmax_backward",
    "native_layer_norm": "layer_norm",
    "native_layer_norm_backward": "layer_norm_backward",
    "native_group_norm": "layer_norm",
    "_fused_rms_norm": "rms_norm",
    "_fused_rms_norm_backward": "rms_norm_backward",
    "native_group_norm_backward": "layer_norm_backward",
    "cudnn_batch_norm": "layer_norm",
    "cudnn_batch_norm_backward": "layer_norm_backward",
    "native_batch_norm": "layer_norm",
    "native_batch_norm_backward": "layer_norm_backward",
    "linalg_vector_norm": "norm",
    "clone": "copy",
    "copy": "copy",
    "copy_": "copy",
    "_to_copy": "copy",
    "roll": "copy",
    "constant_pad_nd": "pad",
    "reflection_pad2d": "pad",
    "embedding": "gather",
    "gather": "gather",
    "index_select": "gather",
    "upsample_nearest2d": "upsample_nearest",
    "upsample_bilinear2d": "upsample_bilinear",
    "upsample_bicubic2d": "upsample_bicubic",
    "_upsample_bicubic2d_aa": "upsample_bicubic",
    "_upsample_bilinear2d_aa": "upsample_bilinear",
    "upsample_linear1d": "upsample_linear",
    "max_pool2d_with_indices": "max_pool",
    "max_pool2d_with_indices_backward": "max_pool_backward",
}
"""ATen's names and the Tape's, where they differ."""

MOVES = frozenset({
    "copy", "pad", "gather", "index", "cat", "stack", "empty", "empty_like", "zeros", "zeros_like", "ones", "ones_like", "full",
    "full_like", "fill_", "zero_", "arange", "new_zeros", "new_empty", "new_empty_strided", "slice_backward", "select_backward",
    "index_put", "index_put_", "scatter", "im2col", "repeat", "flip", "pixel_shuffle", "contiguous", "expand_copy", "empty_strided",
})  # fmt: skip
"""Kinds that compute nothing."""
BY_INPUT = frozenset(
    {
        "mean",
        "sum",
        "norm",
        "amax",
        "max",
        "var",
        "avg_pool2d",
        "adaptive_avg_pool2d",
        "_adaptive_avg_pool2d",
        "max_pool",
    }
)
"""Kinds whose work is that of their input."""
SOFTMAX = ELEMENTWISE_FLOPS["softmax"]


def kind_of(op: TracedOp) -> str:
    """The Tape's name of an operation's kind."""
    if op.name.startswith("_scaled_dot_product"):
        return "sdpa"
    return KINDS.get(op.name, op.name.removesuffix("_") if op.name != "_" else op.name)


def scores_of(op: TracedOp) -> int:
    """Pairs of a query and a key of a fused attention, over all heads and windows."""
    if op.attention is None:
        return 0
    return math.prod(op.attention.queries[:-1]) * op.attention.keys[-2]


def op_of(
    op: TracedOp, name: str, scores: int, weights: tuple[TracedWeight, ...], storages: Mapping[int, Storage]
) -> Op:
    """An operation of the Tape.

    Args:
        op: the traced operation.
        name: its name in its part or layer.
        scores: pairs of a query and a key for which it computes a score.
        weights: those of the module, which the operation knows by their numbers.
        storages: what was allocated, by number.
    """
    return Op(
        name,
        kind_of(op),
        op.module,
        macs=op.flops // FLOPS_PER_MAC,
        elementwise_flops=_elementwise(op),
        parameters=tuple(Parameter(weights[n].name, weights[n].shape, weights[n].trains) for n in op.weights),
        bytes_read=op.bytes_read,
        bytes_written=op.bytes_written,
        allocates=tuple(storages[storage.id] for storage in op.allocates),
        frees=tuple(storages[number] for number in op.frees),
        saves=tuple(storages[number] for number in op.saves),
        is_kept=bool(op.saves),
        scores=scores,
        entering=op.entering,
        leaving=op.leaving,
    )


def _elementwise(op: TracedOp) -> int:
    kind = kind_of(op)
    if op.attention is not None:
        return scores_of(op) * (SOFTMAX + op.attention.masked)
    if op.flops or kind in {"linear", "matmul", "conv2d"}:
        return math.prod(op.leaving) if op.bias else 0
    if kind in MOVES:
        return 0
    return ELEMENTWISE_FLOPS.get(kind, 1) * math.prod(op.entering if kind in BY_INPUT else op.leaving)


def storages_of(ops: Iterable[TracedOp]) -> dict[int, Storage]:
    """Everything that the operations allocate, by number."""
    return {storage.id: Storage(storage.nbytes) for op in ops for storage in op.allocates}
