"""What cuDNN may take for a convolution, where this would raise the peak of a run: the one part of its memory that is not derived.

cuDNN chooses an algorithm by a heuristic that it does not document. On an H200 (torch 2.11.0, cuDNN 9.19; tests/gpu/h200/inside.jsonl.gz)
the algorithm of a forward took no workspace, or room for operands in another memory order, at most for the input, the weight and
the output, with channels filled up to 16 bytes. Of 133 forwards in float32, float16 and bfloat16, four took more: 3x3 convolutions.
What a backward takes depends also on how many partial sums it makes. In a training step, less is live there than at the peak.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..reports.analysis import Finding
from ..tape.ops import Op
from ..tape.storage import Shape
from ..units import format_bytes, format_percent, rounded
from .on_device import cuda_of, on
from .passes import Passes

if TYPE_CHECKING:
    from ..device.model import Device

FILLED_BYTES = 16
"""Channels are filled up to a multiple of so many bytes."""
OWN_BYTES = 16
IMAGE_DIMS = 4


def workspace(image: Shape, weight: Shape, out: Shape, item_bytes: int) -> int:
    """The bytes of the operands of a forward with filled channels, which cuDNN may take.

    Args:
        image: the shape of the input, (B, C, H, W).
        weight: (D, C, kernel height, kernel width).
        out: the shape of the output, (B, D, H', W').
        item_bytes: of a number.
    """

    def filled(channels: int) -> int:
        return -(-channels * item_bytes // FILLED_BYTES) * FILLED_BYTES

    B, C, *size = image
    D, _, *kernel = weight
    taken = B * filled(C) * math.prod(size) + filled(D) // item_bytes * filled(C) * math.prod(kernel)
    return int(taken + out[0] * filled(D) * math.prod(out[2:]) + OWN_BYTES)


def of_convolutions(passes: Passes, device: Device | None) -> Iterator[Finding]:
    """The convolution at which a run could take most, if this is more than is derived."""
    if device is None or cuda_of(device) is None or passes.trains:
        return
    aimed = on(passes, device)
    most, place, nbytes = max(_candidates(aimed), default=(0, "", 0))
    more, used = most - int(aimed.peak_bytes), passes.in_memory
    if more <= 0 or used is None or used.allocated_bytes is None:
        return
    share = format_percent(more / used.allocated_bytes)
    yield Finding(
        "convolution-workspace",
        f"cuDNN may take a workspace for {place}, of about {format_bytes(nbytes)} by what an H200 took, which the figures "
        f"leave out. The run then allocates about {format_bytes(used.allocated_bytes + more)} on {device.name}, {share} more. "
        "Whether cuDNN takes it depends on the algorithm that it chooses.",
    )


def _candidates(passes: Passes) -> Iterator[tuple[int, str, int]]:
    """Bytes live while a convolution runs with a workspace, its place, and those of the workspace."""
    peak = passes.peak_bytes
    for number, segment in enumerate(passes.forward.segments):
        found = {op: _taken(op) for op in segment.recording.ops if _is_dense(op)}
        top = passes.section_peaks[segment.name, "forward"]
        if not found or top + max(found.values()) <= peak:
            continue
        for op, before in passes.live_forward(number):
            if op in found:
                live = before + sum(rounded(each.nbytes) for each in op.allocates)
                yield int(live + rounded(found[op])), f"{segment.name}.{op.name}", found[op]


def _is_dense(op: Op) -> bool:
    """Whether it is a convolution of images whose channels are all summed, and larger than 1x1."""
    how = op.layout
    if op.kind != "conv2d" or how is None or len(how.shape) != IMAGE_DIMS:
        return False
    return bool(how.weight[1] == how.shape[1] and math.prod(how.weight[2:]) > 1)


def _taken(op: Op) -> int:
    assert op.layout is not None  # noqa: S101 - for the type checker
    item_bytes = int(op.allocates[0].nbytes // math.prod(op.leaving))
    return workspace(op.layout.shape, op.layout.weight, op.leaving, item_bytes)
