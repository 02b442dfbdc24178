"""What transformers writes differently in Swin's encoder; the rest is `tape.py`.

Source: transformers 5.23.0, models/swin/modeling_swin.py: SwinAttention, SwinLayer, SwinPatchMerging, SwinStage. Shapes: B
batch, H x W grid, C width, h heads, M = B * windows, N tokens of a window.
"""

from __future__ import annotations

from functools import partial
from math import prod

from ...encoder.plan import LayerConfig, PartConfig
from ...encoder.registry import NONE
from ...records import replace
from ...tape.storage import Dim, Shape
from ...tape.tape import Tape
from ...tape.tensor import Tensor
from ...tape.windows import crop, cut, free_unless_shared, join, of_images, shifted, shifted_back
from ..plain.transformers_tape import attention
from . import tape as reference
from .words import ENDING, is_backbone, norm_stages

BOOL_BYTES = 1


class Code(reference.Code):
    """The steps of a block as in transformers, which names what it pads, the mask and what the attention returns.

    Attributes:
        shape: of the tokens that enter.
        probabilities: of eager attention, which the block returns.
    """

    shape: Shape = ()
    probabilities: tuple[Tensor, ...] = ()

    def padded(self, x: Tensor) -> Tensor:
        """A copy even where there is nothing to pad: ``F.pad`` by zero copies."""
        self.shape = B, *_, C = x.shape
        return self.tape.pad("pad", x.view(B, *self.layer.grid, C), B, *self.layer.windows.covered, C)

    def attend(self, whole: Tensor, kernel: str) -> reference.Attended:
        """The block holds the padded tokens until it has added the attended ones, and all else until its end."""
        tape, layer = self.tape, self.layer
        windows = self._windows(whole)
        mask = shift_mask(tape, layer) if layer.is_shifted else None
        bias = partial(biases, tape, layer, mask, windows.shape[0])
        with tape.module("attn"):
            attended, *probabilities = attention(tape, windows, layer.stage, kernel, bias)
        self.probabilities = tuple(probabilities)
        y = self._joined(attended).view(*self.shape)
        return y, (whole,), (windows, attended, y, *(() if mask is None else (mask,)))

    def _windows(self, whole: Tensor) -> Tensor:
        """(B, H, W, C) -> (M, N, C)."""
        tape, layer = self.tape, self.layer
        rolled = shifted(tape, whole) if layer.is_shifted else whole
        windows = cut(tape, rolled, layer.windows)
        if rolled is not whole:
            tape.free(rolled, keep=windows)
        return windows.view(windows.shape[0], prod(layer.windows.size), whole.shape[-1])

    def _joined(self, attended: Tensor) -> Tensor:
        """(M, N, C) -> (B, H, W, C), without the padding."""
        tape, layer = self.tape, self.layer
        joined = whole = join(tape, attended, layer.windows)
        if layer.is_shifted:
            whole = shifted_back(tape, joined)
            tape.free(joined, keep=attended)
        y = crop(tape, whole, layer.grid)
        free_unless_shared(tape, whole, (attended, y))
        return y


def biases(tape: Tape, layer: LayerConfig, mask: Tensor | None, M: Dim) -> tuple[Tensor | None, ...]:
    """The bias of relative positions, (1, h, N, N), or its sum with the mask, (M, h, N, N); then what is held for it."""
    bias = reference.relative_bias(tape, layer).unsqueeze(0)
    if mask is None:
        return bias, bias
    repeated = of_images(tape, mask, M)
    summed = tape.add("add_mask", bias, repeated)
    return summed, summed, bias, None if repeated.storage is mask.storage else repeated


def shift_mask(tape: Tape, layer: LayerConfig) -> Tensor:
    """The mask of shifted windows, which each forward of a block makes: (windows, N, N)."""
    H, W = layer.windows.covered
    at = [tape.integers(f"mask.arange_{axis}", side) for axis, side in (("h", H), ("w", W))]
    regions = [_regions(tape, each) for each in at]
    threefold = tape.integers("mask.scale", 1, H, 1, 1, reads=(regions[0],))
    summed = tape.integers("mask.add", 1, H, W, 1, reads=(threefold, regions[1]))
    tape.free(threefold)
    image = tape.computed("mask.cast", 1, H, W, 1, item_bytes=tape.item_bytes, reads=(summed,))
    tape.free(summed)
    cuts = cut(tape, image, layer.windows)
    mask = _differing(tape, cuts.view(cuts.shape[0], prod(layer.windows.size)))
    tape.free(*at, *regions, image, cuts)
    return mask


def _regions(tape: Tape, at: Tensor) -> Tensor:
    """The number of borders before each row or column: two comparisons, added as integers."""
    parts = []
    for border in ("window", "shift"):
        is_after = tape.computed(f"mask.after_{border}", *at.shape, item_bytes=BOOL_BYTES, reads=(at,))
        parts.append(tape.integers(f"mask.{border}", *at.shape, reads=(is_after,)))
        tape.free(is_after)
    out = tape.integers("mask.regions", *at.shape, reads=tuple(parts))
    tape.free(*parts)
    return out


def _differing(tape: Tape, regions: Tensor) -> Tensor:
    """A large negative number where two tokens of a window are of different regions: (windows, N) -> (windows, N, N)."""
    windows, N = regions.shape
    shape = (windows, N, N)
    difference = tape.constant("mask.sub", regions, *shape)
    filled = difference
    for name in ("ne", "eq"):
        where = tape.computed(f"mask.{name}", *shape, item_bytes=BOOL_BYTES, reads=(difference,))
        before, filled = filled, tape.masked_fill(f"mask.fill_{name}", filled, where)
        tape.free(where)
        tape.free(before, keep=difference)
    tape.free(difference)
    return filled


