"""What timm writes differently in SAM's encoder; the rest is `tape.py`, and what transformers writes in the same way.

Source: timm 1.0.31, models/vision_transformer_sam.py: Attention, Block, get_decomposed_rel_pos_bias; layers/norm.py,
LayerNorm2d. Shapes: B batch, H x W grid, C width, h heads, d = C / h, N = windows (or B) * h.
"""

from __future__ import annotations

from functools import partial

from ...encoder.model import StageConfig
from ...encoder.plan import LayerConfig
from ...tape.rel_pos import decomposed_terms, positions_by_host
from ...tape.storage import Dim, Shape
from ...tape.tensor import Tensor
from . import tape as reference
from .transformers_tape import Code as OfTransformers
from .transformers_tape import sam_neck


class Code(OfTransformers):
    """The steps of a block as in timm.

    It cuts windows, splits heads and copies the bias as transformers does. The attention has names for the scaled queries,
    the bias and the probabilities. Torch's attention is called without a batch.
    """

    holds = {"scaled": "attention", "bias": "attention"}  # noqa: RUF012 - never changed
    bias: Tensor | None = None

    def positions(self, name: str, size: Dim, made_for: Dim, d: Dim) -> Tensor:
        """By an index on the host, from a table that is resized if it has another size."""
        return positions_by_host(self.tape, name, size, made_for, d)

    def before_scores(self, q: Tensor, size: Shape, layer: LayerConfig) -> None:
        """The bias comes first."""
        if layer.stage.rel_pos != "none":
            self.bias = self._bias(q, size, layer, *q.shape[:2], q.shape[1])

    def add_decomposed(self, scores: Tensor, _q: Tensor, _size: Shape, _layer: LayerConfig) -> Tensor:
        """Adds the bias."""
        assert self.bias is not None  # noqa: S101 - for the type checker
        out = self.tape.add("add_rel", scores, self.bias)
        self.drop("bias", self.bias)
        return out

    softmax = reference.Code.softmax

    def per_head(self, x: Tensor, _stage: StageConfig) -> Tensor:
        """(N, HW, d): as they are."""
        return x

    def of_heads(self, out: Tensor, stage: StageConfig) -> Tensor:
        """(N, HW, d) -> (B, h, HW, d)."""
        (N, tokens, d), h = out.shape, stage.num_heads
        return out.view(N // h, h, tokens, d)

    def for_projection(self, size: Shape) -> Shape:
        """One: (HW,)."""
        return (size[0] * size[1],)

    def for_mlp(self, x: Tensor) -> Tensor:
        """(B, HW, C)."""
        B, H, W, C = x.shape
        return x.view(B, H * W, C)

    def decomposed_bias(self, q: Tensor, size: Shape, layer: LayerConfig) -> Tensor:
        """As for eager attention: (N, HW, HW)."""
        return self._bias(q, size, layer, *q.shape[:2], q.shape[1])

    def _bias(self, q: Tensor, size: Shape, layer: LayerConfig, *shape: Dim) -> Tensor:
        """The sum of both terms of queries (N, HW, d), copied into `shape` while the function holds what it is made of."""
        tape, (N, _, d), (H, W) = self.tape, q.shape, size
        Rh, Rw = reference.both_relative_positions(self, size, layer.rel_pos_size, d)
        rel_h, rel_w = decomposed_terms(tape, q.view(N, H, W, d), Rh, Rw)
        summed = tape.add("sum_rel", rel_h.view(N, H, W, H, 1), rel_w.view(N, H, W, 1, W))
        bias = tape.reshape("copy_rel", summed, *shape)
        tape.free(Rh, Rw, rel_h, rel_w)
        tape.free(summed, keep=bias)
        return bias


BLOCKS = {"vit": partial(reference.block, code=Code)}
NECKS = {"sam": sam_neck}
