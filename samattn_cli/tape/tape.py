"""The Tape: an abstract machine that runs a forward pass on shapes and records the cost of each operation.

A block on the Tape reads like the block in torch: the same calls in the same order with the same names. Each call
appends an immutable `Op`; every figure that samattn reports is a sum, a running maximum or a picture of those. Each
tensor knows the node that made it, so that `autograd.backward` can record the backward of what has been recorded.

`Recorder` appends operations and makes their tensors. `Tape` has the operations that encoders call, each with its
derivative: products, images, elementwise, reductions, moves, casts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from ..encoder.torch_versions import LINEAR_IS_VIEW_BEFORE
from ..units import INT64_BYTES, ITEM_BYTES
from . import derivatives
from .derivatives import where_needed
from .graph import NO_GRAPH, Backward, Node
from .ops import BATCHED_LINEAR, ELEMENTWISE_FLOPS, OPERATOR, SCORES, InputLayout, Parameter
from .recorder import Recorder
from .sdpa import Choice
from .storage import Dim, Shape
from .symbols.formula import greatest
from .tensor import Tensor, copied_stride, dense_stride_like

MATRIX_DIMS = 2

STATISTIC_BYTES = 4
"""Bytes of LayerNorm's mean and 1/std: on CUDA they are float32, whatever the dtype of the input."""


