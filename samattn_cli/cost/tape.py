"""The Tape: an abstract machine that runs a forward pass on shapes and writes down what each operation costs.

A block on the Tape reads like the block in torch: the same calls in the same order with the same names. Each call
appends an immutable `Op`; everything that samattn reports is a sum, a running maximum or a picture of those. Each
tensor knows the node that made it, so that `autograd.backward` can record the backward of what has been recorded.
"""

from __future__ import annotations

import math

from . import derivatives
from .derivatives import where_needed
from .ops import ELEMENTWISE_FLOPS, Parameter
from .tape_moving import Moving
from .tensor import Dim, Shape, Tensor, contiguous_stride, decide

STATISTIC_BYTES = 4
"""LayerNorm keeps mean and 1/std in float32, whatever the dtype of its input (at CUDA)."""


def _folds(x: Tensor, weight: Tensor) -> bool:
    """Whether a product (..., in) with a weight is one of rows, not a batched one (should_fold of LinearAlgebra.cpp).

    It is batched only with a weight that needs no gradient, where rows would have to be copied.
    """
    if weight.grad_fn or x.is_contiguous:
        return True
    return all(decide(x.stride[i] == x.stride[i + 1] * x.shape[i + 1]) for i in range(len(x.shape) - 2))


class Tape(Moving):
    """The operations of an encoder, each with its backward."""

    # -- products ---------------------------------------------------------------------------------------------------------

    def linear(self, name: str, x: Tensor, out_features: Dim, *, bias: bool = True) -> Tensor:
        """``nn.Linear``, as the submodule `name`: (..., in) -> (..., out)."""
        with self.module(name):
            in_features = x.shape[-1]
            weights = [self.parameter("weight", out_features, in_features)]
            weights += [self.parameter("bias", out_features)] if bias else []
            low, *used = self._for_product(x, *weights)
            folds = _folds(low, used[0])
            batch = (math.prod(x.shape[:-1]),) if folds else (math.prod(x.shape[:-2]), x.shape[-2])
            rows = self.reshape("flatten", low, *batch, in_features)
            out = self.like(rows, *batch, out_features)
            self._product("linear", rows, out, used, weights, macs=out.elements * in_features)
            self.free(rows, low, *self._frozen_copies(used), keep=x)
            saves = (*where_needed(used[0], rows), *where_needed(rows, used[0]))
            added = bias and not low.is_contiguous  # a bias that ATen adds in place afterwards
            if not folds:
                out = self.derived("", out, (rows,), derivatives.batched_mm(rows, used[0]), saves)
            elif bias and not added:
                out = self.derived("", out, (rows, *used), derivatives.addmm(rows, *used), saves)
            else:
                out = self.derived("", out, (rows, used[0]), derivatives.mm(rows, used[0]), saves)
            out = out.view(*x.shape[:-1], out_features)
            return self.derived("", out, (out, used[1]), derivatives.passes(out, used[1])) if added else out

    def conv2d(
        self, name: str, x: Tensor, out_channels: Dim, kernel: Dim, out_size: Shape, *, bias: bool
    ) -> Tensor:
        """``nn.Conv2d``, as the submodule `name`: (B, in, height, width) -> (B, out, *out_size)."""
        with self.module(name):
            batch, in_channels = x.shape[:2]
            weights = [self.parameter("weight", out_channels, in_channels, kernel, kernel)]
            weights += [self.parameter("bias", out_channels)] if bias else []
            low, *used = self._for_product(x, *weights)
            out = self.like(low, batch, out_channels, *out_size)
            macs = out.elements * in_channels * kernel * kernel
            self._product("conv2d", low, out, used, weights, macs=macs)
            self.free(low, *self._frozen_copies(used), keep=x)
            derivative = derivatives.conv2d(low, *used, macs=macs)
            return self.derived("", out, (low, *used), derivative, saves=(low, used[0]))

    def matmul(self, name: str, a: Tensor, b: Tensor) -> Tensor:
        """Batched product: (N, m, k) @ (N, k, n) -> (N, m, n)."""
        low_a, low_b = self._for_product(a, b, name=name)
        out = self.product(name, "matmul", low_a, low_b)
        self.free(*(low for low, x in ((low_a, a), (low_b, b)) if low is not x))
        saves = (*where_needed(low_b, low_a), *where_needed(low_a, low_b))
        return self.derived(name, out, (low_a, low_b), derivatives.bmm(low_a, low_b), saves)

    # -- elementwise ------------------------------------------------------------------------------------------------------

    def add(self, name: str, x: Tensor, other: Tensor) -> Tensor:
        """A sum; either broadcasts to the other."""
        shape = tuple(b if decide(a == 1) else a for a, b in zip(x.shape, other.shape, strict=True))
        out = self.elementwise(name, "add", x.expanded(shape), other.expanded(shape))
        return self.derived(name, out, (x, other), derivatives.passes(x, other))

    def add_number(self, name: str, x: Tensor) -> Tensor:
        """A sum with a number."""
        return self.derived(name, self.elementwise(name, "add", x), (x,), derivatives.passes(x))

    def add_weight(self, name: str, x: Tensor, weight: Parameter, shape: Shape | None = None) -> Tensor:
        """A sum with a weight, viewed as `shape` where that is said, which broadcasts to `x`."""
        into = self.weight(weight) if shape is None else self.weight(weight).view(*shape)
        out = self.elementwise(name, "add", x, into, parameters=(weight,))
        return self.derived(name, out, (x, into), derivatives.passes(x, into))

    def add_(self, name: str, x: Tensor, other: Tensor) -> None:
        """A sum in place."""
        self.record(name, "add", reads=(x, other), elementwise_flops=ELEMENTWISE_FLOPS["add"] * x.elements)

    def sub(self, name: str, x: Tensor, other: Tensor) -> Tensor:
        """A difference; `other` broadcasts to `x`."""
        out = self.elementwise(name, "sub", x, other)
        return self.derived(name, out, (x, other), derivatives.sub(x, other))

    def scale(self, name: str, x: Tensor) -> Tensor:
        """A product with a number."""
        return self.derived(name, self.elementwise(name, "mul", x), (x,), derivatives.scale)

    def scale_by_weight(self, name: str, x: Tensor, weight: Parameter, shape: Shape) -> Tensor:
        """A product with a weight, viewed as `shape`, which broadcasts to `x`."""
        into = self.weight(weight).view(*shape)
        out = self.elementwise(name, "mul", x, into, parameters=(weight,))
        saves = (*where_needed(x, into), *where_needed(into, x))
        return self.derived(name, out, (into, x), derivatives.scale_by_weight(x, into), saves)

    def div(self, name: str, x: Tensor, other: Tensor) -> Tensor:
        """A quotient; `other` broadcasts to `x`."""
        out = self.elementwise(name, "div", x, other)
        return self.derived(
            name, out, (x, other), derivatives.div(x, other), saves=(*where_needed(other, x), other)
        )

    def square(self, name: str, x: Tensor) -> Tensor:
        """X ** 2."""
        wide = self._for_statistics(name, x)
        out = self.elementwise(name, "square", wide)
        if wide is not x:
            self.free(wide)
        return self.derived(name, out, (wide,), derivatives.square(wide), saves=(wide,))

    def sqrt(self, name: str, x: Tensor) -> Tensor:
        """The square root."""
        out = self.elementwise(name, "sqrt", x)
        return self.derived(name, out, (x,), derivatives.sqrt(out), saves=(out,))

    def softmax(self, name: str, x: Tensor) -> Tensor:
        """Softmax over the last dimension."""
        wide = x if self.half_to_float else self._for_statistics(name, x)
        item_bytes = x.item_bytes if self.autocast_bytes is None else self.item_bytes
        out = self.new(x.shape, contiguous_stride(x.shape), item_bytes)
        flops = ELEMENTWISE_FLOPS["softmax"] * x.elements
        self.record(name, "softmax", reads=(wide,), writes=(out,), elementwise_flops=flops)
        if wide is not x:
            self.free(wide)
        return self.derived(name, out, (wide,), derivatives.softmax(wide, out), saves=(out,))

    def gelu(self, name: str, x: Tensor) -> Tensor:
        """GELU."""
        out = self.elementwise(name, "gelu", x)
        return self.derived(name, out, (x,), derivatives.gelu(x), saves=(x,))

    def mean(self, name: str, x: Tensor, dim: int) -> Tensor:
        """The mean over `dim`, kept as a dimension of size 1."""
        shape = tuple(1 if i == dim else size for i, size in enumerate(x.shape))
        (out,) = self.make(name, "mean", (x,), shape)
        return self.derived(name, out, (x,), derivatives.mean(x, dim))

    def layer_norm(self, name: str, x: Tensor) -> Tensor:
        """``nn.LayerNorm`` over the last dimension, as the submodule `name`; its statistics are memory too."""
        with self.module(name):
            width = x.shape[-1]
            weights = [self.parameter("weight", width), self.parameter("bias", width)]
            given, x = x, self._for_statistics("", x)
            out = self.like(x, *x.shape)
            stats = tuple(self.new((x.elements // width,), (1,), STATISTIC_BYTES) for _ in ("mean", "rstd"))
            used = [self.weight(weight) for weight in weights]
            self.record(
                "",
                "layer_norm",
                reads=(x, *used),
                writes=(out, *stats),
                parameters=tuple(weights),
                elementwise_flops=ELEMENTWISE_FLOPS["layer_norm"] * x.elements,
                frees=tuple(stat.storage for stat in stats),
            )
            if x is not given:
                self.free(x)
            derivative = derivatives.layer_norm(x, *used, stats=stats)
            return self.derived("", out, (x, *used), derivative, saves=(x, *used, *stats))

    def _product(
        self, kind: str, x: Tensor, out: Tensor, used: list[Tensor], weights: list[Parameter], *, macs: Dim
    ) -> None:
        """A product with weights, `used` in its own type."""
        self.record(
            "",
            kind,
            reads=(x, *used),
            writes=(out,),
            parameters=tuple(weights),
            macs=macs,
            elementwise_flops=ELEMENTWISE_FLOPS["bias"] * out.elements if len(used) > 1 else 0,
        )
