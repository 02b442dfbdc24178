"""What CUDA runs for calls that the meta device would run differently, wherever in a module they are made.

`stack/cuda.py` does this for samattn's own encoders by a mode that sees calls of torch's functions. Other people's modules also
make such calls inside torch's functions (`nn.MultiheadAttention`), which that mode does not see. So the calls are replaced in
torch's dispatcher, in a process that traces one module and ends. The rules are those of ATen for CUDA, with its sources:

- scaled_dot_product_attention: attention.cpp. Which kernel takes a call depends on the device: the caller of `install` knows it.
- linear: Linear.cpp. A bias is added in place if the input is not contiguous. The result is a view if the installed torch makes one.
- batch_norm: Normalization.cpp. cuDNN's kernel if it takes the inputs.
- dropout: Dropout.cpp. One kernel, which keeps a mask of booleans in place of one of the input's type.
- rms_norm: layer_norm.cpp. One kernel for the forward and one for the backward, where torch has them.
- softmax of float16 with a float32 result: SoftMax.cpp. One kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..batch_norm import batch_norm
from ..cuda import FUSED_DIMS, LINEAR_IS_VIEW, aligned, unfused

KEY = "AutogradMeta"
FLASH_ALIGNMENT = 8
FUSES_THREE_DIMENSIONS = tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 14)
"""Whether queries (B, N, d) run in a fused kernel: attention.cpp of torch 2.14."""
HAS_RMS_NORM = hasattr(torch.ops.aten, "_fused_rms_norm_backward")


class AttentionCall(NamedTuple):
    """A call of scaled_dot_product_attention: what its kernel is chosen by."""

    q: Tensor
    k: Tensor
    v: Tensor
    mask: Tensor | None
    dropout: float
    is_causal: bool
    enable_gqa: bool
    has_gradients: bool
    is_deterministic: bool


KernelOf = Callable[[AttentionCall], str]
"""The kernel that a device runs for a call: "flash", "efficient", "cudnn" or "math"."""


def install(kernel_of: KernelOf, key: str = KEY) -> torch.library.Library:
    """Replace the calls in torch's dispatcher, until the result is deleted; `key` is that of the tensors."""
    library = torch.library.Library("aten", "IMPL")
    library.impl("scaled_dot_product_attention", partial(attention, kernel_of=kernel_of), key)
    library.impl("linear", linear, key)
    library.impl("softmax.int", softmax, key)
    library.impl("batch_norm", batch_norm, key)
    library.impl("dropout", dropout, key)
    made: Any = library.m  # `library.impl` refuses what torch has on meta already, or could decompose
    made.impl("_scaled_dot_product_cudnn_attention", "Meta", _cudnn_attention, False)
    if HAS_RMS_NORM:
        made.impl("_fused_rms_norm", "Meta", _rms_norm, False)
        made.impl("_fused_rms_norm_backward", "Meta", _rms_norm_backward, False)
    return library


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
    kernel_of: KernelOf,
) -> Tensor:
    """scaled_dot_product_attention as ATen runs it on CUDA."""
    if q.dim() == FUSED_DIMS - 1 and FUSES_THREE_DIMENSIONS:
        has_batch = attn_mask is not None and attn_mask.dim() == FUSED_DIMS - 1
        mask = attn_mask.unsqueeze(0) if attn_mask is not None and has_batch else attn_mask
        q, k, v = (x.unsqueeze(0) for x in (q, k, v))
        more: dict[str, Any] = {"scale": scale, "enable_gqa": enable_gqa, "kernel_of": kernel_of}
        return attention(q, k, v, mask, dropout_p, is_causal, **more).squeeze(0)
    kernel = "math"
    if q.dim() == FUSED_DIMS:
        modes = torch.is_grad_enabled(), torch.are_deterministic_algorithms_enabled()
        kernel = kernel_of(AttentionCall(q, k, v, attn_mask, dropout_p, is_causal, enable_gqa, *modes))
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        low = torch.full((), -torch.inf, dtype=q.dtype, device=q.device)
        attn_mask = torch.where(attn_mask, 0.0, low)
    if kernel == "flash":
        return _flash(q, k, v, dropout_p, is_causal, scale)
    if kernel == "math" and not (dropout_p or is_causal or enable_gqa or (scale or 0) < 0):
        return unfused(q, k, v, attn_mask, scale=scale)
    if kernel == "math":
        return torch.ops.aten._scaled_dot_product_attention_math(
            q, k, v, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
        )[0]
    return _masked(kernel, q, k, v, attn_mask, dropout_p, is_causal, scale)