class Tape(Recorder):
    """The operations of an encoder, each with its backward."""

    # Matrix products

    def linear(self, name: str, x: Tensor, out_features: Dim, *, bias: bool = True) -> Tensor:
        """``nn.Linear``, as the submodule `name`: (..., in) -> (..., out)."""
        with self.module(name):
            weight = self.parameter("weight", out_features, x.shape[-1])
            return self._linear("", x, weight, self.parameter("bias", out_features) if bias else None)

    def linear_with(self, name: str, x: Tensor, weight: Parameter, bias: Parameter | Tensor | None) -> Tensor:
        """``F.linear`` with a weight of the current module, and a bias of it or one that was computed: (..., in) -> (..., out)."""
        return self._linear(name, x, weight, bias)

    def _linear(self, name: str, x: Tensor, weight: Parameter, bias: Parameter | Tensor | None) -> Tensor:
        *leading, in_features = x.shape
        out_features = weight.shape[0]
        weights = [weight] if bias is None else [weight, bias]
        low, *used = self._for_product(x, *weights, name=name)
        folds = self._folds(low, used[0])
        batch = (math.prod(leading),) if folds else (math.prod(leading[:-1]), leading[-1])
        is_matrix = len(x.shape) == MATRIX_DIMS  # a matrix needs no view
        added = bias is not None and not low.is_contiguous  # ATen adds the bias in place afterwards
        transposed = self._transposed(used[0]) if bias is None or added else used[0]
        rows = (
            low
            if is_matrix
            else self.reshape(f"{name}.flatten" if name else "flatten", low, *batch, in_features)
        )
        out = self.like(rows, *batch, out_features)
        parameters = [weight for weight in weights if isinstance(weight, Parameter)]
        kind = "linear" if folds else BATCHED_LINEAR
        shapes = {"entering": x.shape, "leaving": (*leading, out_features)}
        macs, adds_bias = out.elements * in_features, folds and bias is not None and not added
        self._product(name, kind, rows, out, used, parameters, macs=macs, adds_bias=adds_bias, **shapes)
        computed = used[1:] if isinstance(bias, Tensor) else []
        self.free(rows, low, *self._frozen_copies(used[: len(used) - len(computed)]), keep=x)
        if computed:
            self.free(*computed, keep=bias if isinstance(bias, Tensor) else None)
        saves = (*where_needed(used[0], rows), *where_needed(rows, used[0]))
        if not folds:
            out = self.derived(name, out, (rows,), derivatives.batched_mm, (rows, used[0]), saves=saves)
        elif adds_bias:
            weight_used, with_bias = used
            edges = (with_bias, rows, weight_used)
            out = self.derived(
                name, out, edges, derivatives.addmm, (rows, weight_used, with_bias), saves=saves
            )
        else:
            out = self.derived(name, out, (rows, transposed), derivatives.mm, (rows, used[0]), saves=saves)
        if not is_matrix:
            is_view = adds_bias and self.target.torch < LINEAR_IS_VIEW_BEFORE
            out = out.view(*leading, out_features).seen(is_view=is_view)
        return self.derived(name, out, (out, used[1]), derivatives.passes, (out, used[1])) if added else out

    @staticmethod
    def _transposed(weight: Tensor) -> Tensor:
        """A weight as ``weight.t()``, made before the rows of a product: its gradient is complete after theirs has passed on."""
        edge = weight.grad_fn
        if edge is None or edge is NO_GRAPH:
            return weight
        return weight.made_by((Node(derivatives.passes, (edge,), (weight,)), 0))

    def _folds(self, x: Tensor, weight: Tensor) -> bool:
        """Whether ATen folds (..., in) into rows for one product with a weight (should_fold of LinearAlgebra.cpp).

        The product is batched only if the weight needs no gradient and folding would copy `x`. Autocast's copy of a
        weight needs no gradient in inference.
        """
        needs_gradient = weight.grad_fn and (self.training or self.autocast_bytes is None)
        if needs_gradient or x.is_contiguous:
            return True
        return all(x.stride[i] == x.stride[i + 1] * x.shape[i + 1] for i in range(len(x.shape) - 2))

    def scores(self, q: Tensor, k: Tensor, *, call: str = OPERATOR) -> Tensor:
        """The score matrix, queries by keys: (..., N, d), (..., M, d) -> (..., N, M)."""
        return self.matmul(SCORES, q, k.transpose(-2, -1), call=call, scores=True)

    def matmul(
        self,
        name: str,
        a: Tensor,
        b: Tensor,
        *,
        call: str = OPERATOR,
        scores: bool = False,
        choice: Choice | None = None,
    ) -> Tensor:
        """``a @ b``, or a `call`: (..., m, k) @ (..., k, n) -> (..., m, n), of three dimensions or more.

        ATen folds the leading dimensions into one. It copies where strides do not allow a view (LinearAlgebra.cpp,
        _matmul_impl).
        """
        low_a, low_b = self._for_product(a, b, name=name)
        *batch, m, k = a.shape
        n = b.shape[-1]
        rows = self.reshape(f"{name}.a", low_a.expand_to(*batch, m, k), math.prod(batch), m, k)
        columns = self.reshape(f"{name}.b", low_b.expand_to(*batch, k, n), math.prod(batch), k, n)
        out = self._bmm(name, rows, columns, call, scores=scores, choice=choice)
        self.free(*_without_memory_of((a, b), (columns, rows, low_b, low_a)))
        return out.view(*batch, m, n).seen(is_view=False)

    def bmm(self, name: str, a: Tensor, b: Tensor) -> Tensor:
        """``torch.bmm``: (N, m, k) @ (N, k, n) -> (N, m, n)."""
        low_a, low_b = self._for_product(a, b, name=name)
        out = self._bmm(name, low_a, low_b, "torch.bmm")
        self.free(*_without_memory_of((a, b), (low_a, low_b)))
        return out

    def _bmm(
        self,
        name: str,
        a: Tensor,
        b: Tensor,
        call: str,
        *,
        scores: bool = False,
        choice: Choice | None = None,
    ) -> Tensor:
        out = self.product(name, "matmul", a, b, call, scores=scores, choice=choice)
        saves = (*where_needed(b, a), *where_needed(a, b))
        return self.derived(name, out, (a, b), derivatives.bmm, (a, b), saves=saves)

    # Operations on images (B, C, H, W). On the meta device the output of a convolution is contiguous, whatever the
    # memory order of its input. Pooling and resizing keep the memory order.

    def conv2d(
        self,
        name: str,
        x: Tensor,
        out_channels: Dim,
        kernel: Dim,
        *,
        stride: Dim = 1,
        padding: Dim = 0,
        groups: Dim = 1,
        bias: bool = True,
    ) -> Tensor:
        """``nn.Conv2d``, as the submodule `name`: (B, in, height, width) -> (B, out, ...)."""
        batch, in_channels, *size = x.shape
        made = (batch, out_channels, *((side + 2 * padding - kernel) // stride + 1 for side in size))
        weight = (out_channels, in_channels // groups, kernel, kernel)
        return self._convolution(name, x, weight, made, bias=bias)

    def conv3d(self, name: str, x: Tensor, out_channels: Dim, kernel: Shape, *, bias: bool = True) -> Tensor:
        """``nn.Conv3d`` whose stride is its `kernel`: (B, in, frames, height, width) -> (B, out, ...).

        It is counted with the convolutions over two dimensions.
        """
        batch, in_channels, *size = x.shape
        made = (batch, out_channels, *(side // step for side, step in zip(size, kernel, strict=True)))
        return self._convolution(name, x, (out_channels, in_channels, *kernel), made, bias=bias)

    def conv_transpose2d(
        self, name: str, x: Tensor, out_channels: Dim, kernel: Dim, *, stride: Dim = 1, bias: bool = True
    ) -> Tensor:
        """``nn.ConvTranspose2d``, as the submodule `name`: (B, in, height, width) -> (B, out, ...)."""
        batch, in_channels, *size = x.shape
        made = (batch, out_channels, *((side - 1) * stride + kernel for side in size))
        return self._convolution(
            name, x, (in_channels, out_channels, kernel, kernel), made, bias=bias, transposed=True
        )

    def _convolution(
        self, name: str, x: Tensor, weight: Shape, made: Shape, *, bias: bool, transposed: bool = False
    ) -> Tensor:
        with self.module(name):
            weights = [self.parameter("weight", *weight)]
            weights += [self.parameter("bias", made[1])] if bias else []
            low, *used = self._for_product(x, *weights)
            out = _in_order_of(low, self.like(low, *made))
            places = (x if transposed else out).elements // (x if transposed else out).shape[1]
            macs = places * used[0].elements
            layout = InputLayout(low.shape, low.stride, weight)
            self._product("", "conv2d", low, out, used, weights, macs=macs, layout=layout)
            self.free(low, *self._frozen_copies(used), keep=x)
            operands = (low, *used)
            return self.derived(
                "", out, operands, derivatives.conv2d, (macs, *operands), saves=(low, used[0])
            )

    def max_pool2d(self, name: str, x: Tensor, kernel: Dim, *, stride: Dim | None = None) -> Tensor:
        """``F.max_pool2d``; the stride is `kernel` by default: (B, C, H, W) -> (B, C, ...)."""
        step = kernel if stride is None else stride
        shape = (*x.shape[:2], *((side - kernel) // step + 1 for side in x.shape[2:]))
        out = _in_order_of(x, self.like(x, *shape))
        index = self.contiguous_of(shape, INT64_BYTES)
        flops = ELEMENTWISE_FLOPS["max_pool"] * out.elements * kernel**2
        self.record(
            name,
            "max_pool",
            reads=(x,),
            writes=(out, index),
            elementwise_flops=flops,
            frees=(index.storage,),
        )
        return self.derived(name, out, (x,), derivatives.max_pool, (x, index), saves=(x, index))

    def pooling(self, name: str, x: Tensor, kernel: Dim) -> Tensor:
        """``nn.MaxPool2d`` of `kernel`, as the submodule `name`: (B, C, H, W) -> (B, C, ...)."""
        with self.module(name):
            return self.max_pool2d("", x, kernel)

    def pixel_shuffle(self, name: str, x: Tensor, factor: int) -> Tensor:
        """``nn.PixelShuffle``: (B, C * factor**2, H, W) -> (B, C, H * factor, W * factor), contiguous on CUDA."""
        B, C, H, W = x.shape
        out = self.like(x, B, C // factor**2, H * factor, W * factor)
        self.record(name, "copy", reads=(x,), writes=(out,))
        return self.derived(name, out, (x,), derivatives.pixel_shuffle, (x,))

    def unfold(self, name: str, x: Tensor, kernel: Shape, *, stride: Shape, padding: Shape) -> Tensor:
        """``nn.Unfold``: squares of (B, C, H, W), which may overlap, as columns (B, C * kernel, squares)."""
        B, C, *size = x.shape
        steps = zip(size, kernel, stride, padding, strict=True)
        squares = math.prod((side + 2 * pad - length) // step + 1 for side, length, step, pad in steps)
        (out,) = self.make(name, "unfold", (x,), (B, C * math.prod(kernel), squares))
        return self.derived(name, out, (x,), derivatives.unfold, (x,))

    def mean_of_image(self, name: str, x: Tensor) -> Tensor:
        """``F.adaptive_avg_pool2d(x, 1)``: (B, C, H, W) -> (B, C, 1, 1); where `x` is channels-last, the mean is strided in place."""
        (out,) = self.make(name, "avg_pool", (x,), (*x.shape[:2], 1, 1))
        out = self.derived(name, out, (x,), derivatives.mean_of_image, (x,))
        if not x.is_channels_last:
            return out
        return self.derived(name, out.channels_last(), (out,), derivatives.as_strided, (out,))

    def pad_image(self, name: str, x: Tensor, size: Shape) -> Tensor:
        """``F.pad`` in mode reflect of an image without a gradient, at the bottom and on the right, up to `size`: always a copy."""
        out = self.like(x, *x.shape[:2], *size)
        self.record(name, "pad", reads=(x,), writes=(out,))
        return out

    def interpolate(self, name: str, x: Tensor, size: Shape, mode: str) -> Tensor:
        """``F.interpolate`` to `size`; autocast computes it in the wide type.

        `mode` is "nearest", "bilinear" or "bicubic" for (B, C, H, W), and "linear" for (B, C, L).
        """
        kind = f"upsample_{mode}"
        wide = self._for_statistics(name, x)
        out = _in_order_of(wide, self.like(wide, *x.shape[:2], *size))
        flops = ELEMENTWISE_FLOPS[kind] * out.elements
        self.record(name, kind, reads=(wide,), writes=(out,), elementwise_flops=flops)
        if wide is not x:
            self.free(wide)
        return self.derived(name, out, (wide,), derivatives.interpolate, (wide, mode))

    # Elementwise operations

    def add(self, name: str, x: Tensor, other: Tensor) -> Tensor:
        """``x + other``; either broadcasts to the other."""
        out = self.elementwise(name, "add", *_broadcast(x, other))
        return self.derived(name, out, (x, other), derivatives.passes, (x, other))

    def add_number(self, name: str, x: Tensor) -> Tensor:
        """``x`` plus a number."""
        return self.derived(name, self.elementwise(name, "add", x), (x,), derivatives.passes, (x,))

    def add_weight(self, name: str, x: Tensor, weight: Parameter, shape: Shape | None = None) -> Tensor:
        """``x + weight``; the weight is viewed as `shape`, if given, and broadcasts to `x`."""
        into = self.weight(weight) if shape is None else self.weight(weight).view(*shape)
        out = self.elementwise(name, "add", x, into, parameters=(weight,))
        return self.derived(name, out, (x, into), derivatives.passes, (x, into))

    def add_(self, name: str, x: Tensor, other: Tensor) -> None:
        """``x += other``, without its derivative."""
        self.record(name, "add", reads=(x, other), elementwise_flops=ELEMENTWISE_FLOPS["add"] * x.elements)

    def added_(self, name: str, x: Tensor, other: Tensor) -> Tensor:
        """``x += other``, which no operation has saved; returns the changed `x`."""
        self.add_(name, x, other)
        return self.derived(name, x, (x, other), derivatives.passes, (x, other))

    def add_to_channels(self, x: Tensor, *terms: tuple[str, Dim, Tensor]) -> Tensor:
        """``x[..., first : first + C] += term`` for each (name, first, term), in place; returns the changed `x`.

        Python then assigns the sum to the slice that already holds it. Autograd records this copy onto itself too. So it
        sees two changes of the whole, each a CopySlices node. The gradient of a part, or of a view of the whole, goes
        through as_strided (variable.cpp and accumulate_grad.h of torch/csrc/autograd).
        """
        whole = x
        for name, first, term in terms:
            part = x.slice(len(x.shape) - 1, first, first + term.shape[-1])
            self.add_(name, part, term)
            added = self.derived(name, whole, (whole, term), derivatives.add_to_part, (whole, part))
            if added.grad_fn is None:
                continue
            seen = self.derived(name, part, (added,), derivatives.as_strided, (whole,))
            whole = self.derived(name, added, (added, seen), derivatives.copy_into_part, (whole, part))
        if not x.is_view or whole is x:
            return whole
        return self.derived("view", whole, (whole,), derivatives.as_strided, (whole,))

    def sub(self, name: str, x: Tensor, other: Tensor) -> Tensor:
        """``x - other``; `other` broadcasts to `x`."""
        out = self.elementwise(name, "sub", x, other)
        return self.derived(name, out, (x, other), derivatives.sub, (x, other))

    def scale(self, name: str, x: Tensor) -> Tensor:
        """``x`` times a number."""
        return self.derived(name, self.elementwise(name, "mul", x), (x,), derivatives.scale)

    def mul(self, name: str, x: Tensor, other: Tensor) -> Tensor:
        """``x * other``; either broadcasts to the other."""
        out = self.elementwise(name, "mul", *_broadcast(x, other))
        saves = (*where_needed(other, x), *where_needed(x, other))
        return self.derived(name, out, (x, other), derivatives.mul, (x, other), saves=saves)

    def scale_by_weight(self, name: str, x: Tensor, weight: Parameter, shape: Shape) -> Tensor:
        """``weight.view(shape) * x``; the weight broadcasts to `x`."""
        self.unrecorded.append(weight)
        return self.mul(name, self.weight(weight).view(*shape), x)

    def neg(self, name: str, x: Tensor) -> Tensor:
        """``-x``."""
        return self.derived(name, self.elementwise(name, "neg", x), (x,), derivatives.neg)

    def div(self, name: str, x: Tensor, other: Tensor) -> Tensor:
        """``x / other``; `other` broadcasts to `x`."""
        out = self.elementwise(name, "div", x, other)
        return self.derived(
            name, out, (x, other), derivatives.div, (x, other), saves=(*where_needed(other, x), other)
        )

    def square(self, name: str, x: Tensor) -> Tensor:
        """``x**2``."""
        wide = self._for_statistics(name, x)
        out = self.elementwise(name, "square", wide)
        if wide is not x:
            self.free(wide)
        return self.derived(name, out, (wide,), derivatives.square, (wide,), saves=(wide,))

    def sqrt(self, name: str, x: Tensor) -> Tensor:
        """The square root."""
        out = self.elementwise(name, "sqrt", x)
        return self.derived(name, out, (x,), derivatives.sqrt, (out,), saves=(out,))

    def rsqrt(self, name: str, x: Tensor) -> Tensor:
        """One over the square root."""
        return self._widened(name, "rsqrt", x, derivatives.rsqrt)

    def exp(self, name: str, x: Tensor) -> Tensor:
        """The exponential."""
        return self._widened(name, "exp", x, derivatives.exp)

    def power(self, name: str, x: Tensor) -> Tensor:
        """A number to the power of `x`, a constant: its computation does not count as FLOPs."""
        wide = self._for_statistics(name, x)
        out = self.computed(name, *x.shape, item_bytes=wide.item_bytes, reads=(wide,))
        if wide is not x:
            self.free(wide)
        return out

    def clamp(self, name: str, x: Tensor) -> Tensor:
        """``clamp_min``, or ``clamp`` with one bound."""
        out = self.elementwise(name, "clamp", x)
        return self.derived(name, out, (x,), derivatives.clamp, (x,), saves=(x,))

    def sigmoid(self, name: str, x: Tensor) -> Tensor:
        """The logistic function."""
        out = self.elementwise(name, "sigmoid", x)
        return self.derived(name, out, (x,), derivatives.of_one, ("sigmoid_backward", out), saves=(out,))

    def relu(self, name: str, x: Tensor) -> Tensor:
        """ReLU."""
        out = self.elementwise(name, "relu", x)
        return self.derived(name, out, (x,), derivatives.of_one, ("relu_backward", out), saves=(out,))

    def relu_(self, name: str, x: Tensor) -> Tensor:
        """ReLU in place, on a tensor that no operation saves, such as the output of a linear layer or a convolution."""
        self.record(name, "relu", reads=(x,), elementwise_flops=ELEMENTWISE_FLOPS["relu"] * x.elements)
        if not x.is_view:
            return self.derived(name, x, (x,), derivatives.of_one, ("relu_backward", x), saves=(x,))
        changed = self.derived(name, x, (x,), derivatives.copy_slices, ("relu_backward", x), saves=(x,))
        return self.derived(name, changed, (changed,), derivatives.as_strided, (x,))

    def leaky_relu_(self, name: str, x: Tensor) -> Tensor:
        """Leaky ReLU in place, on a tensor that is no view and that no operation saves, such as the output of a convolution."""
        flops = ELEMENTWISE_FLOPS["leaky_relu"] * x.elements
        self.record(name, "leaky_relu", reads=(x,), elementwise_flops=flops)
        return self.derived(name, x, (x,), derivatives.of_one, ("leaky_relu_backward", x), saves=(x,))

    def silu(self, name: str, x: Tensor) -> Tensor:
        """SiLU: x * sigmoid(x), in one kernel."""
        out = self.elementwise(name, "silu", x)
        return self.derived(name, out, (x,), derivatives.of_one, ("silu_backward", x), saves=(x,))

    def gelu(self, name: str, x: Tensor, *, tanh: bool = False) -> Tensor:
        """GELU, or its approximation by `tanh`."""
        kind = "gelu_tanh" if tanh else "gelu"
        out = self.elementwise(name, kind, x)
        return self.derived(name, out, (x,), derivatives.of_one, (f"{kind}_backward", x), saves=(x,))

    def _widened(self, name: str, kind: str, x: Tensor, derivative: Backward) -> Tensor:
        """An elementwise operation that autocast computes in the wide type, and whose backward needs its output."""
        wide = self._for_statistics(name, x)
        out = self.elementwise(name, kind, wide)
        if wide is not x:
            self.free(wide)
        return self.derived(name, out, (wide,), derivative, (out,), saves=(out,))

    # Reductions, which compute a number from many

    def softmax(self, name: str, x: Tensor, *, in_float32: bool = False) -> Tensor:
        """Softmax over the last dimension; in float32 where autocast or ``dtype=torch.float32`` asks for it.

        On CUDA the kernel itself widens float16. bfloat16 is copied to float32 first.
        """
        widens = in_float32 or self.autocast_bytes is not None
        item_bytes = ITEM_BYTES["float32"] if widens else x.item_bytes
        wide = x if self.half_to_float else self.cast(_cast_of(name), x, item_bytes)
        out = self.contiguous_of(x.shape, item_bytes)
        flops = ELEMENTWISE_FLOPS["softmax"] * x.elements
        self.record(name, "softmax", reads=(wide,), writes=(out,), elementwise_flops=flops)
        if wide is not x:
            self.free(wide)
        return self.derived(name, out, (wide,), derivatives.softmax, (wide, out), saves=(out,))

    def mean(self, name: str, x: Tensor, dim: int) -> Tensor:
        """The mean over `dim`, kept as a dimension of size 1."""
        shape = tuple(1 if i == dim else size for i, size in enumerate(x.shape))
        (out,) = self.make(name, "mean", (x,), shape)
        return self.derived(name, out, (x,), derivatives.mean, (x, dim))

    def sum(self, name: str, x: Tensor, dim: int) -> Tensor:
        """The sum over `dim`, kept as a dimension of size 1."""
        shape = tuple(1 if i == dim else size for i, size in enumerate(x.shape))
        (out,) = self.make(name, "sum", (x,), shape)
        return self.derived(name, out, (x,), derivatives.sum_over, (x, dim))

    def max_along(self, name: str, x: Tensor, dim: int) -> Tensor:
        """``x.max(dim).values``, without that dimension. The places of the maxima, int64, are allocated too."""
        shape = (*x.shape[:dim], *x.shape[dim + 1 :])
        out, index = self.like(x, *shape), self.contiguous_of(shape, INT64_BYTES)
        flops = ELEMENTWISE_FLOPS["max"] * x.elements
        self.record(
            name, "max", reads=(x,), writes=(out, index), elementwise_flops=flops, frees=(index.storage,)
        )
        return self.derived(name, out, (x,), derivatives.max_along, (x, index, dim), saves=(index,))

    def norm(self, name: str, x: Tensor) -> Tensor:
        """The Euclidean norm over the last dimension, kept as a dimension of size 1.

        Autocast gives it the wide type as its dtype: the kernel converts what it reads, and no copy is made.
        """
        shape = (*x.shape[:-1], 1)
        wide = x.item_bytes if self.autocast_bytes is None else self.item_bytes
        out = self.contiguous_of(shape, wide)
        self.record(
            name, "norm", reads=(x,), writes=(out,), elementwise_flops=ELEMENTWISE_FLOPS["norm"] * x.elements
        )
        return self.derived(name, out, (x,), derivatives.norm, (x, out), saves=(x, out))

    def normalize(self, name: str, x: Tensor) -> Tensor:
        """``F.normalize(x, dim=-1)``: `x` divided by its norm, which is clamped from below."""
        norm = self.norm(f"{name}.norm", x)
        bounded = self.clamp(f"{name}.clamp", norm)
        self.free(norm)
        out = self.div(name, x, bounded.expand_to(*x.shape))
        self.free(bounded)
        return out

    def layer_norm(self, name: str, x: Tensor) -> Tensor:
        """``nn.LayerNorm`` over the last dimension, as the submodule `name`; its statistics take memory too."""
        with self.module(name):
            width = x.shape[-1]
            return self._layer_norm("", x, [self.parameter("weight", width), self.parameter("bias", width)])

    def layer_norm_without_weights(self, name: str, x: Tensor) -> Tensor:
        """``F.layer_norm`` over the last dimension, without weights."""
        return self._layer_norm(name, x, [])

    def _layer_norm(self, name: str, x: Tensor, weights: list[Parameter]) -> Tensor:
        width, each = x.shape[-1], ELEMENTWISE_FLOPS["layer_norm"] - (not weights)
        narrow, x = x, self._for_statistics(name, x)
        out = self.like(x, *x.shape)
        stats = tuple(self.new((x.elements // width,), (1,), STATISTIC_BYTES) for _ in ("mean", "rstd"))
        used = [self.weight(weight) for weight in weights]
        self.record(
            name,
            "layer_norm",
            reads=(x, *used),
            writes=(out, *stats),
            parameters=tuple(weights),
            elementwise_flops=each * x.elements,
            frees=tuple(stat.storage for stat in stats),
        )
        if x is not narrow:
            self.free(x)
        operands = (x, *used)
        given = (stats, *operands)
        return self.derived(name, out, operands, derivatives.layer_norm, given, saves=(*operands, *stats))

    def batch_norm(self, name: str, x: Tensor) -> Tensor:
        """``nn.BatchNorm2d``, as the submodule `name`: (B, C, ...) -> the same.

        In training mode it uses the statistics of the batch, which backward needs, and updates the running ones in place.
        In evaluation ATen's own kernel keeps them too; cuDNN's, which does not take bfloat16, does not.
        """
        with self.module(name):
            channels = x.shape[1]
            weights = [self.parameter("weight", channels), self.parameter("bias", channels)]
            running = self.buffer(channels), self.buffer(channels)
            self.buffer(item_bytes=INT64_BYTES)  # batches seen
            used = [self.weight(weight) for weight in weights]
            out = self.new(x.shape, dense_stride_like(x), x.item_bytes)
            by_cudnn = not (self._is_bfloat16(x) or self._is_bfloat16(used[0]))
            kept = 0 if by_cudnn and not self.in_training_mode else channels
            stats = tuple(self.new((kept,), (1,), STATISTIC_BYTES) for _ in ("mean", "rstd"))
            if by_cudnn:
                stats += (self.new((0,), (1,), 1),)  # what a norm that is fused with an activation would keep
            kind = "batch_norm_training" if self.in_training_mode else "batch_norm"
            self.record(
                "",
                kind,
                reads=(x, *used, *running),
                writes=(out, *stats),
                parameters=tuple(weights),
                elementwise_flops=ELEMENTWISE_FLOPS[kind] * x.elements,
                frees=tuple(stat.storage for stat in stats),
            )
            operands = (x, *used)
            given = (stats, by_cudnn and self.in_training_mode, *operands)
            return self.derived("", out, operands, derivatives.batch_norm, given, saves=(*operands, *stats))

    def _is_bfloat16(self, x: Tensor) -> bool:
        return x.item_bytes == ITEM_BYTES["bfloat16"] and not self.half_to_float

    # Operations that move numbers and compute none

    def reshape(self, name: str, x: Tensor, *shape: Dim) -> Tensor:
        """``x.reshape(*shape)``: a view where strides allow it, otherwise a copy."""
        out = x.viewed(shape)
        if out is not None:
            return out
        return self._copy(name, x).view(*shape).seen(is_view=False)

    def contiguous(self, name: str, x: Tensor) -> Tensor:
        """``x.contiguous()``: `x` itself if it is in row-major order, otherwise a copy."""
        return x if x.is_contiguous else self._copy(name, x)

    def clone(self, name: str, x: Tensor) -> Tensor:
        """``x.clone()``."""
        return self._copy(name, x)

    def zero_part_(self, name: str, x: Tensor, *part: Dim) -> Tensor:
        """``x[...].zero_()``: sets a part of `x`, of that shape, to zero in place."""
        self.record(name, "copy")
        return self.derived(name, x, (x,), derivatives.zero_slice, (part,))

    def pad(self, name: str, x: Tensor, *shape: Dim) -> Tensor:
        """``F.pad`` with zeros at the end of each dimension, up to `shape`. Where nothing is padded, it is a clone, which lies as x."""
        is_clone = x.steps is not None and shape == x.shape
        out = self.new(shape, copied_stride(x), x.item_bytes) if is_clone else self.like(x, *shape)
        self.record(name, "pad", reads=(x,), writes=(out,))
        return self.derived(name, out, (x,), derivatives.pad, (x,))

    def stack(self, name: str, tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
        """``torch.stack``: tensors of one shape along a new dimension."""
        shape = tensors[0].shape
        at = dim % (len(shape) + 1)
        (out,) = self.make(name, "copy", tuple(tensors), (*shape[:at], len(tensors), *shape[at:]))
        return self.derived(name, out, tuple(tensors), derivatives.stack, (tensors, at))

    def gather(self, name: str, parameter: Parameter, index: tuple[Tensor, ...], *shape: Dim) -> Tensor:
        """Rows of a weight at `index`: (*shape)."""
        self.unrecorded.append(parameter)
        return self.rows(name, self.weight(parameter), index, *shape)

    def rows(self, name: str, x: Tensor, index: tuple[Tensor, ...], *shape: Dim) -> Tensor:
        """``x[index]``: (*shape). Autograd keeps the index."""
        out = self.like(x, *shape)
        reads = (out, *index)  # one row is read for each row written
        self.record(name, "gather", reads=reads, writes=(out,))
        return self.derived(name, out, (x,), derivatives.gather, (x,), saves=index)

    def gather_along(self, name: str, x: Tensor, index: Tensor) -> Tensor:
        """``torch.gather`` along a dimension: in the shape of `index`. Autograd keeps both."""
        out = self.like(x, *index.shape)
        self.record(name, "gather", reads=(out, index), writes=(out,))
        return self.derived(name, out, (x,), derivatives.gather_along, (x, index), saves=(x, index))

    def argsort(self, name: str, x: Tensor) -> Tensor:
        """``torch.argsort``: int64 indices. The sorted values are allocated too, and freed at once."""
        values, order = self.like(x, *x.shape), self.contiguous_of(x.shape, INT64_BYTES)
        self.record(name, "index", reads=(x,), writes=(values, order), frees=(values.storage,))
        return order

    def roll(self, name: str, x: Tensor, *dims: int) -> Tensor:
        """``torch.roll`` along `dims`: `x` in row-major order, then a copy for each dimension, on CUDA and the CPU.

        A shift by zero is a copy too. It calls itself for the dimensions after the first, so that the copies live until the
        last is made. Source: roll_common and roll_cuda of ATen.
        """
        out, copies = self.contiguous(name, x), list[Tensor]()
        for dim in dims:
            before, out = out, self.like(x, *x.shape)
            self.record(name, "copy", reads=(before,), writes=(out,))
            if dim == dims[0]:
                self.free(before, keep=x)
            copies.append(out)
        self.free(*reversed(copies[:-1]))
        out = out.made_by(None)
        return self.derived(name, out, (x,), derivatives.roll, (dims,))

    def repeat(self, name: str, x: Tensor, *times: Dim) -> Tensor:
        """``x.repeat(*times)`` and ``x.tile(*times)``: a copy, repeated `times` along each dimension."""
        sizes = (*(1 for _ in times[len(x.shape) :]), *x.shape)
        out = self.like(x, *(size * often for size, often in zip(sizes, times, strict=True)))
        self.record(name, "copy", reads=(x,), writes=(out,))
        return self.derived(name, out, (x,), derivatives.repeat, (x, times))

    def cat(self, name: str, parts: Sequence[Tensor], dim: int = -1) -> Tensor:
        """``torch.cat`` of `parts` along `dim`, in the widest of their types."""
        first, at = parts[0].shape, dim % len(parts[0].shape)
        length = sum(part.shape[at] for part in parts)
        item_bytes = max(part.item_bytes for part in parts)
        shape = (*first[:at], length, *first[at + 1 :])
        out = self.contiguous_of(shape, item_bytes)
        if all(part.is_channels_last for part in parts):
            out = out.channels_last()
        self.record(name, "cat", reads=tuple(parts), writes=(out,))
        return self.derived(name, out, tuple(parts), derivatives.cat, (parts, at))

    def masked_fill(self, name: str, x: Tensor, mask: Tensor) -> Tensor:
        """``x.masked_fill(mask, number)``; `mask` broadcasts to `x`. Autograd keeps the mask."""
        out = self.like(x, *x.shape)
        self.record(name, "copy", reads=(x, mask), writes=(out,))
        return self.derived(name, out, (x,), derivatives.masked_fill, (mask,), saves=(mask,))

    def constant(self, name: str, like: Tensor, *shape: Dim) -> Tensor:
        """A new tensor in the type of `like`: ``torch.zeros``, ``torch.ones``, ``torch.eye``, ``torch.rand``."""
        return self.computed(name, *shape, item_bytes=like.item_bytes)

    def integers(self, name: str, *shape: Dim, reads: tuple[Tensor, ...] = ()) -> Tensor:
        """An int64 tensor made by `torch.arange` or index arithmetic."""
        return self.computed(name, *shape, item_bytes=INT64_BYTES, reads=reads)

    def computed(self, name: str, *shape: Dim, item_bytes: int, reads: tuple[Tensor, ...] = ()) -> Tensor:
        """A constant, a mask or an index: a tensor without a gradient, whose computation does not count as FLOPs."""
        out = self.contiguous_of(shape, item_bytes)
        self.record(name, "index", reads=reads, writes=(out,))
        return out

    # Casts and copies

    def cast(self, name: str, x: Tensor, item_bytes: int) -> Tensor:
        """`x` in a type of `item_bytes`: `x` itself if it has that size, otherwise a copy."""
        if x.item_bytes == item_bytes:
            return x
        out = self.copy_of(x, item_bytes)
        self.record(name, "copy", reads=(x,), writes=(out,))
        return self.derived(name, out, (x,), derivatives.passes, (x,))

    def _for_product(self, *operands: Tensor | Parameter, name: str = "") -> tuple[Tensor, ...]:
        """Operands in the type of products. Under autocast they are copies.

        Autocast keeps the copies of weights that train until the forward ends: at::autocast::cached_cast caches the
        copy of a tensor only if it requires a gradient. The last operand is copied first, as the arguments of a call are
        evaluated in the builds of torch for Linux.
        """
        if self.autocast_bytes is None:
            return tuple([self.weight(x) if isinstance(x, Parameter) else x for x in operands])
        return tuple([self._operand(name, operand) for operand in reversed(operands)])[::-1]

    def _operand(self, name: str, operand: Tensor | Parameter) -> Tensor:
        x = self.weight(operand) if isinstance(operand, Parameter) else operand
        if self.autocast_bytes is None:
            return x
        if isinstance(operand, Parameter) and operand.name in self.copies:
            return self.copies[operand.name]
        low = self.cast(_cast_of(name), x, self.autocast_bytes)
        if isinstance(operand, Parameter) and operand.trains:
            self.copies[operand.name] = low
        return low

    @staticmethod
    def _frozen_copies(weights: list[Tensor]) -> Iterator[Tensor]:
        """Autocast's copies of frozen weights, which are freed when the product is done."""
        return (weight for weight in weights if not (weight.storage.is_weight or weight.grad_fn))

    def _for_statistics(self, name: str, x: Tensor) -> Tensor:
        """`x` in the type of norms and softmax; under autocast that is the wide type."""
        return x if self.autocast_bytes is None else self.cast(_cast_of(name), x, self.item_bytes)

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
        """Record a product with `weights`; `used` are those weights in the type of the product."""
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
        return self.derived(name, out, (x,), derivatives.passes, (x,))


def _cast_of(name: str) -> str:
    """The name of the cast of an operand."""
    return f"{name}.cast" if name else "cast"


def _in_order_of(x: Tensor, out: Tensor) -> Tensor:
    return out.channels_last() if x.is_channels_last else out


def _broadcast(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Both expanded to the shape that they broadcast to."""
    if one.steps is other.steps is None and one.shape == other.shape:
        return one, other
    more = len(one.shape) - len(other.shape)
    sizes = zip((1,) * -more + one.shape, (1,) * more + other.shape, strict=True)
    shape = tuple([one if one is other else greatest((one, other)) for one, other in sizes])
    return one.expanded(shape), other.expanded(shape)


def _without_memory_of(operands: tuple[Tensor, ...], tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Those of `tensors` that do not share memory with any of `operands`."""
    taken = [operand.storage for operand in operands]
    return tuple([x for x in tensors if x.storage not in taken])
