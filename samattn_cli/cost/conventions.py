"""The counting conventions of other tools, said on the Tape's side: what each would count for an operation.

- fvcore (`FlopCountAnalysis`): one per MAC; LayerNorm adds 5 per element, nearest and bilinear resizing 1 and 4 per
  element that they make; softmax, GELU, adds and copies count 0, and so does scaled_dot_product_attention, products
  and all.
  It reads einsum from NumPy's printed text, rounded to 4 digits: the real stack uses plain products, counted exactly.
  Source: fvcore/nn/jit_handles.py.
- torch's FlopCounterMode: two per MAC of matrix products and convolutions, nothing else.
  Source: torch/utils/flop_counter.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .encoder import ForwardPass
from .ops import Op

FVCORE_ELEMENTWISE = {"layer_norm", "upsample_nearest", "upsample_bilinear"}
"""What fvcore counts without a product in it, in the figures of `ELEMENTWISE_FLOPS`."""

Convention = Callable[[Op], int]


def fvcore(op: Op) -> int:
    """What fvcore counts for `op`."""
    if op.kind == "sdpa":
        return 0
    return int(op.elementwise_flops if op.kind in FVCORE_ELEMENTWISE else op.macs)


def flop_counter(op: Op) -> int:
    """What FlopCounterMode counts for `op`."""
    return int(op.flops)


def counts(forward: ForwardPass, convention: Convention) -> dict[str, dict[str, int]]:
    """Counts by module and kind of operation; a module's include those of its children, "" is the encoder."""
    result: dict[str, dict[str, int]] = {}
    for segment in forward.segments:
        for op in segment.recording.ops:
            if count := convention(op):
                for module in _ancestors(segment.qualified(op.module)):
                    kinds = result.setdefault(module, {})
                    kinds[op.kind] = kinds.get(op.kind, 0) + count
    return result


def _ancestors(module: str) -> Iterator[str]:
    """The module, those around it, and "" for the encoder."""
    while module:
        yield module
        module = module.rpartition(".")[0]
    yield ""
