"""scaled_dot_product_attention on CUDA: the tensors that its forward and backward allocate.

`sdpa.py` says which kernel runs; `unfused.py` has the unfused products. The mask of the memory-efficient kernel is padded to its alignment.
Sources: attention.cpp, attention.cu, attention_backward.cu and cudnn/MHA.cpp of ATen. The workspace that cuDNN asks for is not documented;
`cudnn_workspace` is what an H200 showed.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ..units import INT64_BYTES
from .efficient import HALF_BYTES, efficient_workspace
from .graph import Backward
from .ops import ELEMENTWISE_FLOPS
from .sdpa import Choice, choose
from .sdpa_call import UNBATCHED_DIMS, Call, Kernel, Operand
from .sdpa_rules import GRID_SINCE, MOST_BLOCKS, PARTS_SINCE, UNBATCHED_SINCE
from .storage import Dim, Shape, Storage
from .tape import STATISTIC_BYTES, Tape
from .tensor import Tensor, ceil_div
from .unfused import unfused

SEEDS_ON_DEVICE_SINCE = (2, 14)
"""The first torch whose memory-efficient attention has seed and offset on the device; before it they are on the host."""
MASK_ALIGNMENT = 8  # of the memory-efficient kernel, in numbers; preprocess_mask in attention.cpp
LSE_ALIGNMENT = 32  # of its log-sum-exp, in rows; attention.cu
FLASH_ROWS, FLASH_COLUMNS = 128, 32  # to which flash attention's backward rounds rows and head dimension
CUDNN_WORKSPACE = 256
"""Bytes of the workspace of cuDNN's kernel in the forward, and of its backward besides the sums; see `cudnn_workspace`."""
BIAS_GRAD_ALIGNMENT = 16  # of its gradient of the mask, in numbers; attention_backward.cu


