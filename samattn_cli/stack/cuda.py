"""Runs on meta tensors what PyTorch runs on CUDA. Without this, the meta device and dispatch modes choose differently.

- A linear layer whose input is not contiguous adds its bias in place. Under a dispatch mode ATen would add it out of
  place (Linear.cpp, isTensorSubclassLike), which makes one tensor more.
- A linear layer with a bias returns a view of a product before torch 2.15, and a tensor of its own since then. It does so as in the
  version of the run, because autograd copies the gradient of a view that is changed in place.
- Layer norm returns contiguous strides. On meta the strides of dimensions of size 1 differ, and then a product with
  autocast's copy of a weight, made without a gradient, is batched (LinearAlgebra.cpp, should_fold). A view corrects them;
  those that layer norm returns are corrected in `meta`, for a convolution that would not take them for channels-last.
- scaled_dot_product_attention runs flash attention if its inputs allow it. Otherwise it runs the memory-efficient kernel,
  after padding the mask to its alignment. On meta ATen would run the unfused product. Sources: attention.cpp
  (preprocess_mask) and sdp_utils.cpp (use_flash_attention). cuDNN's kernel, which torch prefers on H100 and B200, is left
  out, because its allocations are not documented. The rules are those of torch 2.15.0; for inputs (B, h, N, d) of at most 65,535
  images or heads they are those of 2.13.0 too. Inputs (h, N, d) get a batch of 1; for torch before 2.14 they run as unfused products.
- Batch norm runs cuDNN's kernel where it takes the inputs, which keeps no statistics in evaluation: see `batch_norm`.
- The softmax of unfused products is made of several operations, which CUDA allocates for. Source: _safe_softmax in SoftMax.cpp.
- Slices that take a whole dimension do nothing, even if the installed torch records them: see `slices`.
- Autocast depends on the device type, and meta does not have autocast: see `autocast`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..encoder.torch_versions import DEFAULT, LINEAR_IS_VIEW_BEFORE, Version, version_of
from . import batch_norm, slices

MASK_ALIGNMENT = 8
MOST_FLASH_DIM = 256
UNBATCHED_SINCE = (2, 14)
"""The first torch that gives queries, keys and values of three dimensions a batch; attention.cpp."""
LAUNCHED_SINCE = (2, 15)
"""The first torch that does not run flash attention of more images or heads than CUDA can launch; seen on the dry device."""
MOST_BLOCKS = 65_535
FUSED_DIMS = 4  # of queries, keys and values for which every torch runs a fused kernel
EFFICIENT = torch.ops.aten._scaled_dot_product_efficient_attention.default
DROPOUT_AT = 5
"""The place of the probability of dropout in its arguments."""
MATRIX = 2  # dimensions
LINEAR_IS_VIEW = (version_of(torch.__version__) or DEFAULT) < LINEAR_IS_VIEW_BEFORE
"""Whether the installed torch returns a view from a linear layer with a bias."""

HALVES = {torch.float16, torch.bfloat16}
SOFTMAX = {F.softmax, torch.softmax, Tensor.softmax}


_CHANGED = {
    F.linear, F.scaled_dot_product_attention, F.batch_norm, Tensor.__getitem__, Tensor.__setitem__, *SOFTMAX
}  # fmt: skip
"""What `AsOnCuda` may run in another way."""


class AsOnCuda(TorchFunctionMode):
    """Runs linear layers and attention as a CUDA device would, with the attention kernels of a version of torch."""

    def __init__(self, version: Version = DEFAULT) -> None:
        super().__init__()
        self.version = version

    @classmethod
    def of(cls, model: nn.Module) -> AsOnCuda:
        """As for the version of torch that an encoder is to run with; a module that does not say it is for the newest."""
        return cls(getattr(model, "torch_version", DEFAULT))

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run `func`, or what CUDA would run for it."""
        if func in _CHANGED:
            return self._changed(func, args, kwargs or {})
        return func(*args, **(kwargs or {}))

    def _linear(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        if bias is not None and not x.is_contiguous():
            return F.linear(x, weight).add_(bias)
        if not torch.is_grad_enabled() and x.is_contiguous():
            return F.linear(x.view(x.shape), weight, bias)
        is_view = self.version < LINEAR_IS_VIEW_BEFORE
        if bias is None or x.dim() == MATRIX or is_view == LINEAR_IS_VIEW:
            return F.linear(x, weight, bias)
        if is_view:
            out = F.linear(x, weight, bias)
            return out.view(out.shape)
        rows = F.linear(x.view(-1, x.shape[-1]), weight, bias)
        return torch.ops.aten._unsafe_view(rows, (*x.shape[:-1], len(weight)))

    def _changed(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        if func is F.linear and kwargs:  # F.linear(x, weight=..., bias=...)
            args = (*args, *(kwargs[name] for name in ("input", "weight", "bias") if name in kwargs))
            kwargs = {}
        if func is F.linear:
            return self._linear(*args)
        if func is F.scaled_dot_product_attention:
            return _attention(*args, **kwargs, version=self.version)
        if func is F.batch_norm:
            func = batch_norm.function
        if func in SOFTMAX and args[0].dtype == torch.float16 and kwargs.get("dtype") == torch.float32:
            return torch._softmax(args[0], kwargs["dim"], True)  # one kernel on CUDA
        if slices.RECORDED and func is Tensor.__getitem__:
            args = (args[0], slices.written_out(*args))
        if func is Tensor.__setitem__ and isinstance(args[2], int | float):
            return args[0][args[1]].fill_(args[2])  # without a tensor for the number, which stays on the host
        return func(*args, **kwargs)


def steps_on_cuda(func: Any) -> Callable[..., Any] | None:
    """A function that does what an operation does below autograd on CUDA, if it differs on meta."""
    return _ON_CUDA.get(func)


def _roll(x: Tensor, shifts: Sequence[int], dims: Sequence[int] = ()) -> Tensor:
    """roll_common of ATen: it rolls one dimension, and calls itself for the others while that result lives."""
    if not dims:
        return x.contiguous()
    rolled = _rolled(x, shifts[0], dims[0])
    return _roll(rolled, shifts[1:], dims[1:]) if dims[1:] else rolled


def _rolled(x: Tensor, shift: int, dim: int) -> Tensor:
    """roll_cuda of ATen: a copy in row-major order, then another for the result."""
    x = x.contiguous()
    at = shift % x.shape[dim]
    return torch.ops.aten.cat([x.narrow(dim, -at, at), x.narrow(dim, 0, x.shape[dim] - at)], dim)


def _layer_norm_backward(
    _g: Tensor, x: Tensor, _shape: Any, _mean: Tensor, _rstd: Tensor, *weights: Any
) -> tuple[Tensor | None, ...]:
    """layer_norm_backward_cuda of ATen: its gradients are contiguous, whatever the strides of its operands."""
    *operands, needed = (x, *weights)
    return tuple(
        torch.empty(operand.shape, dtype=operand.dtype, device=operand.device) if wanted else None
        for operand, wanted in zip(operands, needed, strict=True)
    )


def _fold(x: Tensor, size: Sequence[int], kernel: Sequence[int], *_: Any) -> Tensor:
    """col2im_out_cuda of ATen (Col2Im.cu): its result begins as a tensor like the input, and is resized.

    It keeps the memory of the input's size where that is larger, as of windows that overlap.
    """
    shape = (*x.shape[:-2], x.shape[-2] // math.prod(kernel), *size)
    return _resized(x, shape)


def _unfold(
    x: Tensor,
    kernel: Sequence[int],
    dilation: Sequence[int],
    padding: Sequence[int],
    stride: Sequence[int],
) -> Tensor:
    """im2col_out_cuda of ATen (Im2Col.cu): its result, too, begins as a tensor like the input."""
    of_each = zip(x.shape[-2:], kernel, dilation, padding, stride, strict=True)
    windows = (
        (size + 2 * pad - wide * (side - 1) - 1) // step + 1 for size, side, wide, pad, step in of_each
    )
    return _resized(x, (*x.shape[:-3], x.shape[-3] * math.prod(kernel), math.prod(windows)))


def _resized(like: Tensor, shape: Sequence[int]) -> Tensor:
    """A tensor of a shape, in memory that has at least the size of another's."""
    numbers = math.prod(shape)
    memory = torch.empty(max(numbers, like.numel()), dtype=like.dtype, device=like.device)
    return memory[:numbers].view(shape)


def _log_sigmoid(x: Tensor) -> tuple[Tensor, Tensor]:
    """log_sigmoid_forward_cuda of ATen (Activation.cpp): its second result, which the CPU needs for backward, is empty."""
    return torch.empty_like(x), torch.empty(0, dtype=x.dtype, device=x.device)


def _safe_softmax(x: Tensor, dim: int, _dtype: Any = None) -> Tensor:
    """_safe_softmax of ATen: zeros in rows that are minus infinity everywhere."""
    out = torch.ops.aten._softmax(x, dim, False)
    is_infinite = torch.ops.aten.eq.Scalar(x, -torch.inf)
    is_masked = torch.ops.aten.all.dim(is_infinite, dim, True)
    return out.masked_fill_(is_masked, torch.zeros((), dtype=out.dtype, device=out.device))


_ON_CUDA: dict[Any, Callable[..., Any]] = {
    torch.ops.aten.roll.default: _roll,
    torch.ops.aten._safe_softmax.default: _safe_softmax,
    torch.ops.aten.native_layer_norm_backward.default: _layer_norm_backward,
    torch.ops.aten.native_batch_norm_backward.default: batch_norm.backward,
    torch.ops.aten.col2im.default: _fold,
    torch.ops.aten.im2col.default: _unfold,
    torch.ops.aten.log_sigmoid_forward.default: _log_sigmoid,
}
IN_ONE = frozenset({
    torch.ops.aten.native_layer_norm_backward.default, torch.ops.aten.native_batch_norm_backward.default,
    torch.ops.aten.col2im.default, torch.ops.aten.im2col.default, torch.ops.aten.log_sigmoid_forward.default,
})  # fmt: skip
"""Those of which the results on CUDA are made in one operation."""


def random_state_on_host(func: Any, args: Sequence[Any], results: Any) -> Any:
    """The results of an operation; with dropout, memory-efficient attention has its seed and offset on the host.

    Source: attention.cu, _efficient_attention_forward, outside of a captured graph.
    """
    if func is not EFFICIENT or len(args) <= DROPOUT_AT or not args[DROPOUT_AT]:
        return results
    return (*results[:2], *(torch.empty((), dtype=torch.int64, device="cpu") for _ in range(2)))


def _rows_are_dense(*operands: Tensor, mask: Tensor | None) -> bool:
    """Whether fused kernels can read queries, keys, values and mask: check_last_dim_stride_equals_1_dense in sdp_utils.cpp.

    The stride of the mask matters also for one key.
    """
    if mask is not None and mask.stride(-1) != 1:
        return False
    return all(x.stride(-1) == 1 or x.shape[-1] == 1 for x in operands)


def flash_takes(q: Tensor, v: Tensor, mask: Tensor | None, version: Version = DEFAULT) -> bool:
    """Whether a version of torch runs flash attention for queries (and keys) and values: (B, h, N, d)."""
    if version >= LAUNCHED_SINCE and max(q.shape[:2]) > MOST_BLOCKS:
        return False
    return mask is None and q.dtype in HALVES and q.shape[-1] == v.shape[-1] <= MOST_FLASH_DIM


def _attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
    version: Version = DEFAULT,
) -> Tensor:
    if dropout_p or is_causal or enable_gqa:
        raise NotImplementedError(
            "scaled_dot_product_attention with dropout, a causal mask or grouped queries"
        )
    is_fused = q.dim() == FUSED_DIMS or (q.dim() == FUSED_DIMS - 1 and version >= UNBATCHED_SINCE)
    if not is_fused or not _rows_are_dense(q, k, v, mask=attn_mask):
        return unfused(q, k, v, attn_mask, scale=scale)
    if q.dim() == FUSED_DIMS - 1:
        q, k, v = (x.unsqueeze(0) for x in (q, k, v))
        mask = None if attn_mask is None else attn_mask.unsqueeze(0)
        return _attention(q, k, v, mask, scale=scale, version=version).squeeze(0)
    if flash_takes(q, v, attn_mask, version):
        return torch.ops.aten._scaled_dot_product_flash_attention(q, k, v, scale=scale)[0]
    with_gradient = torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v))
    mask = None if attn_mask is None else aligned(attn_mask).expand(*q.shape[:3], k.shape[2])
    return torch.ops.aten._scaled_dot_product_efficient_attention(q, k, v, mask, with_gradient, scale=scale)[
        0
    ]


