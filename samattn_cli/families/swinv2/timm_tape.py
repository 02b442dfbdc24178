"""What timm writes differently in Swin V2's encoder; the rest is `tape.py`, and what it writes as in its Swin.

Source: timm 1.0.31, models/swin_transformer_v2.py: WindowAttention, SwinTransformerV2Block, PatchMerging. Shapes: B batch,
H x W grid, C width, h heads, M = B * windows, N tokens of a window.
"""

from __future__ import annotations

from functools import partial

from ...encoder.plan import LayerConfig, PartConfig
from ...tape.tape import Tape
from ...tape.tensor import Tensor
from ..swin.timm_tape import as_sequence, attend, merged
from . import tape as reference


class AttentionCode(reference.AttentionCode):
    """The steps of the attention as in timm."""

    @staticmethod
    def unbind(packed: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values by one operation."""
        return packed.unbind()

    @staticmethod
    def k_bias(tape: Tape, like: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """A buffer."""
        return tape.buffer(like.elements), ()


class Code(reference.Code):
    """The steps of a block as in timm: shifted, then padded by a copy; cropped, then shifted back."""

    def padded(self, x: Tensor) -> Tensor:
        """`x` itself: the attention pads it."""
        return x

    def attend(self, x: Tensor, _whole: Tensor) -> reference.Attended:
        """As in timm's Swin."""
        y = attend(self.tape, x, self.layer, partial(reference.attention, code=AttentionCode))
        return y, (y,), (), ()

    def for_mlp(self, x: Tensor) -> Tensor:
        """(B, HW, C)."""
        return as_sequence(x)


def block(tape: Tape, x: Tensor, layer: LayerConfig, kernel: str) -> Tensor:
    """Swin V2's block: (B, H, W, C) -> (B, H, W, C)."""
    return reference.block(tape, x, layer, kernel, steps=Code(tape, layer))


def patch_merging(tape: Tape, x: Tensor, part: PartConfig) -> Tensor:
    """2x2 tokens in one, by one copy of a padded copy: (B, H, W, C) -> (B, H / 2, W / 2, C')."""
    together = merged(tape, x)
    reduced = tape.linear("reduction", together, part.leaving.dim, bias=False)
    tape.free(together)
    out = tape.layer_norm("norm", reduced)
    tape.free(reduced)
    return out


BLOCKS = {"swinv2": block}
TRANSITIONS = {"patch_merging_v2": patch_merging}
