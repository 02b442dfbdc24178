"""Operands in the types that autocast gives them, and copies: what every group of operations stands on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from . import derivatives
from .ops import ELEMENTWISE_FLOPS, Parameter
from .recorder import Recorder
from .tensor import Tensor, dense_stride_like


class Casting(Recorder):
    """Copies, and casts as autocast asks for them."""

    def cast(self, name: str, x: Tensor, item_bytes: int) -> Tensor:
        """`x` in a type of another size: itself if it is."""
        if x.item_bytes == item_bytes:
            return x
        out = self.new(x.shape, dense_stride_like(x), item_bytes)
        self.record(name, "copy", reads=(x,), writes=(out,))
        return self.derived(name, out, (x,), derivatives.passes(x))

    def _for_product(self, *operands: Tensor | Parameter, name: str = "") -> tuple[Tensor, ...]:
        """Operands in the type of products: under autocast copies, those of weights that train kept until the forward ends.

        Source: at::autocast::cached_cast, which caches a copy of what requires a gradient only.
        """
        return tuple(self._operand(name, operand) for operand in operands)

    def _operand(self, name: str, operand: Tensor | Parameter) -> Tensor:
        x = self.weight(operand) if isinstance(operand, Parameter) else operand
        if self.autocast_bytes is None:
            return x
        if isinstance(operand, Parameter) and operand.name in self.copies:
            return self.copies[operand.name]
        low = self.cast(f"{name}.cast".strip("."), x, self.autocast_bytes)
        if isinstance(operand, Parameter) and operand.trains:
            self.copies[operand.name] = low
        return low

    @staticmethod
    def _frozen_copies(weights: list[Tensor]) -> Iterator[Tensor]:
        """Those that are autocast's copies of frozen weights, which go when the product is done."""
        return (weight for weight in weights if not (weight.storage.is_weight or weight.grad_fn))

    def _for_statistics(self, name: str, x: Tensor) -> Tensor:
        """`x` in the type of norms and softmax, which under autocast is the wide one."""
        return x if self.autocast_bytes is None else self.cast(f"{name}.cast".strip("."), x, self.item_bytes)

    def _product(
        self,
        name: str,
        kind: str,
        x: Tensor,
        out: Tensor,
        used: list[Tensor],
        weights: list[Parameter],
        **costs: Any,
    ) -> None:
        """A product with weights, `used` in its own type."""
        self.record(
            name,
            kind,
            reads=(x, *used),
            writes=(out,),
            parameters=tuple(weights),
            elementwise_flops=ELEMENTWISE_FLOPS["bias"] * out.elements if len(used) > 1 else 0,
            **costs,
        )

    def _copy(self, name: str, x: Tensor) -> Tensor:
        out = self.like(x, *x.shape)
        self.record(name, "copy", reads=(x,), writes=(out,))
        return self.derived(name, out, (x,), derivatives.passes(x))
