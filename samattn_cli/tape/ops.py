"""Recorded operations: the cost of each, and the memory that it allocates, frees and keeps.

Conventions:

- MACs are those of matrix products and convolutions, as torch's FlopCounterMode counts them; one MAC is two FLOPs.
- Elementwise FLOPs are kept apart, one per elementary operation and element; see `ELEMENTWISE_FLOPS`.
- Bytes read and written are those of each operand once, weights included, caches ignored.
- Memory is what eager PyTorch allocates, op by op, at the moment it allocates it. The workspace of a kernel is not a tensor:
  that of attention's backward is kept apart, those of cuBLAS and cuDNN are not known here.
- `saves` are the storages that autograd keeps for backward, without weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING

from ..records import replace
from ..units import FLOPS_PER_MAC
from .immutable import immutable
from .sdpa import Choice
from .storage import Dim, Shape, Storage

if TYPE_CHECKING:  # not at run time: few encoders have copies
    from .copies import Copy, Piece

ELEMENTWISE_FLOPS = {
    "add": 1,
    "sub": 1,
    "mul": 1,
    "div": 1,
    "neg": 1,
    "square": 1,
    "cube": 2,
    "sqrt": 1,
    "rsqrt": 2,  # root, divide
    "exp": 1,
    "clamp": 1,
    "select": 0,  # moves numbers
    "mean": 1,  # per element of the input
    "avg_pool": 1,  # per element of the input, fvcore's figure
    "softmax": 5,  # maximum, subtract, exponential, sum, divide
    "softmax_backward": 4,  # multiply, sum, subtract, multiply
    "gelu": 5,  # x * 0.5 * (1 + erf(x / sqrt 2)): scale, erf, add, halve, multiply
    "gelu_tanh": 9,  # x * 0.5 * (1 + tanh(c * (x + d * x ** 3))): cube (2), scale, add, scale, tanh, add, halve, multiply
    "gelu_tanh_backward": 18,  # the same, and its slope: square, subtract, and seven more to multiply and add
    "sigmoid": 4,  # negate, exponential, add, divide
    "sigmoid_backward": 3,  # g * out * (1 - out)
    "silu": 5,  # sigmoid, multiply
    "silu_backward": 9,  # g * s * (1 + x * (1 - s)), with s the sigmoid
    "relu": 1,
    "relu_backward": 1,
    "leaky_relu": 2,  # compare, multiply
    "leaky_relu_backward": 2,
    "norm": 2,  # per element of the input: square, add
    "gelu_backward": 10,  # the same, and x times the Gaussian density: square, scale, exponential, multiply, add
    "layer_norm": 5,  # fvcore's figure for one with weight and bias
    "batch_norm": 2,  # in evaluation, fvcore's figure: scale, shift
    "batch_norm_training": 5,  # with the mean and the variance of the batch, as layer norm
    "batch_norm_backward": 12,  # as layer norm's
    "layer_norm_backward": 12,  # three gradients and two sums over the width
    "sum": 1,  # per element of the input
    "max": 1,  # a comparison per element of the input
    "max_pool": 1,  # a comparison per element under each square
    "max_pool_backward": 1,  # an addition per element of the gradient
    # per element of the larger image, forward and backward; the first two are fvcore's figures
    "unfold": 0,  # moves numbers
    "fold": 1,  # an addition per element of the gradient
    "upsample_nearest": 1,
    "upsample_linear": 2,
    "upsample_bilinear": 4,
    "upsample_bicubic": 32,  # 16 neighbours, each multiplied and added
    "bias": 1,  # per element of the output of a linear layer or convolution
}


OPERATOR = "@"
"""The call of a product that is written as an operator: tools that replace torch's functions do not see it."""

INSIDE_SDPA = "F.scaled_dot_product_attention"
"""The call of a product that torch's attention makes itself: fvcore, and tools that replace torch's functions, do not see it."""

SCORES = "scores"
"""The name of the product of queries and keys, and of the share of the cost that it belongs to."""

BATCHED_LINEAR = "batched_linear"
"""A linear layer that is run as a batched product: fvcore sees a linear layer, FlopCounterMode a product."""


LAID_OUT = frozenset(
    {
        "layer_norm",
        "layer_norm_backward",
        "batch_norm_training",
        "batch_norm_backward",
        "sum",
        "index",
        "max_pool",
        "max_pool_backward",
        "conv2d",
        "upsample_linear",
        "upsample_bicubic",
        "unfold",
        "fold",
        "avg_pool",
    }
)
"""Kinds whose operators copy operands that lie in another order, or sum by how they lie: see `inside.py`."""