def attention(tape: Tape, name: str, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """``F.scaled_dot_product_attention`` on CUDA: (B, h, N, d), (B, h, M, d), (B, h, M, e) -> (B, h, N, e).

    The mask may broadcast to (B, h, N, M). Operands may be without a batch: (h, N, d).
    """
    low = mask and tape.cast(f"{name}.mask.cast", mask, q.item_bytes)  # autocast's
    is_batched = len(q.shape) == UNBATCHED_DIMS and tape.target.torch >= UNBATCHED_SINCE
    q, k, v = (x.unsqueeze(0) if is_batched else x for x in (q, k, v))
    bias = low.unsqueeze(0) if low is not None and is_batched else low
    choice = _choice(tape, q, k, v, bias)
    run = unfused if choice.kernel == "math" else _fused
    out = run(tape, name, q, k, v, bias, choice=choice)
    if low is not None:
        tape.free(low, keep=mask)
    return out.view(*out.shape[1:]) if is_batched else out


def _fused(
    tape: Tape, name: str, q: Tensor, k: Tensor, v: Tensor, low: Tensor | None, *, choice: Choice
) -> Tensor:
    """The kernel that runs, unless it is the unfused products.

    In memory the result of memory-efficient attention is (B, N, h, e); that of the others has the memory order of the queries.
    """
    d, e = q.shape[-1], v.shape[-1]
    scores = _scores(q, k)
    aligned = low and _MASK[choice.kernel](tape, f"{name}.mask", low)
    whole = aligned and aligned.expand_to(*q.shape[:-1], k.shape[2])
    out = _OUT[choice.kernel](tape, q, e)
    extra = _EXTRA[choice.kernel](tape, q, k, v)
    operands = (q, k, v) if whole is None else (q, k, v, whole)
    tape.record(
        name,
        "sdpa",
        reads=operands,
        writes=(out, *extra),
        macs=scores * (d + e),
        elementwise_flops=ELEMENTWISE_FLOPS["softmax"] * scores,
        scores=scores,
        frees=tuple(tensor.storage for tensor in extra),
        workspace_bytes=_FORWARD_WORKSPACE[choice.kernel](tape, out, extra[0]),
        choice=choice,
    )
    if whole is not None and low is not None:
        tape.free(whole, keep=low)
    derivative = _backward(*operands, choice=choice, copied=() if choice.kernel != "flash" else (out.stride,))
    return tape.derived(name, out, operands, derivative, saves=(*operands, out, *extra))


def _choice(tape: Tape, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Choice:
    """The kernel that runs. Heads are whole multiples of the kernels' alignment, so that no operand starts in between."""
    bias = None if mask is None else _operand(tape, mask)
    return choose(Call(_operand(tape, q), _operand(tape, k), _operand(tape, v), bias), tape.target)


def _operand(tape: Tape, x: Tensor) -> Operand:
    half = "float16" if tape.half_to_float else "bfloat16"
    dtype = half if x.item_bytes == HALF_BYTES else "float32"
    return Operand(x.shape, x.stride, dtype, tape.training and x.grad_fn is not None)


def _scores(q: Tensor, k: Tensor) -> Dim:
    """Pairs of a query and a key, over all heads: B * h * N * M."""
    return math.prod(q.shape[:-1]) * k.shape[2]


def _like_queries(tape: Tape, q: Tensor, _: Dim) -> Tensor:
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
    return tape.new((B, h, rows), (), STATISTIC_BYTES), *(_random_state(tape) for _ in "so")


def _random_state(tape: Tape) -> Tensor:
    """A number of the random state of memory-efficient attention. It counts as live, also where it is on the host."""
    is_on_host = tape.target.torch < SEEDS_ON_DEVICE_SINCE
    return Tensor((), (), Storage(INT64_BYTES, is_on_host=is_on_host), INT64_BYTES)


def _flash_extra(tape: Tape, q: Tensor, *_: Tensor) -> tuple[Tensor, ...]:
    """Flash attention's other outputs: log-sum-exp, two words of random state, an empty debug mask."""
    sizes = (q.shape[:3], STATISTIC_BYTES), ((2,), INT64_BYTES), ((), INT64_BYTES), ((0,), q.item_bytes)
    return tuple(tape.new(shape, (), item_bytes) for shape, item_bytes in sizes)


def _cudnn_extra(tape: Tape, *inputs: Tensor) -> tuple[Tensor, ...]:
    """The other outputs of cuDNN's kernel: log-sum-exp for backward, seed and offset."""
    needed = tape.training and any(x.grad_fn for x in inputs)
    sums = (*inputs[0].shape[:3], 1) if needed else (0,)
    return tape.new(sums, (), STATISTIC_BYTES), *(tape.new((), (), INT64_BYTES) for _ in "so")


_EXTRA: dict[Kernel, Callable[..., tuple[Tensor, ...]]] = {
    "flash": _flash_extra,
    "efficient": _efficient_extra,
    "cudnn": _cudnn_extra,
}

_OUT: dict[Kernel, Callable[[Tape, Tensor, Dim], Tensor]] = {
    "flash": _like_queries,
    "efficient": _heads_inside,
    "cudnn": lambda tape, q, d: tape.tensor_like(q) if d == q.shape[-1] else _heads_inside(tape, q, d),
}

_MASK: dict[Kernel, Callable[[Tape, str, Tensor], Tensor]] = {
    "efficient": _aligned,
    "cudnn": lambda _tape, _name, mask: mask,
}


def _backward(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, *, choice: Choice, copied: tuple[Shape, ...]
) -> Backward:
    """Backward of fused attention, which computes the scores again: edges q, k, v and, if there is one, mask.

    Its kernel copies the gradient of the output where that is not contiguous by token, and likewise the output, whose
    strides flash attention's `copied` has.
    """

    def backward(tape: Tape, g: Tensor) -> tuple[Tensor | None, ...]:
        inputs = (q, k, v) if mask is None else (q, k, v, mask)
        efficient = choice.kernel == "efficient"
        grads = [_heads_inside(tape, x, x.shape[-1]) if efficient else tape.tensor_like(x) for x in (q, k, v)]
        if mask is not None and mask.grad_fn:
            grads.append(_mask_gradient(tape, mask))
        # scores again, gradients of scores, v, q and k
        macs = _scores(q, k) * (3 * q.shape[-1] + 2 * v.shape[-1])
        workspace = _efficient_workspace(tape, q, k, v) if efficient else _WORKSPACE[choice.kernel](q)
        tape.record(
            "backward",
            "sdpa",
            reads=(g, *inputs),
            writes=tuple(grads),
            macs=macs,
            workspace_bytes=workspace,
            choice=choice,
            strides=() if choice.kernel == "cudnn" else (g.stride, *copied),
        )
        return *grads, *(None for _ in inputs[len(grads) :])

    return backward


def _in_parts(tape: Tape, batch: Dim) -> bool:
    """Whether memory-efficient attention runs a batch in parts."""
    return PARTS_SINCE <= tape.target.torch < GRID_SINCE and batch > MOST_BLOCKS


def _efficient_workspace(tape: Tape, q: Tensor, k: Tensor, v: Tensor) -> Dim:
    """Workspace of the memory-efficient kernel's backward on an A100; of a batch in parts, with the gradients of one."""
    B, *rest = q.shape
    if not _in_parts(tape, B):
        return efficient_workspace(q.shape, k.shape[2], v.shape[-1], q.item_bytes).nbytes
    gradients = sum(math.prod(x.shape[1:]) for x in (q, k, v)) * q.item_bytes
    part = efficient_workspace((MOST_BLOCKS, *rest), k.shape[2], v.shape[-1], q.item_bytes)
    return part.nbytes + MOST_BLOCKS * gradients


def _parts_bytes(tape: Tape, *results: Tensor) -> Dim:
    """What memory-efficient attention holds of a batch in parts besides its results: those of the first and one other."""
    B = results[0].shape[0]
    if not _in_parts(tape, B):
        return 0
    held = min(B, 2 * MOST_BLOCKS)
    return held * sum(math.prod(x.shape[1:]) * x.item_bytes for x in results)


def flash_workspace(queries: Shape) -> Dim:
    """Workspace of flash attention's backward: row sums, and the gradient of queries, in float32 (flash_api.cpp).

    Args:
        queries: their shape (B, h, N, d).
    """
    B, h, N, d = queries
    rows = _whole(N, FLASH_ROWS)
    return B * h * rows * (1 + _whole(d, FLASH_COLUMNS)) * STATISTIC_BYTES


def cudnn_workspace(queries: Shape) -> Dim:
    """Workspace of cuDNN's backward: as measured, the size of row sums and the gradient of queries, in float32, and 256 bytes.

    Source: allocations of torch 2.11.0 with cuDNN 9.19.0 on an H200 (tests/gpu/h200/inside.jsonl.gz). All 50 backward passes that were
    recorded agree: float16 and bfloat16, heads of 32 to 256, 49 to 5,184 queries, more or fewer keys, packed operands, with a mask.
    Other GPUs, other versions of cuDNN, groups of heads, is_causal, and values with another head dimension were not measured.

    Args:
        queries: their shape (B, h, N, d).
    """
    B, h, N, d = queries
    return B * h * N * (d + 1) * STATISTIC_BYTES + CUDNN_WORKSPACE


_FORWARD_WORKSPACE: dict[Kernel, Callable[[Tape, Tensor, Tensor], Dim]] = {
    "flash": lambda *_: 0,
    "efficient": _parts_bytes,
    "cudnn": lambda *_: CUDNN_WORKSPACE,
}

_WORKSPACE: dict[Kernel, Callable[[Tensor], Dim]] = {
    "flash": lambda q: flash_workspace(q.shape),
    "cudnn": lambda q: cudnn_workspace(q.shape),
}


def _whole(size: Dim, step: int) -> Dim:
    """`size` rounded up to whole steps."""
    return ceil_div(size, step) * step
