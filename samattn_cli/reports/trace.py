"""What was seen when a PyTorch module ran without its weights: its modules, its weights, and each operation in order.

A child process writes it (`stack/tracing`), and a study reads it (`studies/traced`). Neither torch nor the Tape is known here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

IN_THREADS = "it runs code in threads of its own: operations there are not seen, so the figures here are too low (--device dry:NAME runs them)"
"""The note of a trace that is not whole."""

Phase = Literal["forward", "backward"]


@dataclass(frozen=True)
class TracedModule:
    """A module: its class, whether it holds a list of others, its number of heads, if it says so, and how often it ran."""

    name: str
    type: str
    is_list: bool
    heads: int = 0
    runs: int = 1


@dataclass(frozen=True)
class TracedWeight:
    """A weight.

    Attributes:
        sizes: bytes of each tensor that holds it: one in its own type, or, of a quantized weight, its numbers and its scales.
        trains: whether it requires a gradient.
        gets_gradient: whether the backward of the training step gives it one; False in inference.
    """

    name: str
    shape: tuple[int, ...]
    sizes: tuple[int, ...]
    trains: bool
    gets_gradient: bool = False

    @property
    def nbytes(self) -> int:
        """Bytes of all of them."""
        return sum(self.sizes)


@dataclass(frozen=True)
class TracedStorage:
    """The memory that an operation allocates: a number that is never used again, bytes as asked for, whether of indices."""

    id: int
    nbytes: int
    is_index: bool = False


@dataclass(frozen=True)
class TracedAttention:
    """The shapes of a fused attention: queries (B, heads, N, d), keys, and whether it has a mask."""

    queries: tuple[int, ...]
    keys: tuple[int, ...]
    masked: bool


@dataclass(frozen=True)
class TracedOperand:
    """A tensor that an operation takes: its shape, its strides in elements, and the bytes of an element."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    item_bytes: int


@dataclass(frozen=True)
class TracedDetail:
    """What decides how much memory an operator takes inside while it runs on CUDA.

    Attributes:
        operands: its tensors, in order.
        kept: of a reduction, the shape of its result with reduced sizes as 1.
        gives: of the backward of a convolution, whether it computes the gradients of the input and of the weight.
    """

    operands: tuple[TracedOperand, ...]
    kept: tuple[int, ...] = ()
    gives: tuple[bool, bool] = (False, False)


@dataclass(frozen=True)
class TracedOp:
    """One operation.

    Attributes:
        name: ATen's name of it, such as "addmm".
        module: the module whose forward ran it ("" for the module that was traced).
        flops: FLOPs of a matrix product, a convolution or attention, by torch's FlopCounterMode.
        entering, leaving: shapes of its first operand and of its first result.
        weight_of: the module that owns the weight that it uses, and the weight's name; "" without one.
        bias: whether it adds a bias to a product.
        bytes_read, bytes_written: bytes of its operands and of its results.
        weights: indexes of the weights that it is the first to use.
        allocates: what it allocates, in order.
        frees: what is freed before the next operation.
        saves: what autograd keeps for its backward and has not kept before.
        attention: its shapes, if it is a fused attention.
        detail: of operations that take memory inside, what decides how much.
    """

    name: str
    module: str
    phase: Phase
    flops: int
    entering: tuple[int, ...]
    leaving: tuple[int, ...]
    bias: bool
    bytes_read: int
    bytes_written: int
    weights: tuple[int, ...]
    allocates: tuple[TracedStorage, ...]
    frees: tuple[int, ...] = ()
    saves: tuple[int, ...] = ()
    attention: TracedAttention | None = None
    detail: TracedDetail | None = None


@dataclass(frozen=True)
class Trace:
    """A run of a module.

    Attributes:
        type: the class of the module.
        inputs: the shape of each input, by its name ("0" for the first without one).
        dtype: type of the inputs that are real numbers.
        torch: the version of torch that ran it, such as "2.13.0+cpu".
        route: "meta" if nothing was computed; "cpu" if the module needed numbers.
        notes: sentences for the user.
        buffer_bytes: bytes of each buffer.
        input_bytes: bytes of each input.
        output: shapes of the tensors that it returned.
        forward: an inference forward.
        step: the forward and the backward of a training step; () in inference.
    """

    type: str
    inputs: dict[str, tuple[int, ...]]
    dtype: str
    torch: str
    route: Literal["meta", "cpu"]
    notes: tuple[str, ...]
    modules: tuple[TracedModule, ...]
    weights: tuple[TracedWeight, ...]
    buffer_bytes: tuple[int, ...]
    input_bytes: tuple[int, ...]
    output: tuple[tuple[int, ...], ...]
    output_bytes: int
    forward: tuple[TracedOp, ...]
    step: tuple[TracedOp, ...] = ()


@dataclass(frozen=True)
class DryRun:
    """A run of a module by torch's CUDA code, without a GPU.

    Attributes:
        ran: False if memory ran out; `message` is then torch's own.
        allocated_bytes, reserved_bytes: the most that the caching allocator allocates, and reserves on the device.
        workspace_bytes: what of it are workspaces of cuBLAS.
    """

    ran: bool
    allocated_bytes: int
    reserved_bytes: int
    workspace_bytes: int
    message: str = ""