def block(tape: Tape, x: Tensor, layer: LayerConfig, kernel: str) -> tuple[Tensor, ...]:
    """Swin's block, (B, HW, C) -> (B, HW, C); it returns eager probabilities too."""
    tape.registers("attn", "norm1", "norm2", "mlp")
    steps = Code(tape, layer)
    out = reference.block(tape, x, layer, kernel, steps=steps)
    return out, *steps.probabilities


def patch_embed(tape: Tape, image: Tensor, part: PartConfig) -> tuple[Tensor, ...]:
    """Patches as a sequence, and their norm: (B, in_chans, height, width) -> (B, HW, C)."""
    C, patch = part.leaving.dim, part.config.patch_size
    patches = tape.conv2d("proj", image, C, patch, stride=patch)
    B, _, H, W = patches.shape
    out = tape.layer_norm("norm", patches.view(B, C, H * W).transpose(1, 2))
    tape.free(patches)
    return (out,) if part.config.pos_embed != NONE else entering_stages(tape, out, part)


def positions(tape: Tape, x: Tensor, part: PartConfig) -> tuple[Tensor, ...]:
    """Adds a learned vector to each token: (B, HW, C) -> (B, HW, C)."""
    _, N, C = x.shape
    out = tape.add_weight("add", x, tape.parameter("", 1, N, C))
    tape.let_go()
    return entering_stages(tape, out, part)


def entering_stages(tape: Tape, x: Tensor, part: PartConfig) -> tuple[Tensor, ...]:
    """`x`; for a backbone also what it holds to its end: `x`, (B, HW, C), and a copy of it, (B, C, H, W)."""
    return (x, x, channels_first(tape, on_grid(x, part))) if is_backbone(part.config) else (x,)


def on_grid(x: Tensor, part: PartConfig) -> Tensor:
    """(B, HW, C) -> (B, H, W, C), on the grid that enters a part."""
    B, _, C = x.shape
    return x.view(B, *part.entering.grid, C)


def patch_merging(tape: Tape, x: Tensor, part: PartConfig) -> tuple[Tensor, ...]:
    """The merging that ends a stage, (B, HW, C) -> (B, HW / 4, C'), and a copy that the stage returns.

    The copy is of its result; for a backbone, of what enters it. What the next stage holds comes after its input: that input
    again, and the copy.
    """
    merged = reference.patch_merging(tape, on_grid(x, part), part, holds_padded=False)
    copy = channels_first(tape, on_grid(x, part) if is_backbone(part.config) else merged)
    B, H, W, D = merged.shape
    out = merged.view(B, H * W, D)
    return out, out, copy


def channels_first(tape: Tape, x: Tensor) -> Tensor:
    """A copy, (B, H, W, C) -> (B, C, H, W)."""
    return tape.contiguous("reshaped_hidden_states", x.permute(0, 3, 1, 2))


def last_stage(tape: Tape, x: Tensor, part: PartConfig) -> tuple[Tensor, ...]:
    """The end of the last stage, which makes such a copy too: `x`, (B, HW, C); for a backbone, and the copy."""
    copy = channels_first(tape, on_grid(x, part))
    if is_backbone(part.config):
        return x, copy
    tape.free(copy, keep=x)
    return (x,)


def swin_backbone(tape: Tape, x: Tensor, part: PartConfig, *ends: Tensor) -> tuple[Tensor, ...]:
    """SwinModel's norm of `x`, which is held and not read, and the maps: copies of stages -> (B, C, H, W), the finest first.

    `ends` has for each stage what enters the next, and the copy; for the last, the copy alone.
    """
    stages = norm_stages(part.config)
    tape.registers("layernorm", *(f"norms.{stage}" for stage in stages))
    earlier = len(tape.ops)
    with tape.weights(train=False):  # no gradient reaches it
        normed = tape.layer_norm("layernorm", replace(x, grad_fn=None))
    # its statistics, and the copy in float32 that autocast makes of its input
    saved = (
        storage for op in tape.ops[earlier:] for storage in op.allocates if storage is not normed.storage
    )
    tape.holds_graph_of(normed, *saved)
    copies = (*ends[1:-1:2], ends[-1])
    maps = tuple(normed_map(tape, stage, copy) for stage, copy in zip(stages, copies, strict=True))
    tape.free(normed)
    return maps


def normed_map(tape: Tape, stage: int, x: Tensor) -> Tensor:
    """(B, C, H, W), normed as a sequence of tokens, which is a copy, -> another copy, (B, C, H, W)."""
    B, C, H, W = x.shape
    tokens = tape.contiguous(f"tokens.{stage}", x.permute(0, 2, 3, 1))
    normed = tape.layer_norm(f"norms.{stage}", tokens.view(B, H * W, C))
    tape.free(tokens, keep=x)
    out = tape.contiguous(f"maps.{stage}", normed.view(B, H, W, C).permute(0, 3, 1, 2))
    tape.free(normed, keep=out)
    return out


BLOCKS = {"swin": block}
PATCH_EMBEDS = {"patch_norm": patch_embed}
POS_EMBEDS = {"learned": positions}
TRANSITIONS = {"patch_merging": patch_merging}
ENDINGS = {ENDING: last_stage}
NECKS = {"swin_backbone": swin_backbone}
