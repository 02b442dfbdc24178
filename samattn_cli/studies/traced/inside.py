"""Traced operations in the form in which the Tape's rules say what an operator takes inside on CUDA (`tape/inside.py`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

from ...reports.trace import TracedDetail, TracedOp
from ...tape.kernels import CUDNN_WORKSPACE, cudnn_workspace, flash_workspace
from ...tape.ops import InputLayout, Op
from ...tape.sdpa import Choice
from ...tape.storage import Storage
from ...units import FLOPS_PER_MAC, INT64_BYTES
from .ops import kind_of

BACKWARD = "backward"
FUSED = "_scaled_dot_product_"
COPIED = {"efficient": (0,), "flash": (0, 4), "cudnn": ()}
"""Which operands of attention's backward may be copied: the gradient of the output, and the output."""
BACKWARD_WORKSPACE = {"flash": flash_workspace, "cudnn": cudnn_workspace}
"""What attention's backward takes, by the shape of the queries, which is that of their gradient."""
PRODUCTS = {"addmm": "linear", "mm": "linear", "bmm": "matmul", "baddbmm": "matmul"}


def inside_op(op: TracedOp, storages: Mapping[int, Storage]) -> Op:
    """An operation with what the rules read: its kind, how its operands lie, its kernel of attention."""
    kind, known = _described(op)
    known.setdefault("name", op.name)
    known.setdefault("leaving", op.leaving)
    return Op(
        kind=kind,
        module=op.module,
        macs=op.flops // FLOPS_PER_MAC,
        allocates=tuple(storages[storage.id] for storage in op.allocates),
        frees=tuple(storages[number] for number in op.frees),
        saves=tuple(storages[number] for number in op.saves),
        entering=op.entering,
        **known,
    )


def _described(op: TracedOp) -> tuple[str, dict[str, Any]]:
    """The kind by which the rules know an operation, and more that they read; "" for an operation that takes nothing."""
    if op.name.startswith(FUSED):
        return "sdpa", _attention(op)
    if op.name in PRODUCTS:
        return PRODUCTS[op.name], {"adds_bias": _adds_bias(op)}
    describe = DESCRIBED.get(op.name)
    if describe is None or op.detail is None or not op.allocates:
        return "", {}
    return describe(op, op.detail)


def _adds_bias(op: TracedOp) -> bool:
    """Whether cuBLASLt runs a product: if a vector is added to the product of two matrices of several columns.

    Source: Blas.cpp, addmm_out_cuda_impl.
    """
    if op.name != "addmm" or op.detail is None:
        return False
    bias, _, weight = op.detail.operands
    return len(bias.shape) == 1 and bias.shape[0] == weight.shape[1] and min(weight.shape) > 1


def _attention(op: TracedOp) -> dict[str, Any]:
    kernel = op.name.removeprefix(FUSED).partition("_")[0]
    known: dict[str, Any] = {"choice": Choice(kernel)}  # type: ignore[arg-type]
    if op.attention is not None:
        *rows, _ = op.attention.queries
        known["scores"] = rows[0] * rows[1] * rows[2] * op.attention.keys[-2]
        known["workspace_bytes"] = CUDNN_WORKSPACE if kernel == "cudnn" else 0
    elif kernel in BACKWARD_WORKSPACE:
        known["workspace_bytes"] = BACKWARD_WORKSPACE[kernel](op.leaving)
    if op.detail is not None:
        known["strides"] = tuple(op.detail.operands[at].stride for at in COPIED[kernel])
    return known


def _laid_out(op: TracedOp, detail: TracedDetail) -> tuple[str, dict[str, Any]]:
    return kind_of(op), {"strides": tuple(operand.stride for operand in detail.operands)}


def _softmax_backward(op: TracedOp, detail: TracedDetail) -> tuple[str, dict[str, Any]]:
    output = detail.operands[-1]
    return kind_of(op), {"reads": (Storage(prod(output.shape) * output.item_bytes),)}


def _indexed(_: TracedOp, detail: TracedDetail) -> tuple[str, dict[str, Any]]:
    """Rows at several indices, of which the rule reads the number."""
    indices = [operand for operand in detail.operands[1:] if operand.item_bytes == INT64_BYTES]
    return "gather", {"reads": tuple(Storage(0) for _ in (detail.operands[0], *indices))}


def _convolution(op: TracedOp, detail: TracedDetail) -> tuple[str, dict[str, Any]]:
    if len(op.entering) != 4:  # noqa: PLR2004 - (B, C, H, W): the rules are of images
        return "", {}
    image, weight = detail.operands[1:3] if op.name.endswith(BACKWARD) else detail.operands[:2]
    layout = InputLayout(image.shape, image.stride, weight.shape, *detail.gives)
    return "conv2d", {"strides": (detail.operands[0].stride,), "layout": layout}


def _pooled_backward(op: TracedOp, detail: TracedDetail) -> tuple[str, dict[str, Any]]:
    image = detail.operands[1]
    return kind_of(op), {
        "strides": (detail.operands[0].stride,),
        "layout": InputLayout(image.shape, image.stride),
    }


def _resized_backward(op: TracedOp, detail: TracedDetail) -> tuple[str, dict[str, Any]]:
    kind = "upsample_bicubic" if "bicubic" in op.name else "upsample_linear"
    return kind, {"strides": (detail.operands[0].stride,), "name": "grad_input"}


def _reduced(_: TracedOp, detail: TracedDetail) -> tuple[str, dict[str, Any]]:
    layout = InputLayout(detail.kept, ())
    return "reduced", {"reads": _sizes(detail)[:1], "strides": (detail.operands[0].stride,), "layout": layout}


def _group_norm(_: TracedOp, detail: TracedDetail) -> tuple[str, dict[str, Any]]:
    return "group_norm", {"reads": _sizes(detail)}


def _group_norm_backward(_: TracedOp, detail: TracedDetail) -> tuple[str, dict[str, Any]]:
    mean = detail.operands[2]
    return "group_norm_backward", {"reads": _sizes(detail), "layout": InputLayout(mean.shape, mean.stride)}


def _dropout(_: TracedOp, _detail: TracedDetail) -> tuple[str, dict[str, Any]]:
    return "dropout", {}


def _unfold(_: TracedOp, detail: TracedDetail) -> tuple[str, dict[str, Any]]:
    return "unfold", {"reads": _sizes(detail), "strides": (detail.operands[0].stride,)}


def _sizes(detail: TracedDetail) -> tuple[Storage, ...]:
    return tuple(Storage(prod(operand.shape) * operand.item_bytes) for operand in detail.operands)


DESCRIBED: Mapping[str, Callable[[TracedOp, TracedDetail], tuple[str, dict[str, Any]]]] = {
    "native_layer_norm": _laid_out,
    "native_layer_norm_backward": _laid_out,
    "max_pool2d_with_indices": _laid_out,
    "max_pool2d_with_indices_backward": _pooled_backward,
    "_softmax_backward_data": _softmax_backward,
    "index": _indexed,
    "convolution": _convolution,
    "convolution_backward": _convolution,
    "upsample_bicubic2d_backward": _resized_backward,
    "upsample_linear1d_backward": _resized_backward,
    "native_group_norm": _group_norm,
    "native_group_norm_backward": _group_norm_backward,
    "native_dropout": _dropout,
    "im2col": _unfold,
    **dict.fromkeys(
        ("amax", "amin", "argmax", "argmin", "linalg_vector_norm", "max", "mean", "min"), _reduced
    ),
    **dict.fromkeys(("prod", "std", "std_mean", "sum", "var", "var_mean"), _reduced),
}