@immutable(frozen=True, eq=True)
class Parameter:
    """A weight of the module, by its name in the real stack; a frozen or unused weight does not train."""

    name: str
    shape: tuple[Dim, ...]
    trains: bool = True


@immutable(frozen=True, eq=True)
class InputLayout:
    """How the input of a convolution or a pooling lies, which decides what its kernels copy.

    Attributes:
        shape, stride: those of the input.
        weight: the shape of the weight, which is contiguous.
        gives_input, gives_weight: which gradients the backward of a convolution computes; both are False in the forward.
    """

    shape: Shape
    stride: Shape
    weight: Shape = ()
    gives_input: bool = False
    gives_weight: bool = False


@immutable(frozen=True, eq=False)
class Buffer:
    """A buffer of a module, or a tensor that its code caches for all forwards after the first.

    Attributes:
        module: the module.
        nbytes: its bytes.
        item_bytes: those of one of its numbers.
        cached: the storage of a cached tensor, which the first forward makes; None for a buffer, which the module registers.
    """

    module: str
    nbytes: Dim
    item_bytes: int
    cached: Storage | None = None


@immutable(frozen=True, eq=False)
class Op:
    """One operation.

    Attributes:
        name: its name in the part or block.
        kind: the kind of operation, such as "linear".
        module: the module whose forward runs it ("" for the part itself).
        macs: MACs of a matrix product or convolution.
        elementwise_flops: all other FLOPs.
        parameters: the weights that it is the first to use.
        bytes_read, bytes_written: bytes of its operands and its results.
        reads, allocates, frees: storages that it reads, allocates and frees.
        frees_last: storages that it frees of the pass before, whose code caches them.
        saves: storages that autograd keeps for its backward.
        is_kept: whether autograd keeps anything for its backward, including weights, which are not in `saves`.
        workspace_bytes: memory that its kernel allocates for itself; it is not a tensor, so a trace does not see it.
        scores: pairs of a query and a key, over all heads, for which it computes a score.
        entering, leaving: shapes of its first operand and its first result, as in the real stack's call.
        call: how the real stack calls a product of tensors: by the operator "@" or a function of torch.
        strides: the strides of its operands, for the kinds of `LAID_OUT`, and of what attention's backward may copy.
        choice: the kernel of fused attention, and why a faster one does not run.
        layout: of a convolution or of a pooling's backward, how its input lies.
        adds_bias: whether the kernel of a linear layer adds its bias, so that cuBLASLt runs it.
    """

    name: str
    kind: str
    module: str
    macs: Dim = 0
    elementwise_flops: Dim = 0
    parameters: tuple[Parameter, ...] = ()
    bytes_read: Dim = 0
    bytes_written: Dim = 0
    reads: tuple[Storage, ...] = ()
    allocates: tuple[Storage, ...] = ()
    frees: tuple[Storage, ...] = ()
    saves: tuple[Storage, ...] = ()
    is_kept: bool = False
    workspace_bytes: Dim = 0
    scores: Dim = 0
    entering: Shape = ()
    leaving: Shape = ()
    call: str = ""
    strides: tuple[Shape, ...] = ()
    choice: Choice | None = None
    frees_last: tuple[Storage, ...] = ()
    layout: InputLayout | None = None
    adds_bias: bool = False

    @property
    def flops(self) -> Dim:
        """FLOPs of matrix products and convolutions."""
        return FLOPS_PER_MAC * self.macs

    @property
    def params(self) -> Dim:
        """Numbers in the weights that it is the first to use."""
        return sum(map(parameter_elements, self.parameters))

    @property
    def requested_bytes(self) -> Dim:
        """Bytes that it asks of the allocator for its results."""
        return sum(storage.nbytes for storage in self.allocates)

    def with_storages(self, new: Mapping[Storage, Storage]) -> Op:
        """The same with other storages in place of some; written out because a pass may make thousands."""
        return Op(
            self.name,
            self.kind,
            self.module,
            self.macs,
            self.elementwise_flops,
            self.parameters,
            self.bytes_read,
            self.bytes_written,
            tuple([new.get(each, each) for each in self.reads]),
            tuple([new.get(each, each) for each in self.allocates]),
            tuple([new.get(each, each) for each in self.frees]),
            tuple([new.get(each, each) for each in self.saves]),
            self.is_kept,
            self.workspace_bytes,
            self.scores,
            self.entering,
            self.leaving,
            self.call,
            self.strides,
            self.choice,
            self.frees_last,
            self.layout,
            self.adds_bias,
        )

    def keep(self, saves: tuple[Storage, ...]) -> None:
        """Autograd keeps storages for its backward, too; only for the Tape that is recording it."""
        before = self.saves
        self.saves = tuple(dict.fromkeys((*before, *saves))) if before else saves  # type: ignore[misc]
        self.is_kept = True  # type: ignore[misc]

    def without_gradients(self) -> Op:
        """The same, whose weights get no gradient."""
        weights = tuple(replace(weight, trains=False) for weight in self.parameters)
        return replace(self, parameters=weights) if weights else self

    @property
    def is_kernel(self) -> bool:
        """Whether it runs a kernel.

        The other kinds are notes: storages are freed ("free"), saved tensors are used ("unpack"), a weight is never used
        ("unused").
        """
        return self.kind not in {"free", "unpack", "unused"}


