"""Batch norm as ATen runs it on CUDA; on the meta device it would always run its own kernel.

Source: aten/src/ATen/native/Normalization.cpp (_select_batch_norm_backend), cudnn/BatchNorm.cpp, cuda/Normalization.cu.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

MOST_IN_TRAINING, MOST_IN_EVALUATION = 880801, 65535


def batch_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor | None,
    variance: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
    _cudnn: bool = True,
) -> Tensor:
    """A batch norm as ATen runs it on CUDA: cuDNN keeps no statistics in evaluation."""
    kernel = torch.ops.aten.native_batch_norm
    if _cudnn_takes(x, weight, bias, mean, training=training):
        kernel = torch.ops.aten.cudnn_batch_norm
    out: Tensor = kernel(x, weight, bias, mean, variance, training, momentum, eps)[0]
    return out


def function(
    x: Tensor,
    mean: Tensor | None,
    variance: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """``F.batch_norm``.

    Raises:
        ValueError: if a channel has a single value, whose variance it would need.
    """
    if training and x.numel() == x.shape[1]:
        message = f"Expected more than 1 value per channel when training, got input size {tuple(x.shape)}"
        raise ValueError(message)
    return batch_norm(x, weight, bias, mean, variance, training, momentum, eps)


def _cudnn_takes(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor | None, *, training: bool
) -> bool:
    """_select_batch_norm_backend of Normalization.cpp."""
    if weight is None or bias is None or torch.bfloat16 in {x.dtype, weight.dtype}:
        return False
    most = MOST_IN_TRAINING if training else MOST_IN_EVALUATION
    return (mean is not None or training) and x.dim() > 2 and x.shape[0] <= most  # noqa: PLR2004 - (B, C, ...)


def backward(_g: Tensor, x: Tensor, weight: Tensor | None, *rest: Any) -> tuple[Tensor | None, ...]:
    """ATen's own backward: the gradients of the input, which lies in memory as the input does, of weight and bias."""
    of_each = zip((x, weight, weight), rest[-1], strict=True)
    return tuple(
        torch.empty_like(operand) if wanted and operand is not None else None for operand, wanted in of_each
    )