def unfused(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, *, scale: float | None = None
) -> Tensor:
    """scaled_dot_product_attention by unfused products: (..., N, d), (..., M, d), (..., M, e) -> (..., N, e).

    Source: _scaled_dot_product_attention_math in attention.cpp. Under a dispatch mode ATen would add the mask out of place.
    """
    factor = (q.shape[-1] ** -0.5 if scale is None else scale) ** 0.5
    wide_q, wide_k, wide_v = (x.float() if x.dtype in HALVES else x for x in (q, k, v))
    scaled = wide_q * factor
    scores = torch.matmul(scaled, wide_k.transpose(-2, -1) * factor)
    if mask is not None:
        scores.add_(mask)
    scores = torch.ops.aten._safe_softmax(scores, -1)
    _unread = scores.to(q.dtype)  # ATen returns the probabilities too
    return torch.matmul(scores, wide_v).to(q.dtype)


def aligned(mask: Tensor) -> Tensor:
    """The mask; if its strides are not aligned, a view of a padded copy."""
    if all(stride % MASK_ALIGNMENT == 0 for stride in mask.stride()[:-1]) and mask.stride(-1) == 1:
        return mask
    width = mask.shape[-1]
    return F.pad(mask, (0, MASK_ALIGNMENT - width % MASK_ALIGNMENT))[..., :width]
