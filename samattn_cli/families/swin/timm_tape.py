"""What timm writes differently in Swin's encoder; the rest is `tape.py`.

Source: timm 1.0.31, models/swin_transformer.py: WindowAttention, SwinTransformerBlock, PatchMerging. Shapes: B batch, H x W
grid, C width, h heads, M = B * windows, N tokens of a window.
"""

from __future__ import annotations

from functools import partial
from math import prod

from ...encoder.placement import Placement
from ...encoder.plan import LayerConfig, PartConfig
from ...tape.storage import Dim
from ...tape.tape import Tape
from ...tape.tensor import Tensor
from ...tape.windows import crop, cut, free_unless_shared, join, shift_mask, shifted, shifted_back
from . import tape as reference
from .words import SQUARE


def for_each_head(tape: Tape, mask: Tensor, M: Dim, h: Dim) -> Tensor:
    """The mask of each window, repeated for all images and heads: (M, h, N, N)."""
    windows, N, _ = mask.shape
    repeated = mask.view(1, windows, 1, N, N).expand_to(M // windows, windows, h, N, N)
    return tape.reshape("repeat_mask", repeated, M, h, N, N)


ATTENTION: dict[str, reference.Attention] = {
    "eager": partial(reference.eager, unbind=Tensor.unbind, holds_bias=False),
    "sdpa": partial(reference.sdpa, repeat=for_each_head),
}


class Code(reference.Code):
    """The steps of a block as in timm: shifted, then padded by a copy; cropped, then shifted back."""

    def padded(self, x: Tensor) -> Tensor:
        """`x` itself: the attention pads it."""
        return x

    def attend(self, whole: Tensor, kernel: str) -> reference.Attended:
        """It frees its input, the result of a norm."""
        out = attend(self.tape, whole, self.layer, ATTENTION[kernel])
        self.tape.free(whole)
        return out, (out,), ()

    def for_mlp(self, x: Tensor) -> Tensor:
        """(B, HW, C)."""
        return as_sequence(x)


def as_sequence(x: Tensor) -> Tensor:
    """(B, H, W, C) -> (B, HW, C)."""
    B, H, W, C = x.shape
    return x.view(B, H * W, C)


def attend(tape: Tape, x: Tensor, layer: LayerConfig, attention: reference.Attention) -> Tensor:
    """Attention over windows that may be shifted: (B, H, W, C) -> the same.

    The method holds the windows until it returns, and the padded copy until windows are joined.
    """
    copy = padded_copy(tape, x, layer)
    windows = cut(tape, copy, layer.windows)
    rows = windows.view(windows.shape[0], prod(layer.windows.size), x.shape[-1])
    with tape.module("attn"):
        attended = attention(tape, rows, layer, shift_mask(tape, layer))
    joined = join(tape, attended, layer.windows)
    free_unless_shared(tape, copy, (windows,))
    y = crop(tape, joined, layer.grid)
    free_unless_shared(tape, joined, (attended, y))
    out = shifted_back(tape, y) if layer.is_shifted else y
    tape.free(windows)
    free_unless_shared(tape, attended, (out, y))
    free_unless_shared(tape, y, (out,))
    return out


def padded_copy(tape: Tape, x: Tensor, layer: LayerConfig) -> Tensor:
    """The grid (B, H, W, C), shifted if the layer is, then padded by a copy."""
    B, *_, C = x.shape
    rolled = shifted(tape, x) if layer.is_shifted else x
    copy = tape.pad("pad", rolled, B, *layer.windows.covered, C)
    if rolled is not x:
        tape.free(rolled)
    return copy


def block(tape: Tape, x: Tensor, layer: LayerConfig, kernel: str) -> Tensor:
    """Swin's block: (B, H, W, C) -> (B, H, W, C)."""
    return reference.block(tape, x, layer, kernel, steps=Code(tape, layer))


def patch_merging(tape: Tape, x: Tensor, part: PartConfig) -> Tensor:
    """2x2 tokens in one, by one copy of a padded copy: (B, H, W, C) -> (B, H / 2, W / 2, C')."""
    together = merged(tape, x)
    normed = tape.layer_norm("norm", together)
    tape.free(together)
    out = tape.linear("reduction", normed, part.leaving.dim, bias=False)
    tape.free(normed)
    return out


def merged(tape: Tape, x: Tensor) -> Tensor:
    """(B, H, W, C) -> (B, H / 2, W / 2, 4C)."""
    (B, _, _, C), (H, W) = x.shape, Placement(SQUARE).over(x.shape[1:3]).covered
    whole = tape.pad("pad", x, B, H, W, C)
    # (B, H / 2, 2, W / 2, 2, C) -> (B, H / 2, W / 2, 2 columns, 2 rows, C)
    squares = whole.view(B, H // 2, 2, W // 2, 2, C).permute(0, 1, 3, 4, 2, 5)
    together = tape.reshape("merge", squares, B, H // 2, W // 2, 4 * C)
    tape.free(whole, keep=together)
    return together


BLOCKS = {"swin": block}
TRANSITIONS = {"patch_merging": patch_merging}
