"""What timm writes differently in SAM 2's encoder; the rest is `tape.py`.

Source: timm 1.0.31, models/hieradet_sam2.py: MultiScaleAttention, MultiScaleBlock. Shapes: B batch, h heads, d head width, N
queries, M tokens of a window (or the grid).
"""

from __future__ import annotations

from functools import partial

from ...encoder.plan import LayerConfig
from ...tape.tensor import Tensor
from ...tape.windows import crop, cut, join
from . import tape as reference


class Code(reference.Code):
    """The steps of a block as in timm, which gives each tensor on the way into windows and back the same name."""

    def partition(self, x: Tensor, layer: LayerConfig) -> Tensor:
        """Cut from a copy even where there is nothing to pad."""
        (B, _, _, C), tape = x.shape, self.tape
        whole = tape.pad("pad", x, B, *layer.windows.covered, C)
        tape.free(x)
        windows = cut(tape, whole, layer.windows)
        tape.free(whole, keep=windows)
        return windows

    def unpartition(self, windows: Tensor, layer: LayerConfig) -> Tensor:
        """The padding is dropped by a copy."""
        joined = join(self.tape, windows, layer.windows.pooled(layer.q_stride))
        self.tape.free(windows, keep=joined)
        out = crop(self.tape, joined, layer.out_grid)
        self.tape.free(joined, keep=out)
        return out

    def eager(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, ...]:
        """Queries are scaled, which frees pooled ones. Scaled queries and probabilities are kept to the end."""
        tape = self.tape
        scaled = tape.scale("scale", q)
        tape.free(q, keep=k)
        scores = tape.scores(scaled, k)  # (B, h, N, M)
        probabilities = tape.softmax("softmax", scores)
        tape.free(scores)
        values = tape.matmul("values", probabilities, v)
        merged = tape.contiguous("merge", values.transpose(1, 2))
        tape.free(values, keep=merged)
        return merged, scaled, probabilities


BLOCKS = {"hiera": partial(reference.block, code=Code)}
