"""What can be explained: each figure of an operation or a layer, what it counts and what it leaves out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ..cost.ops import Op, parameter_elements
from ..cost.tensor import Dim

WORK_LEFT_OUT = (
    "biases, norms, softmax, activations, adds: elementwise_flops has them",
    "the backward of a training step",
    "what a kernel computes beyond its result, such as the rest of a tile",
)


@dataclass(frozen=True)
class Metric:
    """A figure.

    Attributes:
        what: in words.
        definition: what is counted.
        left_out: what is not.
        of_op: that of an operation; None for a figure that only a layer has.
        combined: how those of an encoder's layers make its own.
    """

    what: str
    definition: str
    left_out: tuple[str, ...]
    of_op: Callable[[Op], Dim] | None = None
    combined: Literal["sum", "max"] = "sum"


METRICS = {
    "macs": Metric(
        "MACs",
        "Multiply-accumulates of matrix products and convolutions, padding included.",
        WORK_LEFT_OUT,
        lambda op: op.macs,
    ),
    "flops": Metric(
        "FLOPs",
        "Two for each MAC of matrix products and convolutions, as torch's FlopCounterMode counts.",
        WORK_LEFT_OUT,
        lambda op: op.flops,
    ),
    "elementwise_flops": Metric(
        "elementwise FLOPs",
        "One for each elementary operation on a number: softmax 5, LayerNorm 5, GELU 5, an add 1.",
        ("matrix products and convolutions: flops has them", "how long an exponential takes against an add"),
        lambda op: op.elementwise_flops,
    ),
    "params": Metric(
        "parameters",
        "Numbers in the weights, where they are first used.",
        ("buffers, such as the masks of shifted windows and rotary tables",),
        lambda op: sum(map(parameter_elements, op.parameters)),
    ),
    "bytes_read": Metric(
        "bytes read",
        "Bytes of each operand, read once, weights included.",
        ("what a cache spares, and what a kernel reads twice",),
        lambda op: op.bytes_read,
    ),
    "bytes_written": Metric(
        "bytes written",
        "Bytes of what the operation makes.",
        ("what a kernel writes for its own use",),
        lambda op: op.bytes_written,
    ),
    "allocated_bytes": Metric(
        "bytes allocated",
        "Bytes asked of the allocator for what the operation makes.",
        ("the allocator's rounding to 512 bytes: peak_bytes has it",),
        lambda op: sum(storage.nbytes for storage in op.allocates),
    ),
    "attention_bytes": Metric(
        "score matrix bytes",
        "Queries by keys, of all heads, windows and images, padding included, as eager attention makes them.",
        (
            "the softmax beside it, which is as large",
            "sdpa and fused attention make no such matrix",
        ),
    ),
    "peak_bytes": Metric(
        "peak bytes",
        "The most bytes live at once in an inference forward: what is there before (L), and the most that stands beside it. Each tensor is "
        "rounded up to 512 bytes, as the CUDA allocator does.",
        ("workspaces of cuBLAS and cuDNN, the CUDA context, gaps between blocks of the allocator",),
        combined="max",
    ),
}
