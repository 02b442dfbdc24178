"""The Tape: an abstract machine that runs a forward pass on shapes and writes down what each operation costs.

A block on the Tape reads like the block in torch: the same calls in the same order with the same names. Each call
appends an immutable `Op`; everything that samattn reports is a sum, a running maximum or a picture of those.

Conventions:

- MACs are those of matrix products and convolutions, as torch's FlopCounterMode counts them; one MAC is two FLOPs.
- Elementwise FLOPs are kept apart, one per elementary operation and element; see `ELEMENTWISE_FLOPS`.
- Bytes read and written are those of each operand once, weights included, caches ignored.
- Memory is what eager PyTorch allocates, op by op, at the moment it allocates it. What a kernel takes inside for its
  own work is no tensor and is not counted.
- `saves` is what autograd keeps for backward, weights left out. Each tensor knows the node that made it, so that
  `autograd.backward` can record the backward of what has been recorded.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from ..units import FLOPS_PER_MAC, INT64_BYTES
from . import derivatives
from .graph import Backward, Node, leaf
from .tensor import (
    Dim,
    Shape,
    Storage,
    Tensor,
    ceil_div,
    contiguous_stride,
    decide,
    dense_stride_like,
    view_stride,
)

ELEMENTWISE_FLOPS = {
    "add": 1,
    "sub": 1,
    "mul": 1,
    "div": 1,
    "square": 1,
    "sqrt": 1,
    "mean": 1,  # per element of the input
    "softmax": 5,  # maximum, subtract, exponential, sum, divide
    "softmax_backward": 4,  # multiply, sum, subtract, multiply
    "gelu": 5,  # x * 0.5 * (1 + erf(x / sqrt 2)): scale, erf, add, halve, multiply
    "gelu_backward": 10,  # the same, and x times the Gaussian density: square, scale, exponential, multiply, add
    "layer_norm": 5,  # fvcore's figure for one with weight and bias
    "layer_norm_backward": 12,  # three gradients and two sums over the width
    "sum": 1,  # per element of the input
    "bias": 1,  # per element of the output of a linear layer or convolution
}

STATISTIC_BYTES = 4
"""LayerNorm keeps mean and 1/std, attention its log-sum-exp in float32, whatever the dtype of its input (at CUDA)."""

HALF_BYTES = 2
MOST_FLASH_DIM = 256  # of queries, keys and values
MASK_ALIGNMENT = 8  # of the memory-efficient kernel, in numbers; preprocess_mask in attention.cpp
LSE_ALIGNMENT = 32  # of its log-sum-exp, in rows; attention.cu
BIAS_GRAD_ALIGNMENT = 16  # of its gradient of the mask, in numbers; attention_backward.cu


@dataclass(frozen=True)
class Parameter:
    """A weight of the module, by the name it has in the real stack."""

    name: str
    shape: tuple[Dim, ...]


@dataclass(frozen=True, eq=False)
class Op:
    """One operation. `module` is the module whose forward runs it ("" for the part itself)."""

    name: str
    kind: str
    module: str
    macs: Dim = 0
    elementwise_flops: Dim = 0
    parameters: tuple[Parameter, ...] = ()
    bytes_read: Dim = 0
    bytes_written: Dim = 0
    allocates: tuple[Storage, ...] = ()
    frees: tuple[Storage, ...] = ()
    saves: tuple[Storage, ...] = ()

    @property
    def flops(self) -> Dim:
        """FLOPs of matrix products and convolutions."""
        return FLOPS_PER_MAC * self.macs


@dataclass(frozen=True, eq=False)
class Recording:
    """The finished operations of a part of an encoder, and their sums.

    `cached` are autocast's copies of weights, which live until the whole forward is done.
    """

    ops: tuple[Op, ...]
    cached: tuple[Storage, ...] = ()

    @cached_property
    def macs(self) -> Dim:
        """MACs of matrix products and convolutions."""
        return sum(op.macs for op in self.ops)

    @cached_property
    def flops(self) -> Dim:
        """FLOPs of matrix products and convolutions."""
        return sum(op.flops for op in self.ops)

    @cached_property
    def elementwise_flops(self) -> Dim:
        """FLOPs of everything else."""
        return sum(op.elementwise_flops for op in self.ops)

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """The weights, in the order of use."""
        return tuple(parameter for op in self.ops for parameter in op.parameters)

    @cached_property
    def params(self) -> Dim:
        """Numbers in the weights."""
        return sum(map(parameter_elements, self.parameters))


class Tape:
    """Records the operations of an encoder, part by part.

    Args:
        item_bytes: bytes of a number in the dtype of the pass.
        autocast_bytes: bytes of a number in products, where autocast gives them another type.
        half_to_float: whether softmax widens autocast's type in its own kernel (float16), not by a copy before it.
        training: whether autograd is on: some kernels make more for it.
    """

    def __init__(
        self,
        item_bytes: int,
        *,
        autocast_bytes: int | None = None,
        half_to_float: bool = False,
        training: bool = False,
    ) -> None:
        self.item_bytes = item_bytes
        self.autocast_bytes = autocast_bytes
        self.half_to_float = half_to_float
        self.training = training
        self.ops: list[Op] = []
        self.cached: list[Storage] = []
        self.scope: tuple[str, ...] = ()

    def recording(self) -> Recording:
        """What has been recorded since the last recording."""
        ops, self.ops = tuple(self.ops), []
        cached, self.cached = tuple(self.cached), []
        return Recording(ops, cached)

    @contextmanager
    def module(self, name: str) -> Iterator[None]:
        """Operations within belong to the submodule `name`."""
        outer = self.scope
        self.scope = (*outer, name)
        try:
            yield
        finally:
            self.scope = outer

    def tensor(self, *shape: Dim) -> Tensor:
        """A contiguous tensor with memory of its own, which nobody has been charged for yet."""
        return self._new(shape, contiguous_stride(shape), self.item_bytes)

    def tensor_like(self, x: Tensor) -> Tensor:
        """A tensor of its shape, type and memory order, with memory of its own."""
        return self._new(x.shape, dense_stride_like(x), x.item_bytes)

    def free(self, *tensors: Tensor, keep: Tensor | None = None) -> None:
        """The last references to the storages of `tensors` go, but for the one that `keep` views."""
        storages = {id(tensor.storage): tensor.storage for tensor in tensors}
        if keep is not None:
            storages.pop(id(keep.storage), None)
        self.free_storages(*storages.values())

    def free_storages(self, *storages: Storage) -> None:
        """The last references to `storages` go."""
        if storages:
            self.record("free", "free", frees=storages)

    def record(
        self,
        name: str,
        kind: str,
        *,
        reads: tuple[Tensor, ...] = (),
        writes: tuple[Tensor, ...] = (),
        parameters: tuple[Parameter, ...] = (),
        **costs: Any,
    ) -> None:
        """Append an operation of the current module."""
        self.ops.append(
            Op(
                name=".".join(part for part in (*self.scope, name) if part),
                kind=kind,
                module=".".join(self.scope),
                parameters=parameters,
                bytes_read=sum(tensor.distinct_bytes for tensor in reads),
                bytes_written=sum(tensor.nbytes for tensor in writes),
                allocates=tuple(tensor.storage for tensor in writes),
                **costs,
            )
        )

    # -- products ----------------------------------------------------------------------------------------------------

    def linear(self, name: str, x: Tensor, out_features: Dim, *, bias: bool = True) -> Tensor:
        """``nn.Linear``, as the submodule `name`: (..., in) -> (..., out)."""
        with self.module(name):
            in_features = x.shape[-1]
            weights = [self.parameter("weight", out_features, in_features)]
            weights += [self.parameter("bias", out_features)] if bias else []
            low, *used = self._for_product(x, *weights)
            rows = self.reshape("flatten", low, math.prod(x.shape[:-1]), in_features)  # ATen folds the batch
            out = self._like(rows, rows.shape[0], out_features)
            self._product("linear", rows, out, used, weights, macs=out.elements * in_features)
            self.free(rows, keep=x)
            saves = (rows, *self._copies(used[0]))
            added = bias and not low.is_contiguous  # a bias that ATen adds in place afterwards
            if bias and not added:
                out = self._derived("", out, (rows, *used), derivatives.addmm(rows, *used), saves)
            else:
                out = self._derived("", out, (rows, used[0]), derivatives.mm(rows, used[0]), saves)
            out = out.view(*x.shape[:-1], out_features)
            return self._derived("", out, (out, used[1]), derivatives.passes(out, used[1])) if added else out

    def conv2d(
        self, name: str, x: Tensor, out_channels: Dim, kernel: Dim, out_size: Shape, *, bias: bool
    ) -> Tensor:
        """``nn.Conv2d``, as the submodule `name`: (B, in, height, width) -> (B, out, *out_size)."""
        with self.module(name):
            batch, in_channels = x.shape[:2]
            weights = [self.parameter("weight", out_channels, in_channels, kernel, kernel)]
            weights += [self.parameter("bias", out_channels)] if bias else []
            low, *used = self._for_product(x, *weights)
            out = self._like(low, batch, out_channels, *out_size)
            macs = out.elements * in_channels * kernel * kernel
            self._product("conv2d", low, out, used, weights, macs=macs)
            if low is not x:
                self.free(low)
            derivative = derivatives.conv2d(low, *used, macs=macs)
            return self._derived("", out, (low, *used), derivative, saves=(low, *self._copies(used[0])))

    def matmul(self, name: str, a: Tensor, b: Tensor) -> Tensor:
        """Batched product: (N, m, k) @ (N, k, n) -> (N, m, n)."""
        low_a, low_b = self._for_product(a, b, name=name)
        out = self.product(name, "matmul", low_a, low_b, saves=(low_a.storage, low_b.storage))
        self.free(*(low for low, x in ((low_a, a), (low_b, b)) if low is not x))
        return self._derived(name, out, (low_a, low_b), derivatives.bmm(low_a, low_b), saves=(low_a, low_b))

    def attention(self, name: str, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        """``F.scaled_dot_product_attention`` on CUDA: (B, h, N, d), (B, h, N, d), (B, h, N, e) -> (B, h, N, e).

        Flash attention where it can be, else the memory-efficient kernel, behind a mask padded to its alignment. In
        memory its result is (B, N, h, e).
        """
        B, h, N, d = q.shape
        e = v.shape[-1]
        flash = mask is None and q.item_bytes == HALF_BYTES and decide(d == e) and decide(d <= MOST_FLASH_DIM)
        aligned = mask and self._aligned(f"{name}.mask", mask)
        out = self.heads_inside(q, e)
        extra = self._flash_extra(q) if flash else self._efficient_extra(q)
        operands = (q, k, v) if aligned is None else (q, k, v, aligned)
        saves = (*operands, out, *extra)
        self.record(
            name,
            "sdpa",
            reads=operands,
            writes=(out, *extra),
            macs=B * h * N * N * (d + e),
            elementwise_flops=ELEMENTWISE_FLOPS["softmax"] * B * h * N * N,
            frees=tuple(tensor.storage for tensor in extra),
            saves=tuple(tensor.storage for tensor in saves),
        )
        if aligned is not None and mask is not None:
            self.free(aligned, keep=mask)
        return self._derived(name, out, operands, derivatives.attention(*operands, flash=flash), saves=saves)

    def heads_inside(self, x: Tensor, d: Dim) -> Tensor:
        """A tensor (B, h, N, d), as `x` is, that lies in memory as (B, N, h, d)."""
        B, h, N, _ = x.shape
        return replace(self._like(x, B, N, h, d).permute(0, 2, 1, 3), is_view=False)

    def attention_mask_gradient(self, mask: Tensor) -> Tensor:
        """The memory-efficient kernel's gradient of a mask, in padded rows."""
        *rows, width = mask.shape
        aligned = ceil_div(width, BIAS_GRAD_ALIGNMENT) * BIAS_GRAD_ALIGNMENT
        return self._like(mask, *rows, aligned).narrow(mask.shape)

    def _aligned(self, name: str, mask: Tensor) -> Tensor:
        """The mask, in rows of a padded copy where its strides are not aligned."""
        if all(decide(stride % MASK_ALIGNMENT == 0) for stride in mask.stride[:-1]):
            return mask
        *rows, width = mask.shape
        padded = self.pad(name, mask, *rows, width + MASK_ALIGNMENT - width % MASK_ALIGNMENT)
        return padded.narrow(mask.shape)

    def _efficient_extra(self, q: Tensor) -> tuple[Tensor, ...]:
        """What the memory-efficient kernel makes beside its result: log-sum-exp for backward, seed and offset."""
        B, h, N, _ = q.shape
        rows = ceil_div(N, LSE_ALIGNMENT) * LSE_ALIGNMENT if self.training else 0
        return self._new((B, h, rows), (), STATISTIC_BYTES), *(self._new((), (), INT64_BYTES) for _ in "so")

    def _flash_extra(self, q: Tensor) -> tuple[Tensor, ...]:
        """What flash attention makes beside its result: log-sum-exp, two words of random state, an empty debug mask."""
        sizes = (q.shape[:3], STATISTIC_BYTES), ((2,), INT64_BYTES), ((), INT64_BYTES), ((0,), q.item_bytes)
        return tuple(self._new(shape, (), item_bytes) for shape, item_bytes in sizes)

    # -- elementwise -------------------------------------------------------------------------------------------------

    def add(self, name: str, x: Tensor, other: Tensor) -> Tensor:
        """A sum; either broadcasts to the other."""
        shape = tuple(b if decide(a == 1) else a for a, b in zip(x.shape, other.shape, strict=True))
        out = self.elementwise(name, "add", x.expanded(shape), other.expanded(shape))
        return self._derived(name, out, (x, other), derivatives.passes(x, other))

    def add_number(self, name: str, x: Tensor) -> Tensor:
        """A sum with a number."""
        return self._derived(name, self.elementwise(name, "add", x), (x,), derivatives.passes(x))

    def add_weight(self, name: str, x: Tensor, weight: Parameter, shape: Shape) -> Tensor:
        """A sum with a weight, viewed as `shape`, which broadcasts to `x`."""
        into = self._weight(weight).view(*shape)
        out = self.elementwise(name, "add", x, into, parameters=(weight,))
        return self._derived(name, out, (x, into), derivatives.passes(x, into))

    def add_(self, name: str, x: Tensor, other: Tensor) -> None:
        """A sum in place."""
        self.record(name, "add", reads=(x, other), elementwise_flops=ELEMENTWISE_FLOPS["add"] * x.elements)

    def sub(self, name: str, x: Tensor, other: Tensor) -> Tensor:
        """A difference; `other` broadcasts to `x`."""
        out = self.elementwise(name, "sub", x, other)
        return self._derived(name, out, (x, other), derivatives.sub(x, other))

    def scale(self, name: str, x: Tensor) -> Tensor:
        """A product with a number."""
        return self._derived(name, self.elementwise(name, "mul", x), (x,), derivatives.scale)

    def scale_by_weight(self, name: str, x: Tensor, weight: Parameter, shape: Shape) -> Tensor:
        """A product with a weight, viewed as `shape`, which broadcasts to `x`."""
        into = self._weight(weight).view(*shape)
        out = self.elementwise(name, "mul", x, into, parameters=(weight,), saves=(x.storage,))
        return self._derived(name, out, (into, x), derivatives.scale_by_weight(x, into), saves=(x,))

    def div(self, name: str, x: Tensor, other: Tensor) -> Tensor:
        """A quotient; `other` broadcasts to `x`."""
        out = self.elementwise(name, "div", x, other, saves=(x.storage, other.storage))
        return self._derived(name, out, (x, other), derivatives.div(x, other), saves=(x, other))

    def square(self, name: str, x: Tensor) -> Tensor:
        """X ** 2."""
        wide = self._for_statistics(name, x)
        out = self.elementwise(name, "square", wide, saves=(wide.storage,))
        if wide is not x:
            self.free(wide)
        return self._derived(name, out, (wide,), derivatives.square(wide), saves=(wide,))

    def sqrt(self, name: str, x: Tensor) -> Tensor:
        """The square root."""
        out = self.elementwise(name, "sqrt", x, saves_output=True)
        return self._derived(name, out, (x,), derivatives.sqrt(out), saves=(out,))

    def softmax(self, name: str, x: Tensor) -> Tensor:
        """Softmax over the last dimension."""
        wide = x if self.half_to_float else self._for_statistics(name, x)
        item_bytes = x.item_bytes if self.autocast_bytes is None else self.item_bytes
        out = self._new(x.shape, contiguous_stride(x.shape), item_bytes)
        flops = ELEMENTWISE_FLOPS["softmax"] * x.elements
        saves = (out.storage,)
        self.record(name, "softmax", reads=(wide,), writes=(out,), elementwise_flops=flops, saves=saves)
        if wide is not x:
            self.free(wide)
        return self._derived(name, out, (wide,), derivatives.softmax(wide, out), saves=(out,))

    def gelu(self, name: str, x: Tensor) -> Tensor:
        """GELU."""
        out = self.elementwise(name, "gelu", x, saves=(x.storage,))
        return self._derived(name, out, (x,), derivatives.gelu(x), saves=(x,))

    def mean(self, name: str, x: Tensor, dim: int) -> Tensor:
        """The mean over `dim`, kept as a dimension of size 1."""
        shape = tuple(1 if i == dim else size for i, size in enumerate(x.shape))
        (out,) = self.make(name, "mean", (x,), shape)
        return self._derived(name, out, (x,), derivatives.mean(x, dim))

    def layer_norm(self, name: str, x: Tensor) -> Tensor:
        """``nn.LayerNorm`` over the last dimension, as the submodule `name`; its statistics are memory too."""
        with self.module(name):
            width = x.shape[-1]
            weights = [self.parameter("weight", width), self.parameter("bias", width)]
            given, x = x, self._for_statistics("", x)
            out = self._like(x, *x.shape)
            stats = tuple(self._new((x.elements // width,), (1,), STATISTIC_BYTES) for _ in ("mean", "rstd"))
            used = [self._weight(weight) for weight in weights]
            self.record(
                "",
                "layer_norm",
                reads=(x, *used),
                writes=(out, *stats),
                parameters=tuple(weights),
                elementwise_flops=ELEMENTWISE_FLOPS["layer_norm"] * x.elements,
                frees=tuple(stat.storage for stat in stats),
                saves=(x.storage, *(stat.storage for stat in stats)),
            )
            if x is not given:
                self.free(x)
            return self._derived("", out, (x, *used), derivatives.layer_norm(x, stats), saves=(x, *stats))

    # -- moving data -------------------------------------------------------------------------------------------------

    def reshape(self, name: str, x: Tensor, *shape: Dim) -> Tensor:
        """`x` in another shape: a view where strides allow it, else a copy."""
        if view_stride(x, shape) is not None:
            return x.view(*shape)
        return replace(self._copy(name, x).view(*shape), is_view=False)  # _unsafe_view

    def contiguous(self, name: str, x: Tensor) -> Tensor:
        """`x` in row-major order: itself if it is, else a copy."""
        return x if x.is_contiguous else self._copy(name, x)

    def pad(self, name: str, x: Tensor, *shape: Dim) -> Tensor:
        """`x` in the corner of zeros of `shape`."""
        out = self._like(x, *shape)
        self.record(name, "pad", reads=(x,), writes=(out,))
        return self._derived(name, out, (x,), derivatives.pad(x))

    def stack(self, name: str, tensors: Sequence[Tensor]) -> Tensor:
        """Tensors of one shape, one after the other along a new first dimension: of gradients, it has no backward."""
        (out,) = self.make(name, "copy", tuple(tensors), (len(tensors), *tensors[0].shape))
        return out

    def gather(self, name: str, parameter: Parameter, index: tuple[Tensor, ...], *shape: Dim) -> Tensor:
        """Rows of a weight at `index`: (*shape). Autograd keeps the index."""
        out = self.tensor(*shape)
        self.record(
            name,
            "gather",
            reads=(out, *index),  # a row is read for each that is written
            writes=(out,),
            parameters=(parameter,),
            saves=tuple(tensor.storage for tensor in index),
        )
        table = self._weight(parameter)
        return self._derived(name, out, (table,), derivatives.gather(table), saves=index)

    def constant(self, name: str, like: Tensor, *shape: Dim) -> Tensor:
        """Zeros, or ones on a diagonal, in the type of `like`."""
        out = self._like(like, *shape)
        self.record(name, "index", writes=(out,))
        return out

    def cat(self, name: str, parts: tuple[Tensor, ...], constants: tuple[Tensor, ...], length: Dim) -> Tensor:
        """`parts`, then constants that broadcast, joined along the last dimension to `length`."""
        out = self._like(parts[0], *parts[0].shape[:-1], length)
        self.record(name, "cat", reads=(*parts, *constants), writes=(out,))
        return self._derived(name, out, parts, derivatives.cat(*parts))

    def integers(self, name: str, *shape: Dim, reads: tuple[Tensor, ...] = ()) -> Tensor:
        """An int64 tensor made by `torch.arange` or index arithmetic; its operations are not counted as FLOPs."""
        out = self._new(shape, contiguous_stride(shape), INT64_BYTES)
        self.record(name, "index", reads=reads, writes=(out,))
        return out

    def parameter(self, name: str, *shape: Dim) -> Parameter:
        """A weight of the current module, for the operation that uses it."""
        return Parameter(".".join((*self.scope, name)), shape)

    # -- without a backward of its own ---------------------------------------------------------------------------------

    def product(self, name: str, kind: str, a: Tensor, b: Tensor, **costs: Any) -> Tensor:
        """A product: (..., m, k) @ (..., k, n) -> (..., m, n)."""
        out = self._like(a, *a.shape[:-1], b.shape[-1])
        macs = out.elements * a.shape[-1]
        self.record(name, kind, reads=(a, b), writes=(out,), macs=macs, **costs)
        return out

    def make(
        self,
        name: str,
        kind: str,
        reads: tuple[Tensor, ...],
        *shapes: Shape,
        macs: Dim = 0,
        like: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """What an operation makes of `reads`: contiguous tensors of `shapes`, of the type of `like` or of the first."""
        made = tuple(self._like(like or reads[0], *shape) for shape in shapes)
        flops = ELEMENTWISE_FLOPS.get(kind, 0) * reads[0].elements
        self.record(name, kind, reads=reads, writes=made, macs=macs, elementwise_flops=flops)
        return made

    def elementwise(
        self, name: str, kind: str, x: Tensor, *others: Tensor, saves_output: bool = False, **costs: Any
    ) -> Tensor:
        """An elementwise operation on `x`, whose shape the result has, and what broadcasts to it."""
        alike = [other for other in others if len(other.shape) == len(x.shape)]
        item_bytes = max(operand.item_bytes for operand in (x, *others))  # the wider type wins
        out = self._new(x.shape, dense_stride_like(x, *alike), item_bytes)
        if saves_output:
            costs["saves"] = (out.storage,)
        flops = ELEMENTWISE_FLOPS[kind] * out.elements
        self.record(name, kind, reads=(x, *others), writes=(out,), elementwise_flops=flops, **costs)
        return out

    def sum_to(self, name: str, x: Tensor, shape: Shape) -> Tensor:
        """`x` summed to a shape that broadcasts to its own: itself where that is its shape."""
        leading = len(x.shape) - len(shape)
        kept = tuple(
            1 if dim < leading or (decide(shape[dim - leading] == 1) and decide(size != 1)) else size
            for dim, size in enumerate(x.shape)
        )
        if not leading and all(decide(a == b) for a, b in zip(kept, x.shape, strict=True)):
            return x
        (out,) = self.make(name, "sum", (x,), kept)
        return out.view(*shape) if leading else out

    # -- inside ------------------------------------------------------------------------------------------------------

    def cast(self, name: str, x: Tensor, item_bytes: int) -> Tensor:
        """`x` in a type of another size: itself if it is."""
        if x.item_bytes == item_bytes:
            return x
        out = self._new(x.shape, dense_stride_like(x), item_bytes)
        self.record(name, "copy", reads=(x,), writes=(out,))
        return self._derived(name, out, (x,), derivatives.passes(x))

    def _for_product(self, *operands: Tensor | Parameter, name: str = "") -> tuple[Tensor, ...]:
        """Operands in the type of products: under autocast copies, those of weights kept until the forward ends."""
        return tuple(self._operand(name, operand) for operand in operands)

    def _operand(self, name: str, operand: Tensor | Parameter) -> Tensor:
        x = self._weight(operand) if isinstance(operand, Parameter) else operand
        if self.autocast_bytes is None:
            return x
        low = self.cast(f"{name}.cast".strip("."), x, self.autocast_bytes)
        if isinstance(operand, Parameter):
            self.cached.append(low.storage)
        return low

    def _copies(self, weight: Tensor) -> tuple[Tensor, ...]:
        """A weight if it is autocast's copy, whose memory is its own."""
        return () if self.autocast_bytes is None else (weight,)

    def _for_statistics(self, name: str, x: Tensor) -> Tensor:
        """`x` in the type of norms and softmax, which under autocast is the wide one."""
        return x if self.autocast_bytes is None else self.cast(f"{name}.cast".strip("."), x, self.item_bytes)

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
            saves=tuple(saved.storage for saved in (x, *self._copies(used[0]))),
        )

    def _derived(
        self,
        name: str,
        out: Tensor,
        operands: tuple[Tensor, ...],
        backward: Backward,
        saves: tuple[Tensor, ...] = (),
    ) -> Tensor:
        """`out` with the node that its gradient goes to; itself where no operand needs one."""
        edges = tuple(operand.grad_fn for operand in operands)
        if not any(edges):
            return out
        saved = tuple({id(tensor.storage): tensor.storage for tensor in saves}.values())
        scope = (*self.scope, name) if name else self.scope
        return replace(out, grad_fn=(Node(backward, edges, saved, scope), 0))

    def _copy(self, name: str, x: Tensor) -> Tensor:
        out = self._like(x, *x.shape)
        self.record(name, "copy", reads=(x,), writes=(out,))
        return self._derived(name, out, (x,), derivatives.passes(x))

    def _weight(self, parameter: Parameter) -> Tensor:
        """A weight as a tensor, whose memory is the encoder's."""
        return replace(self.tensor(*parameter.shape), grad_fn=leaf(parameter.shape))

    def _like(self, x: Tensor, *shape: Dim) -> Tensor:
        """A contiguous tensor of the type of `x`."""
        return self._new(shape, contiguous_stride(shape), x.item_bytes)

    def _new(self, shape: Shape, stride: Shape, item_bytes: int) -> Tensor:
        return Tensor(shape, stride, Storage(math.prod(shape) * item_bytes), item_bytes)


def parameter_elements(parameter: Parameter) -> Dim:
    """Numbers in a weight."""
    return math.prod(parameter.shape)
