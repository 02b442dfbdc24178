"""Swin Transformer on the Tape; the same pass in torch, with its sources, is `samattn_cli/families/swin/stack.py`.

Shapes: B batch, H x W grid, C width, h heads, d = C / h, M = B * windows, N tokens of a window.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

from ...encoder.keys import Size
from ...encoder.placement import Placement
from ...encoder.plan import LayerConfig, PartConfig
from ...records import replace
from ...tape.kernels import attention as attention_kernel
from ...tape.patches import patches_of
from ...tape.storage import Dim
from ...tape.tape import Tape
from ...tape.tensor import Tensor
from ...tape.windows import (
    add_mask,
    crop,
    cut,
    free_unless_shared,
    join,
    of_images,
    padded,
    shift_mask,
    shifted,
    shifted_back,
)
from ...units import INT64_BYTES
from .words import SQUARE, corners, merging_of_neck, norm_stages, square_of, table_window

Attention = Callable[[Tape, Tensor, LayerConfig, Tensor | None], Tensor]
Unbinding = Callable[[Tensor], tuple[Tensor, ...]]
Repeating = Callable[[Tape, Tensor, Dim, Dim], Tensor]
"""Makes the mask of all windows from that of the windows of an image: (tape, mask (windows, N, N), M, h)."""

Attended = tuple[Tensor, tuple[Tensor, ...], tuple[Tensor, ...]]
"""Attended tokens, then what the block holds until it has added them, then what it holds until its end."""


class Code:
    """The steps of the block that implementations write differently, as Microsoft's code writes them."""

    def __init__(self, tape: Tape, layer: LayerConfig) -> None:
        self.tape = tape
        self.layer = layer

    def padded(self, x: Tensor) -> Tensor:
        """Whole windows of (B, H, W, C); here `x` itself if it has them."""
        return padded(self.tape, x, self.layer.windows)

    def attend(self, whole: Tensor, kernel: str) -> Attended:
        """Attention over windows that may be shifted: (B, H', W', C), with padding, -> (B, H, W, C)."""
        tape, layer = self.tape, self.layer
        y, kept = attend(tape, whole, layer, ATTENTION[kernel])
        free_unless_shared(tape, whole, kept)
        y = cropped(tape, y, layer, kept)
        return y, (y,), kept

    def for_mlp(self, x: Tensor) -> Tensor:
        """The tokens (B, H, W, C) as the second half of the block takes them: here as they are."""
        return x


def block(
    tape: Tape, x: Tensor, layer: LayerConfig, kernel: str = "eager", *, steps: Code | None = None
) -> Tensor:
    """Norm, attention, shortcut; norm, MLP, shortcut: (B, H, W, C) -> (B, H, W, C)."""
    steps, shortcut = steps or Code(tape, layer), x
    normed = tape.layer_norm("norm1", x)
    whole = steps.padded(normed)
    tape.free(normed, keep=whole)
    y, until_added, kept = steps.attend(whole, kernel)
    x = steps.for_mlp(tape.add("add_attn", shortcut, y))
    for each in until_added:
        free_unless_shared(tape, each, kept)
    normed = tape.layer_norm("norm2", x)
    y = mlp(tape, normed, layer)
    tape.free(normed)
    out = tape.add("add_mlp", x, y)
    tape.free(x, y, *kept)
    return out if out.shape == shortcut.shape else out.view(*shortcut.shape)