def _flash(q: Tensor, k: Tensor, v: Tensor, dropout: float, causal: bool, scale: float | None) -> Tensor:
    width = q.shape[-1]
    scale = width**-0.5 if scale is None else scale
    missing = -width % FLASH_ALIGNMENT
    if missing:
        q, k, v = (F.pad(x, (0, missing)) for x in (q, k, v))
    out: Tensor = torch.ops.aten._scaled_dot_product_flash_attention(
        q, k, v, dropout, causal, False, scale=scale
    )[0]
    return out[..., :width] if missing else out


def _masked(
    kernel: str,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    dropout: float,
    causal: bool,
    scale: float | None,
) -> Tensor:
    """The kernels that take a mask: memory-efficient attention, and cuDNN's."""
    trains = torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v))
    aten = torch.ops.aten
    if kernel == "cudnn":
        out: Tensor = aten._scaled_dot_product_cudnn_attention(
            q, k, v, mask, trains, dropout, causal, False, scale=scale
        )[0]
    else:
        whole = None if mask is None else aligned(mask).expand(*q.shape[:3], k.shape[2])
        out = aten._scaled_dot_product_efficient_attention(
            q, k, v, whole, trains, dropout, causal, scale=scale
        )[0]
    return out


def _cudnn_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    _mask: Tensor | None,
    keeps_sums: bool,
    *_: float | bool,
    scale: float | None = None,  # noqa: ARG001
) -> tuple[Any, ...]:
    """Attention of cuDNN on meta. CUDA keeps the log-sum-exp for a backward alone; torch's own meta kernel always keeps it."""
    B, h, N, d = q.shape
    e = v.shape[-1]
    out = torch.empty_like(q) if e == d else q.new_empty(B, N, h, e).transpose(1, 2)
    sums = q.new_empty((B, h, N, 1) if keeps_sums else (0,), dtype=torch.float32)
    seeds = (q.new_empty((), dtype=torch.int64) for _ in ("seed", "offset"))
    return out, sums, None, None, N, k.shape[2], *seeds, None


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A linear layer as ATen runs it."""
    if bias is None:
        return torch.matmul(x, weight.t())
    if x.dim() == 2:  # noqa: PLR2004 - a matrix
        return torch.addmm(bias, x, weight.t())
    if x.is_contiguous() and bias.dim() == 1 and x.dim() > 1:
        rows = x.view(-1, x.shape[-1])
        out, shape = torch.addmm(bias, rows, weight.t()), (*x.shape[:-1], weight.shape[0])
        return out.view(shape) if LINEAR_IS_VIEW else torch.ops.aten._unsafe_view(out, shape)
    return torch.matmul(x, weight.t()).add_(bias)


def softmax(x: Tensor, dim: int, dtype: torch.dtype | None = None) -> Tensor:
    """A softmax as ATen runs it on CUDA."""
    if x.dtype == torch.float16 and dtype == torch.float32:
        return torch._softmax(x, dim, True)
    return torch._softmax(x if dtype is None else x.to(dtype), dim, False)


def dropout(x: Tensor, p: float, train: bool) -> Tensor:
    """Dropout as ATen runs it on CUDA: is_fused_kernel_acceptable of Dropout.cpp."""
    if not train or p == 0 or x.numel() == 0:
        return x
    if p == 1:
        return x.mul(torch.zeros((), dtype=x.dtype, device=x.device))
    out: Tensor = torch.ops.aten.native_dropout(x, p, True)[0]
    return out


def _rms_norm(
    x: Tensor, normalized: Sequence[int], _weight: Tensor | None, _eps: float | None
) -> tuple[Tensor, Tensor]:
    """Its output, and the factor of each row in float32 (..., 1), which backward needs."""
    rows = x.shape[: x.dim() - len(normalized)]
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    return out, torch.empty((*rows, *(1 for _ in normalized)), dtype=dtype, device=x.device)


def _rms_norm_backward(
    _g: Tensor,
    x: Tensor,
    _normalized: Sequence[int],
    _rstd: Tensor,
    weight: Tensor | None,
    needed: Sequence[bool],
) -> tuple[Tensor | None, ...]:
    """The gradients of the input and of the weight, which are contiguous."""
    operands = (x, weight)
    return tuple(
        torch.empty(operand.shape, dtype=operand.dtype, device=operand.device)
        if wanted and operand is not None
        else None
        for operand, wanted in zip(operands, needed, strict=True)
    )


@contextmanager
def numbers_on_host() -> Iterator[None]:
    """In the block, an assignment of a number to a part of a tensor makes no tensor of the number: it stays on the host.

    A mode of torch's functions would see each call of them, which takes longer than the calls.
    """
    assign = Tensor.__setitem__

    def fill(x: Tensor, index: Any, value: Any) -> None:
        if x.is_meta and isinstance(value, int | float):
            x[index].fill_(value)
        else:
            assign(x, index, value)

    Tensor.__setitem__ = fill  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        del Tensor.__setitem__
