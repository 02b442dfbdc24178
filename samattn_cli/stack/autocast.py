"""torch.autocast of CUDA for tensors on the meta device, which has none.

Source: the lists for CUDA in autocast_mode.h of ATen. An operation on neither list with operands of two types takes the
wider type (TensorIterator's type promotion).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ..encoder.model import RunConfig
from .cuda import SOFTMAX

IN_PRODUCT_TYPE = {
    F.linear,
    F.conv2d,
    F.conv3d,
    F.conv_transpose2d,
    F.scaled_dot_product_attention,
    torch.bmm,
    torch.matmul,
    Tensor.matmul,
    Tensor.__matmul__,
}
IN_FLOAT32 = {
    F.interpolate,
    F.layer_norm,
    torch.pow,
    Tensor.pow,
    Tensor.__pow__,
    Tensor.__rpow__,
    torch.rsqrt,
    Tensor.rsqrt,
    torch.exp,
    Tensor.exp,
}

WITH_DTYPE = {torch.linalg.vector_norm, torch.norm, Tensor.norm, torch.sum, Tensor.sum, *SOFTMAX}
"""Functions to which autocast gives float32 as their ``dtype``, and whose operands it does not copy."""


class AutocastOnCuda(TorchFunctionMode):
    """``torch.autocast("cuda", dtype)`` for tensors without a device; copies of weights are kept until its end."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        self.copies: dict[int, Tensor] = {}

    def __exit__(self, *error: object) -> None:
        """Leave the mode and free the copies."""
        self.copies.clear()
        super().__exit__(*error)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run `func` in the type that autocast chooses."""
        kwargs = kwargs or {}
        if func is torch.einsum:
            return self._einsum(*args)
        if func in IN_PRODUCT_TYPE:  # C++ evaluates the last argument first
            kwargs = {name: self._copy(x) for name, x in reversed(list(kwargs.items()))}
            args = tuple(map(self._copy, reversed(args)))[::-1]
        elif func is F.normalize:
            return _normalize(*args, **kwargs)
        elif func in WITH_DTYPE and args[0].is_floating_point():
            return _with_dtype(func, args, kwargs)
        elif func in IN_FLOAT32:
            args = tuple(x.float() if isinstance(x, Tensor) else x for x in args)
        return func(*args, **kwargs)

    def _einsum(self, equation: str, a: Tensor, b: Tensor) -> Tensor:
        """``torch.einsum`` of two operands: autocast sees the product in it, whose operands are reshaped by then."""
        rows, columns, restore = as_product(equation, a, b)
        columns = self._copy(columns)
        return restore(torch.bmm(self._copy(rows), columns))

    def _copy(self, x: Any) -> Any:
        if not isinstance(x, Tensor) or x.dtype == self.dtype:
            return x
        if not (x.is_leaf and x.requires_grad):
            return x.to(self.dtype)
        if id(x) not in self.copies:
            self.copies[id(x)] = x.to(self.dtype)
        return self.copies[id(x)]


def autocast_of(run: RunConfig) -> AbstractContextManager[Any]:
    """The autocast of a run on the meta device; nothing if it has none."""
    return nullcontext() if run.autocast == "none" else AutocastOnCuda(getattr(torch, run.autocast))


def _normalize(x: Tensor, p: float, dim: int, eps: float, **_: object) -> Tensor:
    """F.normalize; autocast gives its norm the dtype float32, and does not copy its operand."""
    norm = torch.linalg.vector_norm
    return x / norm(x, p, dim, keepdim=True, dtype=torch.float32).clamp_min(eps).expand_as(x)


def _with_dtype(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """`func` with the dtype float32; softmax with its dimension by name."""
    if func not in SOFTMAX:
        return func(*args, **{"dtype": torch.float32, **kwargs})
    dim = kwargs["dim"] if "dim" in kwargs else args[1]
    return func(args[0], dim=dim, dtype=torch.float32)


def as_product(equation: str, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Callable[[Tensor], Tensor]]:
    """The operands of the product that ``torch.einsum(equation, a, b)`` runs, and what it makes of its result.

    Source: sumproduct_pair of ATen's Linear.cpp. A dimension that both operands and the result have is a batch of the
    product; one that the result does not have is summed.

    Args:
        equation: such as "bhwc,hkc->bhwk"; each operand has each label once.
        a: the first operand.
        b: the second.
    """
    inputs, out = equation.split("->")
    of_a, of_b = inputs.split(",")
    sides = dict(zip(of_a, a.shape, strict=True)), dict(zip(of_b, b.shape, strict=True))
    summed = [label for label in dict.fromkeys(of_a + of_b) if label not in out]
    batch = [label for label in out if all(side.get(label, 1) > 1 for side in sides)]
    rows = [label for label in out if label not in batch and sides[0].get(label, 1) > 1]
    columns = [label for label in out if label not in batch and label not in rows]
    sizes = sides[1] | {label: size for label, size in sides[0].items() if size > 1}
    length = [prod(sizes[label] for label in labels) for labels in (batch, rows, summed, columns)]
    made = _in_order(a, of_a, batch, rows, summed).reshape(length[0], length[1], length[2])
    other = _in_order(b, of_b, batch, summed, columns).reshape(length[0], length[2], length[3])
    order = [*batch, *rows, *columns]

    def restore(product: Tensor) -> Tensor:
        return product.view([sizes[label] for label in order]).permute([order.index(label) for label in out])

    return made, other, restore


def _in_order(x: Tensor, labels: str, *wanted: list[str]) -> Tensor:
    """`x` with its dimensions in the order of `wanted`, of those that it has; others that it has are of size 1 and go last."""
    order = [label for group in wanted for label in group if label in labels]
    rest = [label for label in labels if label not in order]
    return x.permute([labels.index(label) for label in [*order, *rest]])