def attend(
    tape: Tape, x: Tensor, layer: LayerConfig, attention: Attention
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """(B, H, W, C), of whole windows, -> the same, and the tensors that Microsoft's forward keeps until its end."""
    mask = shift_mask(tape, layer)
    rolled = shifted(tape, x) if layer.is_shifted else x
    windows = cut(tape, rolled, layer.windows)
    windows = windows.view(windows.shape[0], prod(layer.windows.size), x.shape[-1])
    with tape.module("attn"):
        attended = attention(tape, windows, layer, mask)
    joined = join(tape, attended, layer.windows)
    if rolled is not x:
        free_unless_shared(tape, rolled, (windows,))
    y = shifted_back(tape, joined) if layer.is_shifted else joined
    return y, (windows, attended, joined)


def cropped(tape: Tape, y: Tensor, layer: LayerConfig, kept: tuple[Tensor, ...]) -> Tensor:
    """Without the padding."""
    out = crop(tape, y, layer.grid)
    if out.storage is not y.storage:
        free_unless_shared(tape, y, kept)
    return out


def eager(
    tape: Tape,
    x: Tensor,
    layer: LayerConfig,
    mask: Tensor | None,
    *,
    unbind: Unbinding | None = None,
    holds_bias: bool = True,
    index: Tensor | None = None,
) -> Tensor:
    """Attention that makes the score matrix: (M, N, C) -> (M, N, C).

    Args:
        tape: records it.
        x: the tokens of windows.
        layer: the layer.
        mask: that of shifted windows.
        unbind: takes queries, keys and values from their packed projection; by default as Microsoft's code.
        holds_bias: whether a name holds the bias until the end, as in Microsoft's code.
        index: the row of the table for each query and key; by default a buffer of the layer.
    """
    qkv = tape.linear("qkv", x, 3 * x.shape[-1], bias=layer.stage.qkv_bias)
    q, k, v = (unbind or each_of)(split(qkv, layer))
    scaled = tape.scale("scale", q)
    scores = tape.scores(scaled, k)  # (M, h, N, N)
    bias = relative_bias(tape, layer, index)
    y, probabilities = weighed(tape, scores, bias, mask, v, holds_bias=holds_bias)
    out = tape.linear("proj", y, x.shape[-1])
    tape.free(y, scaled, qkv, probabilities, *((bias,) if holds_bias else ()))
    return out


def split(qkv: Tensor, layer: LayerConfig) -> Tensor:
    """Queries, keys and values, a view of the packed projection: (M, N, 3C) -> (3, M, h, N, d)."""
    (M, N, _), heads = qkv.shape, layer.stage.num_heads
    # (M, N, 3C) -> (M, N, 3, h, d) -> (3, M, h, N, d)
    return qkv.view(M, N, 3, heads, layer.stage.embed_dim // heads).permute(2, 0, 3, 1, 4)


def each_of(packed: Tensor) -> tuple[Tensor, ...]:
    """Queries, keys and values, each by a select of its own, as in Microsoft's code: backward has three whole gradients."""
    return tuple(packed.select(0) for _ in range(3))


def weighed(
    tape: Tape, scores: Tensor, bias: Tensor, mask: Tensor | None, v: Tensor, *, holds_bias: bool = True
) -> tuple[Tensor, Tensor]:
    """Values (M, N, C) weighted by softmax of scores (M, h, N, N), bias (h, N, N) and mask; and the probabilities."""
    biased = tape.add("add_bias", scores, bias.unsqueeze(0))
    tape.free(scores, *(() if holds_bias else (bias,)))
    if mask is not None:
        masked = add_mask(tape, biased, mask)
        tape.free(biased)
        biased = masked
    probabilities = tape.softmax("softmax", biased)
    tape.free(biased)
    values = tape.matmul("values", probabilities, v)
    M, h, N, d = values.shape
    y = tape.reshape("merge_heads", values.transpose(1, 2), M, N, h * d)
    tape.free(values, keep=y)
    return y, probabilities


def relative_bias(tape: Tape, layer: LayerConfig, index: Tensor | None = None) -> Tensor:
    """The bias of the scores of a window: (h, N, N)."""
    size, N = table_window(layer), prod(layer.windows.size)
    if index is None:
        index = tape.buffer(prod(size), prod(size), item_bytes=INT64_BYTES)
    if size != layer.windows.size:
        index = index.narrow((N, N))
    return bias_of(tape, prod(2 * side - 1 for side in size), index, layer.stage.num_heads)


def bias_of(tape: Tape, entries: Dim, index: Tensor, heads: Dim) -> Tensor:
    """The bias of scores, from a table of `entries` rows: an index (N, M) -> (h, N, M)."""
    table = tape.parameter("relative_position_bias_table", entries, heads)
    N, M = index.shape
    flat = tape.reshape("rel_pos_index", index, N * M)  # a copy of an index that is cut
    rows = tape.gather("rel_pos", table, (flat,), N * M, heads)
    free_unless_shared(tape, flat, (index,))
    bias = tape.contiguous("rel_pos_bias", rows.view(N, M, heads).permute(2, 0, 1))
    tape.free(rows, keep=bias)
    return bias


def for_all_heads(tape: Tape, mask: Tensor, M: Dim, _: Dim) -> Tensor:
    """One mask for all heads: (M, 1, N, N)."""
    return of_images(tape, mask, M)


def sdpa(
    tape: Tape, x: Tensor, layer: LayerConfig, mask: Tensor | None, *, repeat: Repeating = for_all_heads
) -> Tensor:
    """Torch's scaled_dot_product_attention; its mask is bias plus mask: (M, N, C) -> (M, N, C)."""
    M, N, C = x.shape
    qkv = tape.linear("qkv", x, 3 * C, bias=layer.stage.qkv_bias)
    q, k, v = split(qkv, layer).unbind()
    whole = bias = relative_bias(tape, layer).unsqueeze(0)
    if mask is not None:
        repeated = repeat(tape, mask, M, layer.stage.num_heads)
        whole = tape.add("add_mask", bias, repeated)
        tape.free(bias)
        free_unless_shared(tape, repeated, (mask,))
    values = attention_kernel(tape, "sdpa", q, k, v, whole)
    y = tape.reshape("merge_heads", values.transpose(1, 2), M, N, C)
    out = tape.linear("proj", y, C)
    tape.free(y, values, whole, qkv)
    return out


def mlp(tape: Tape, x: Tensor, layer: LayerConfig) -> Tensor:
    """Linear, GELU, linear: (..., C) -> (..., C)."""
    with tape.module("mlp"):
        hidden = tape.linear("fc1", x, layer.stage.mlp_dim)
        active = tape.gelu("act", hidden)
        tape.free(hidden)
        out = tape.linear("fc2", active, x.shape[-1])
    tape.free(active)
    return out


def patch_embed(tape: Tape, image: Tensor, part: PartConfig) -> Tensor:
    """Non-overlapping patches to vectors, and their norm: (B, in_chans, height, width) -> (B, H, W, C)."""
    patches = patches_of(tape, image, part)
    out = tape.layer_norm("norm", patches)
    tape.free(patches)
    return out


def patch_merging(tape: Tape, x: Tensor, part: PartConfig, *, holds_padded: bool = True) -> Tensor:
    """Each 2x2 tokens in one, norm, then a linear layer: (B, H, W, C) -> (B, H / 2, W / 2, C').

    Args:
        tape: records it.
        x: the tokens that enter.
        part: its config.
        holds_padded: whether a padded copy of `x` lives until the end, as in Microsoft's code.
    """
    square = square_of(part)
    whole = padded(tape, x, Placement(square).over(x.shape[1:-1]))
    tape.registers("reduction", "norm")
    together = merged(tape, whole, square)
    if not holds_padded:
        free_unless_shared(tape, whole, (x,))
    normed = tape.layer_norm("norm", together)
    tape.free(together)
    out = tape.linear("reduction", normed, part.leaving.dim, bias=False)
    tape.free(normed)
    if holds_padded:
        free_unless_shared(tape, whole, (x,))
    return out


def merged(tape: Tape, x: Tensor, square: Size = SQUARE) -> Tensor:
    """Each 2x2 tokens side by side: (B, H, W, C) -> (B, H / 2, W / 2, 4C); of a cube 2x2x2 tokens, 8C."""
    axes = [axis for axis, side in enumerate(square, start=1) if side > 1]
    return tape.cat("merge", [_corner(x, axes, corner) for corner in corners(len(axes))])


def _corner(x: Tensor, axes: Sequence[int], corner: Sequence[int]) -> Tensor:
    """Every other token along some axes, from a place on."""
    for axis, at in zip(axes, corner, strict=True):
        x = x.slice(axis, at, step=2)
    return x


def stage_norms(tape: Tape, x: Tensor, part: PartConfig, *ends: Tensor) -> tuple[Tensor, ...]:
    """The outputs of stages, (B, H, W, C) each -> the same, normed, (B, C, H, W), the finest first."""
    stages = norm_stages(part.config)
    return tuple(normed_map(tape, stage, each) for stage, each in zip(stages, (*ends, x), strict=True))


def swin_backbone(tape: Tape, x: Tensor, part: PartConfig, *ends: Tensor) -> tuple[Tensor, ...]:
    """The same, after a norm of `x` whose output is dropped: it has no backward, and its weights never have a gradient."""
    with tape.weights(train=False):
        tape.free(tape.layer_norm("layernorm", replace(x, grad_fn=None)))
    return stage_norms(tape, x, part, *ends)


def swin_unetr(tape: Tape, x: Tensor, part: PartConfig, *maps: Tensor) -> tuple[Tensor, ...]:
    """A merging after the last stage, then a norm without weights for each map: (B, D, H, W, C) -> (B, C, D, H, W)."""
    with tape.module("downsample"):
        last = patch_merging(tape, x, merging_of_neck(part))
    normed = [tape.layer_norm_without_weights(f"norm.{at}", each) for at, each in enumerate((*maps, last))]
    tape.free(last)
    dims = len(x.shape)
    return tuple(each.permute(0, dims - 1, *range(1, dims - 1)) for each in normed)


def normed_map(tape: Tape, stage: int, x: Tensor) -> Tensor:
    """(B, H, W, C) -> (B, C, H, W)."""
    normed = tape.layer_norm(f"norms.{stage}", x)
    last = len(x.shape) - 1
    out = tape.contiguous(f"permute.{stage}", normed.permute(0, last, *range(1, last)))
    tape.free(normed, keep=out)
    return out


ATTENTION: dict[str, Attention] = {"eager": eager, "sdpa": sdpa}
BLOCKS = {"swin": block}
PATCH_EMBEDS = {"patch_norm": patch_embed}
TRANSITIONS = {"patch_merging": patch_merging, "patch_merging_3d": patch_merging}
NECKS = {"stage_norms": stage_norms, "swin_backbone": swin_backbone, "swin_unetr": swin_unetr}
