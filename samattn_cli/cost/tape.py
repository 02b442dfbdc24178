"""The Tape: an abstract machine that runs a forward pass on shapes and writes down what each operation costs.

A block on the Tape reads like the block in torch: the same calls in the same order with the same names. Each call
appends an immutable `Op`; everything that samattn reports is a sum, a running maximum or a picture of those.

Conventions:

- MACs are those of matrix products and convolutions, as torch's FlopCounterMode counts them; one MAC is two FLOPs.
- Elementwise FLOPs are kept apart, one per elementary operation and element; see `ELEMENTWISE_FLOPS`.
- Bytes read and written are those of each operand once, weights included, caches ignored.
- Memory is what eager PyTorch allocates, op by op, at the moment it allocates it. What a kernel takes inside for its
  own work is no tensor and is not counted.
- `saves` is what autograd keeps for backward, weights left out (derivatives.yaml of PyTorch).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..units import FLOPS_PER_MAC, INT64_BYTES
from .tensor import Dim, Shape, Storage, Tensor, contiguous_stride, dense_stride_like, view_stride

ELEMENTWISE_FLOPS = {
    "add": 1,
    "sub": 1,
    "mul": 1,
    "div": 1,
    "square": 1,
    "sqrt": 1,
    "mean": 1,  # per element of the input
    "softmax": 5,  # maximum, subtract, exponential, sum, divide
    "gelu": 5,  # x * 0.5 * (1 + erf(x / sqrt 2)): scale, erf, add, halve, multiply
    "layer_norm": 5,  # fvcore's figure for one with weight and bias
    "bias": 1,  # per element of the output of a linear layer or convolution
}

STATISTIC_BYTES = 4
"""LayerNorm keeps mean and 1/std in float32, whatever the dtype of its input (at CUDA)."""

AUTOGRAD_KEEPS_OUTPUT = frozenset({"softmax", "sqrt"})


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
    """The finished operations of a part of an encoder, and their sums."""

    ops: tuple[Op, ...]

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
    """

    def __init__(self, item_bytes: int) -> None:
        self.item_bytes = item_bytes
        self.ops: list[Op] = []
        self._scope: tuple[str, ...] = ()

    def recording(self) -> Recording:
        """What has been recorded since the last recording."""
        ops, self.ops = tuple(self.ops), []
        return Recording(ops)

    @contextmanager
    def module(self, name: str) -> Iterator[None]:
        """Operations within belong to the submodule `name`."""
        outer = self._scope
        self._scope = (*outer, name)
        try:
            yield
        finally:
            self._scope = outer

    def tensor(self, *shape: Dim) -> Tensor:
        """A contiguous tensor with memory of its own, which nobody has been charged for yet."""
        return self._new(shape, contiguous_stride(shape), self.item_bytes)

    def free(self, *tensors: Tensor, keep: Tensor | None = None) -> None:
        """The last references to the storages of `tensors` go, but for the one that `keep` views."""
        storages = {id(tensor.storage): tensor.storage for tensor in tensors}
        if keep is not None:
            storages.pop(id(keep.storage), None)
        if storages:
            self._record("free", "free", frees=tuple(storages.values()))

    # -- products ----------------------------------------------------------------------------------------------------

    def linear(self, name: str, x: Tensor, out_features: Dim, *, bias: bool = True) -> Tensor:
        """``nn.Linear``, as the submodule `name`: (..., in) -> (..., out)."""
        with self.module(name):
            in_features = x.shape[-1]
            rows = self.reshape("flatten", x, math.prod(x.shape[:-1]), in_features)  # ATen folds the batch
            out = self.tensor(*x.shape[:-1], out_features)
            weights = [self.parameter("weight", out_features, in_features)]
            weights += [self.parameter("bias", out_features)] if bias else []
            self._weighted("linear", rows, out, weights, macs=out.elements * in_features, bias=bias)
            self.free(rows, keep=x)
        return out

    def conv2d(
        self, name: str, x: Tensor, out_channels: Dim, kernel: Dim, out_size: Shape, *, bias: bool
    ) -> Tensor:
        """``nn.Conv2d``, as the submodule `name`: (B, in, height, width) -> (B, out, *out_size)."""
        with self.module(name):
            batch, in_channels = x.shape[:2]
            out = self.tensor(batch, out_channels, *out_size)
            weights = [self.parameter("weight", out_channels, in_channels, kernel, kernel)]
            weights += [self.parameter("bias", out_channels)] if bias else []
            macs = out.elements * in_channels * kernel * kernel
            self._weighted("conv2d", x, out, weights, macs=macs, bias=bias)
        return out

    def matmul(self, name: str, a: Tensor, b: Tensor) -> Tensor:
        """Batched product: (N, m, k) @ (N, k, n) -> (N, m, n)."""
        batch, rows, inner = a.shape
        out = self.tensor(batch, rows, b.shape[-1])
        self._record(
            name,
            "matmul",
            reads=(a, b),
            writes=(out,),
            macs=out.elements * inner,
            saves=(a.storage, b.storage),
        )
        return out

    # -- elementwise -------------------------------------------------------------------------------------------------

    def pointwise(
        self,
        name: str,
        kind: str,
        x: Tensor,
        *others: Tensor,
        weight: Parameter | None = None,
        saves_inputs: bool = False,
    ) -> Tensor:
        """An elementwise operation on `x` and what broadcasts to it.

        Args:
            name: what to call it.
            kind: a key of `ELEMENTWISE_FLOPS`.
            x: the first operand, whose memory order the result takes.
            others: the other operands.
            weight: an operand that is a weight.
            saves_inputs: whether autograd keeps its inputs for backward.
        """
        out = self._new(x.shape, dense_stride_like(x), self.item_bytes)
        kept = (out,) if kind in AUTOGRAD_KEEPS_OUTPUT else (x, *others) if saves_inputs else ()
        self._record(
            name,
            kind,
            reads=(x, *others),
            writes=(out,),
            parameters=() if weight is None else (weight,),
            elementwise_flops=ELEMENTWISE_FLOPS[kind] * out.elements,
            saves=tuple(tensor.storage for tensor in kept),
        )
        return out

    def softmax(self, name: str, x: Tensor) -> Tensor:
        """Softmax over the last dimension."""
        return self.pointwise(name, "softmax", x)

    def mean(self, name: str, x: Tensor, dim: int) -> Tensor:
        """The mean over `dim`, kept as a dimension of size 1."""
        out = self.tensor(*(1 if i == dim else size for i, size in enumerate(x.shape)))
        flops = ELEMENTWISE_FLOPS["mean"] * x.elements
        self._record(name, "mean", reads=(x,), writes=(out,), elementwise_flops=flops)
        return out

    def layer_norm(self, name: str, x: Tensor) -> Tensor:
        """``nn.LayerNorm`` over the last dimension, as the submodule `name`; its statistics are memory too."""
        with self.module(name):
            width = x.shape[-1]
            out = self.tensor(*x.shape)
            rows = x.elements // width
            stats = tuple(self._new((rows,), (1,), STATISTIC_BYTES) for _ in ("mean", "rstd"))
            self._record(
                "",
                "layer_norm",
                reads=(x,),
                writes=(out, *stats),
                parameters=(self.parameter("weight", width), self.parameter("bias", width)),
                elementwise_flops=ELEMENTWISE_FLOPS["layer_norm"] * x.elements,
                frees=tuple(stat.storage for stat in stats),
                saves=(x.storage, *(stat.storage for stat in stats)),
            )
        return out

    # -- moving data -------------------------------------------------------------------------------------------------

    def reshape(self, name: str, x: Tensor, *shape: Dim) -> Tensor:
        """`x` in another shape: a view where strides allow it, else a copy."""
        return x.view(*shape) if view_stride(x, shape) is not None else self._copy(name, x, shape)

    def contiguous(self, name: str, x: Tensor) -> Tensor:
        """`x` in row-major order: itself if it is, else a copy."""
        return x if x.is_contiguous else self._copy(name, x, x.shape)

    def pad(self, name: str, x: Tensor, *shape: Dim) -> Tensor:
        """`x` in the corner of zeros of `shape`."""
        out = self.tensor(*shape)
        self._record(name, "pad", reads=(x,), writes=(out,))
        return out

    def gather(self, name: str, parameter: Parameter, index: tuple[Tensor, ...], *shape: Dim) -> Tensor:
        """Rows of a weight at `index`: (*shape). Autograd keeps the index."""
        out = self.tensor(*shape)
        self._record(
            name,
            "gather",
            reads=(out, *index),  # a row is read for each that is written
            writes=(out,),
            parameters=(parameter,),
            saves=tuple(tensor.storage for tensor in index),
        )
        return out

    def integers(self, name: str, *shape: Dim, reads: tuple[Tensor, ...] = ()) -> Tensor:
        """An int64 tensor made by `torch.arange` or index arithmetic; its operations are not counted as FLOPs."""
        out = self._new(shape, contiguous_stride(shape), INT64_BYTES)
        self._record(name, "index", reads=reads, writes=(out,))
        return out

    def parameter(self, name: str, *shape: Dim) -> Parameter:
        """A weight of the current module, for the operation that uses it."""
        return Parameter(".".join((*self._scope, name)), shape)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _weighted(
        self, kind: str, x: Tensor, out: Tensor, weights: list[Parameter], *, macs: Dim, bias: bool
    ) -> None:
        self._record(
            "",
            kind,
            reads=(x,),
            writes=(out,),
            parameters=tuple(weights),
            macs=macs,
            elementwise_flops=ELEMENTWISE_FLOPS["bias"] * out.elements if bias else 0,
            saves=(x.storage,),
        )

    def _copy(self, name: str, x: Tensor, shape: Shape) -> Tensor:
        out = self.tensor(*shape)
        self._record(name, "copy", reads=(x,), writes=(out,))
        return out

    def _new(self, shape: Shape, stride: Shape, item_bytes: int) -> Tensor:
        return Tensor(shape, stride, Storage(math.prod(shape) * item_bytes), item_bytes)

    def _record(
        self,
        name: str,
        kind: str,
        *,
        reads: tuple[Tensor, ...] = (),
        writes: tuple[Tensor, ...] = (),
        parameters: tuple[Parameter, ...] = (),
        **costs: Any,
    ) -> None:
        weight_bytes = sum(parameter_elements(p) for p in parameters if kind != "gather") * self.item_bytes
        self.ops.append(
            Op(
                name=".".join(part for part in (*self._scope, name) if part),
                kind=kind,
                module=".".join(self._scope),
                parameters=parameters,
                bytes_read=sum(tensor.nbytes for tensor in reads) + weight_bytes,
                bytes_written=sum(tensor.nbytes for tensor in writes),
                allocates=tuple(tensor.storage for tensor in writes),
                **costs,
            )
        )


def parameter_elements(parameter: Parameter) -> Dim:
    """Numbers in a weight."""
    return math.prod(parameter.shape)
