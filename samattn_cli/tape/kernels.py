"""scaled_dot_product_attention on CUDA: which kernel runs, and the tensors that its forward and backward allocate.

Flash attention runs if its inputs allow it. Otherwise the memory-efficient kernel runs, after the mask is padded to its
alignment. cuDNN's kernel, which torch prefers on H100 and B200, is left out, because its allocations are not documented. The
rules are those of torch 2.13.0 and 2.14.1 for inputs of four dimensions, and every encoder here has those. (With three, torch
2.13.0 makes the matrix of scores, and torch 2.14.1 runs a fused kernel.) `samattn_cli/stack/cuda.py` has the same choice in
torch. Sources: sdp_utils.cpp, attention.cpp, attention.cu and attention_backward.cu of ATen.
"""

from __future__ import annotations

import math

from ..units import INT64_BYTES
from .efficient import HALF_BYTES, efficient_workspace
from .graph import Backward
from .ops import ELEMENTWISE_FLOPS
from .storage import Dim
from .tape import STATISTIC_BYTES, Tape
from .tensor import Tensor, ceil_div

MOST_FLASH_DIM = 256  # of queries, keys and values
MASK_ALIGNMENT = 8  # of the memory-efficient kernel, in numbers; preprocess_mask in attention.cpp
LSE_ALIGNMENT = 32  # of its log-sum-exp, in rows; attention.cu
FLASH_ROWS, FLASH_COLUMNS = 128, 32  # to which flash attention's backward rounds rows and head dimension
BIAS_GRAD_ALIGNMENT = 16  # of its gradient of the mask, in numbers; attention_backward.cu


def attention(tape: Tape, name: str, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """``F.scaled_dot_product_attention`` on CUDA: (B, h, N, d), (B, h, M, d), (B, h, M, e) -> (B, h, N, e).

    Flash attention runs without a mask, in half precision, for d = e <= 256; otherwise the memory-efficient kernel, after
    padding the mask, which may broadcast to (B, h, N, M). In memory the result of the latter is (B, N, h, e); flash
    attention's has the memory order of the queries.
    """
    d, e = q.shape[-1], v.shape[-1]
    scores = _scores(q, k)
    flash = mask is None and q.item_bytes == HALF_BYTES and d == e and d <= MOST_FLASH_DIM
    low = mask and tape.cast(f"{name}.mask.cast", mask, q.item_bytes)  # autocast's
    aligned = low and _aligned(tape, f"{name}.mask", low).expand_to(*q.shape[:-1], k.shape[2])
    out = _like_queries(tape, q) if flash else _heads_inside(tape, q, e)
    extra = _flash_extra(tape, q) if flash else _efficient_extra(tape, q, k, v)
    operands = (q, k, v) if aligned is None else (q, k, v, aligned)
    tape.record(
        name,
        "sdpa",
        reads=operands,
        writes=(out, *extra),
        macs=scores * (d + e),
        elementwise_flops=ELEMENTWISE_FLOPS["softmax"] * scores,
        scores=scores,
        frees=tuple(tensor.storage for tensor in extra),
    )
    if aligned is not None and low is not None:
        tape.free(aligned, low, keep=mask)
    derivative = _backward(*operands, flash=flash)
    return tape.derived(name, out, operands, derivative, saves=(*operands, out, *extra))


def _scores(q: Tensor, k: Tensor) -> Dim:
    """Pairs of a query and a key, over all heads: B * h * N * M."""
    return math.prod(q.shape[:-1]) * k.shape[2]


def _like_queries(tape: Tape, q: Tensor) -> Tensor:
    """A tensor like the queries (B, h, N, d): ``empty_like`` of their view (B, N, h, d) (flash_api.cpp)."""
    return tape.tensor_like(q.transpose(1, 2)).transpose(1, 2).seen(is_view=False)


def _heads_inside(tape: Tape, x: Tensor, d: Dim) -> Tensor:
    """A tensor (B, h, N, d) like `x`, with the memory order (B, N, h, d)."""
    B, h, N, _ = x.shape
    return tape.like(x, B, N, h, d).permute(0, 2, 1, 3).seen(is_view=False)


def _mask_gradient(tape: Tape, mask: Tensor) -> Tensor:
    """The memory-efficient kernel's gradient of a mask, with padded rows."""
    *rows, width = mask.shape
    aligned = _whole(width, BIAS_GRAD_ALIGNMENT)
    return tape.like(mask, *rows, aligned).narrow(mask.shape)


def _aligned(tape: Tape, name: str, mask: Tensor) -> Tensor:
    """The mask; if its strides are not aligned, a view of a padded copy."""
    if all(stride % MASK_ALIGNMENT == 0 for stride in mask.stride[:-1]):
        return mask
    *rows, width = mask.shape
    padded = tape.pad(name, mask, *rows, width + MASK_ALIGNMENT - width % MASK_ALIGNMENT)
    return padded.narrow(mask.shape)


def _efficient_extra(tape: Tape, *inputs: Tensor) -> tuple[Tensor, ...]:
    """The memory-efficient kernel's other outputs: log-sum-exp for backward, seed and offset."""
    B, h, N, _ = inputs[0].shape
    needed = tape.training and any(x.grad_fn for x in inputs)
    rows = _whole(N, LSE_ALIGNMENT) if needed else 0
    return tape.new((B, h, rows), (), STATISTIC_BYTES), *(tape.new((), (), INT64_BYTES) for _ in "so")


def _flash_extra(tape: Tape, q: Tensor) -> tuple[Tensor, ...]:
    """Flash attention's other outputs: log-sum-exp, two words of random state, an empty debug mask."""
    sizes = (q.shape[:3], STATISTIC_BYTES), ((2,), INT64_BYTES), ((), INT64_BYTES), ((0,), q.item_bytes)
    return tuple(tape.new(shape, (), item_bytes) for shape, item_bytes in sizes)


def _backward(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, *, flash: bool) -> Backward:
    """Backward of fused attention, which computes the scores again: edges q, k, v and, if there is one, mask."""

    def backward(tape: Tape, g: Tensor) -> tuple[Tensor | None, ...]:
        inputs = (q, k, v) if mask is None else (q, k, v, mask)
        grads = [tape.tensor_like(x) if flash else _heads_inside(tape, x, x.shape[-1]) for x in (q, k, v)]
        if mask is not None and mask.grad_fn:
            grads.append(_mask_gradient(tape, mask))
        # scores again, gradients of scores, v, q and k
        macs = _scores(q, k) * (3 * q.shape[-1] + 2 * v.shape[-1])
        workspace = _flash_workspace(q) if flash else _efficient_workspace(q, v)
        tape.record(
            "backward",
            "sdpa",
            reads=(g, *inputs),
            writes=tuple(grads),
            macs=macs,
            workspace_bytes=workspace,
        )
        return *grads, *(None for _ in inputs[len(grads) :])

    return backward


def _efficient_workspace(q: Tensor, v: Tensor) -> Dim:
    """Workspace of the memory-efficient kernel's backward on an A100."""
    return efficient_workspace(q.shape, v.shape[2], v.shape[-1], q.item_bytes).nbytes


def _flash_workspace(q: Tensor) -> Dim:
    """Workspace of flash attention's backward: row sums, and the gradient of queries, in float32 (flash_api.cpp)."""
    B, h, N, d = q.shape
    rows = _whole(N, FLASH_ROWS)
    return B * h * rows * (1 + _whole(d, FLASH_COLUMNS)) * STATISTIC_BYTES


def _whole(size: Dim, step: int) -> Dim:
    """`size` rounded up to whole steps."""
    return ceil_div(size, step) * step
