"""What transformers writes differently in SAM's encoder; the rest is `tape.py`.

Source: transformers 5.23.0, models/sam/modeling_sam.py: SamVisionAttention, SamVisionSdpaAttention, SamVisionLayer,
SamVisionNeck. Shapes: B batch, H x W grid, C width, h heads, d = C / h, N = windows (or B) * h.
"""

from __future__ import annotations

from functools import partial

from ...encoder.model import StageConfig
from ...encoder.plan import LayerConfig, PartConfig
from ...tape.rel_pos import decomposed_terms, resized_positions
from ...tape.storage import Dim, Shape
from ...tape.tape import Tape
from ...tape.tensor import Tensor
from ...tape.windows import cut_from_copy
from ...units import ITEM_BYTES
from . import tape as reference


class Code(reference.Code):
    """The steps of a block as in transformers.

    The attention returns its probabilities, which the block then holds. The bias has a name of its own in the attention.
    """

    holds = {"norm2": "block", "probabilities": "block", "bias": "attention"}  # noqa: RUF012 - never changed

    def partition(self, x: Tensor, layer: LayerConfig) -> Tensor:
        """Cut from a copy even where there is nothing to pad."""
        return cut_from_copy(self.tape, x, layer.windows)

    def positions(self, name: str, size: Dim, made_for: Dim, d: Dim) -> Tensor:
        """From a table that is always resized, by an index on the host."""
        return resized_positions(self.tape, name, size, made_for, d)

    def add_decomposed(self, scores: Tensor, q: Tensor, size: Shape, layer: LayerConfig) -> Tensor:
        """The terms are summed first; the sum is copied into the order of the scores."""
        bias = self._bias(q, size, layer, *scores.shape)
        out = self.tape.add("add_rel", scores, bias)
        self.drop("bias", bias)
        return out

    def softmax(self, scores: Tensor) -> Tensor:
        """In float32, then cast back."""
        wide = self.tape.softmax("softmax", scores, in_float32=scores.item_bytes != ITEM_BYTES["float32"])
        out = self.tape.cast("cast", wide, scores.item_bytes)
        self.tape.free(wide, keep=out)
        return out

    def split(self, qkv: Tensor, stage: StageConfig) -> tuple[Tensor, ...]:
        """From a copy in which the heads are apart, as for eager attention: (N, HW, d) each."""
        (B, H, W, packed), h = qkv.shape, stage.num_heads
        d = packed // 3 // h
        # (B, H, W, 3C) -> (B, HW, 3, h, d) -> (3, B, h, HW, d) -> (3, N, HW, d)
        apart = qkv.view(B, H * W, 3, h, d).permute(2, 0, 3, 1, 4)
        return self.tape.reshape("split_heads", apart, 3, B * h, H * W, d).unbind()

    def per_head(self, x: Tensor, stage: StageConfig) -> Tensor:
        """(N, HW, d) -> (B, h, HW, d)."""
        (N, tokens, d), h = x.shape, stage.num_heads
        return x.view(N // h, h, tokens, d)

    def decomposed_bias(self, q: Tensor, size: Shape, layer: LayerConfig) -> Tensor:
        """As for eager attention, with the heads apart: (B, h, HW, HW)."""
        (N, tokens, _), h = q.shape, layer.stage.num_heads
        return self._bias(q, size, layer, N // h, h, tokens, tokens)

    def _bias(self, q: Tensor, size: Shape, layer: LayerConfig, *shape: Dim) -> Tensor:
        """The sum of both terms of queries (N, HW, d), in `shape`; einsum's order of dimensions makes that a copy."""
        tape, (N, _, d), (H, W) = self.tape, q.shape, size
        Rh, Rw = reference.both_relative_positions(self, size, layer.rel_pos_size, d)
        rel_h, rel_w = decomposed_terms(tape, q.view(N, H, W, d), Rh, Rw)
        summed = tape.add("sum_rel", rel_h.view(N, H, W, H, 1), rel_w.view(N, H, W, 1, W))
        tape.free(Rh, Rw, rel_h, rel_w)
        bias = tape.reshape("copy_rel", summed, *shape)
        tape.free(summed, keep=bias)
        return bias


def sam_neck(tape: Tape, x: Tensor, part: PartConfig) -> Tensor:
    """SAM's neck with torch's own LayerNorm over the channels, last for it: (B, H, W, C) -> (B, out_chans, H, W)."""
    channels = part.config.out_chans
    y = tape.conv2d("0", x.permute(0, 3, 1, 2), channels, 1, bias=False)
    normed = _norm_of_channels(tape, "1", y)
    tape.free(y)
    y = tape.conv2d("2", normed, channels, 3, padding=1, bias=False)
    tape.free(normed)
    out = _norm_of_channels(tape, "3", y)
    tape.free(y)
    return out


def _norm_of_channels(tape: Tape, name: str, x: Tensor) -> Tensor:
    return tape.layer_norm(name, x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


BLOCKS = {"vit": partial(reference.block, code=Code)}
NECKS = {"sam": sam_neck, "sam_hq": partial(reference.sam_hq_neck, neck=sam_neck)}