@dataclass(frozen=True, eq=False)
class Recording:
    """The finished operations of a part of an encoder, and their sums.

    Attributes:
        ops: the operations in order.
        cached: autocast's copies of weights, which live until the whole forward ends.
        buffers: the buffers of the part.
        unread: results that nothing reads, and what autograd saves for each: it is freed with the result that holds its graph.
        registered: of modules whose submodules or weights are used in another order than that of their registration, these.
        only_first: what the first forward alone runs, and before which of the operations.
    """

    ops: tuple[Op, ...]
    cached: tuple[Storage, ...] = ()
    buffers: tuple[Buffer, ...] = ()
    unread: Mapping[Storage, tuple[Storage, ...]] = field(default_factory=dict)
    registered: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    only_first: tuple[tuple[int, tuple[Op, ...]], ...] = ()

    def with_graphs(self) -> Recording:
        """The same, where autograd saves tensors and results hold their graphs."""
        return replace(self, ops=tuple(map(self._freeing_graphs, self.ops))) if self.unread else self

    def with_copies(self, copies: Sequence[tuple[int, Copy]]) -> Recording:
        """The same with copies among its operations, each before the one with its number."""
        from .copies import WithCopies, among

        others = {name: value for name, value in vars(self).items() if name != "ops"}
        return WithCopies(among(self.ops, copies), **others) if copies else self

    def without_gradients(self) -> Recording:
        """The same, whose weights get no gradient."""
        return replace(self, ops=tuple(op.without_gradients() for op in self.ops))

    def _freeing_graphs(self, op: Op) -> Op:
        saved = {storage for graph in self.unread.values() for storage in graph}
        frees = tuple(storage for storage in op.frees if storage not in saved)
        graphs = tuple(each for storage in op.frees for each in self.unread.get(storage, ()))
        return replace(op, frees=(*frees, *graphs)) if op.frees else op

    @cached_property
    def pieces(self) -> tuple[Piece, ...]:
        """The operations in order, in pieces; those of a copy need not be made."""
        return (self.ops,)

    def total(self, key: str) -> Dim:
        """The sum of a number of the operations, such as "bytes_read"."""
        return sum([getattr(op, key) for op in self.ops])

    def storages(self, key: str) -> Iterable[Storage]:
        """The storages of all operations under a key, such as "saves", in order."""
        return chain.from_iterable([getattr(op, key) for op in self.ops])

    @cached_property
    def macs(self) -> Dim:
        """MACs of matrix products and convolutions."""
        return self.total("macs")

    @cached_property
    def flops(self) -> Dim:
        """FLOPs of matrix products and convolutions."""
        return FLOPS_PER_MAC * self.macs

    @cached_property
    def elementwise_flops(self) -> Dim:
        """FLOPs of everything else."""
        return self.total("elementwise_flops")

    @cached_property
    def bytes_read(self) -> Dim:
        """Bytes of the operands, each read once by each operation."""
        return self.total("bytes_read")

    @cached_property
    def bytes_written(self) -> Dim:
        """Bytes of the results of all operations."""
        return self.total("bytes_written")

    @cached_property
    def scores(self) -> Dim:
        """Numbers in the score matrices, of all heads, windows and images, padding included."""
        return self.total("scores")

    @cached_property
    def saved(self) -> frozenset[Storage]:
        """The storages that autograd keeps for backward."""
        return frozenset(self.storages("saves"))

    @cached_property
    def left(self) -> frozenset[Storage]:
        """The storages that its code caches until the next pass."""
        return frozenset(self.storages("frees_last"))

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """The weights, in the order of use."""
        return tuple(parameter for op in self.ops for parameter in op.parameters)

    @cached_property
    def params(self) -> Dim:
        """Numbers in the weights."""
        return sum(map(parameter_elements, self.parameters))


def parameter_elements(parameter: Parameter) -> Dim:
    """Numbers in a weight."""
    return math.prod(parameter.shape)
