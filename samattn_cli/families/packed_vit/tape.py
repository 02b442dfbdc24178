"""MiniCPM-V 4.6's and Muse Glimmer's vision encoders on the Tape; the same pass in torch, and its sources, are in `stack.py`.

Shapes: T tokens of all images, C width, h heads, d = C / h.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from ...encoder.model import StageConfig
from ...encoder.plan import LayerConfig, PartConfig
from ...records import replace
from ...tape.rotary import WIDE
from ...tape.tape import Tape
from ...tape.tensor import Tensor
from ..plain.mlps_tape import MLPS
from ..qwen2_5_vl import tape as qwen
from .words import MERGER, MINICPM, MUSE, SHUFFLE, SQUARE, TAPS

INT32_BYTES = 4


def minicpm(tape: Tape, x: Tensor, _ends: Tensor, layer: LayerConfig, kernel: str = "eager") -> Tensor:
    """Pre-norm block over each image: (T, C) -> (T, C)."""
    return block(tape, x, layer, kernel, ())


def muse(
    tape: Tape, x: Tensor, cos: Tensor, sin: Tensor, _order: Tensor, layer: LayerConfig, kernel: str = "eager"
) -> Tensor:
    """Pre-norm block over windows, or each image, with rotary positions (T, d) each: (T, C) -> (T, C)."""
    return block(tape, x, layer, kernel, (cos, sin))


def block(tape: Tape, x: Tensor, layer: LayerConfig, kernel: str, angles: tuple[Tensor, ...]) -> Tensor:
    """Pre-norm block: (T, C) -> (T, C)."""
    stage = layer.stage
    lengths = qwen.lengths_of(layer) * (x.shape[0] // prod(layer.grid))

    def attend(normed: Tensor) -> Tensor:
        return attention(tape, normed, stage, lengths, kernel, angles)

    return qwen.pre_norm(tape, x, stage, attend, Tape.layer_norm, MLPS[stage.mlp])


def attention(
    tape: Tape,
    x: Tensor,
    stage: StageConfig,
    lengths: tuple[int, ...],
    kernel: str,
    angles: tuple[Tensor, ...] = (),
) -> Tensor:
    """Attention with a projection for each of queries, keys and values: (T, C) -> (T, C)."""
    q, k, v = projected(tape, x, stage, angles)
    heads = heads_first(q, k, v)
    out = qwen.one_by_one(tape, heads, lengths, kernel, stage, x.shape)
    tape.free(q, k, v)
    return out


def heads_first(*qkv: Tensor) -> tuple[Tensor, ...]:
    """Queries, keys and values (T, h, d), or (1, T, h, d), as (1, h, T, d); no copy."""
    is_batch = len(qkv[0].shape) == len("1Thd")
    return tuple(each.transpose(1, 2) if is_batch else each.transpose(0, 1).unsqueeze(0) for each in qkv)


def projected(tape: Tape, x: Tensor, stage: StageConfig, angles: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Queries and keys, rotated if there are angles, and values: (..., T, C) -> (..., T, h, d) each."""
    (*lead, C), h = x.shape, stage.num_heads
    q, k, v = (
        tape.linear(name, x, C, bias=stage.qkv_bias).view(*lead, h, C // h)
        for name in ("q_proj", "k_proj", "v_proj")
    )
    if not angles:
        return q, k, v
    cos, sin = angles
    rotated = qwen.turned(tape, (q, k), cos, sin)
    tape.free(q, k)
    return *rotated, v


def patches_in_a_row(tape: Tape, patches: Tensor, part: PartConfig, *, batch: bool = False) -> Tensor:
    """Patches next to each other to vectors, transposed in memory: (1, in_chans, p, T * p) -> (T, C), or (1, T, C)."""
    patch, C = part.config.patch_size, part.leaving.dim
    T = patches.shape[3] // patch
    out = tape.conv2d("proj", patches, C, patch, stride=patch)
    return out.view(1, C, T).transpose(1, 2) if batch else out.view(C, T).transpose(0, 1)


def flat_patches(tape: Tape, patches: Tensor, part: PartConfig) -> Tensor:
    """Flattened patches of two frames to vectors: (T, in_chans * 2 * p * p) -> (T, C)."""
    return tape.linear("proj", patches, part.leaving.dim, bias=False)


def nearest_positions(tape: Tape, x: Tensor, part: PartConfig) -> tuple[Tensor, Tensor]:
    """Adds the nearest learned vectors, by lookup: (T, C) -> (T, C), and the ends of images."""
    index = tape.integers("position_ids", x.shape[0])
    out = with_nearest(tape, x, part, index)
    return out, tape.computed("ends", part.config.run.batch_size + 1, item_bytes=INT32_BYTES)


def with_nearest(tape: Tape, x: Tensor, part: PartConfig, index: Tensor) -> Tensor:
    """(..., T, C) plus the learned vectors at an index (T), which is freed."""
    T, C = x.shape[-2:]
    with tape.module("position_embedding"):
        positions = tape.gather(
            "", tape.parameter("weight", prod(part.config.pretrain_grid), C), (index,), T, C
        )
    out = tape.add("add", x, positions.view(*x.shape))
    tape.free(positions, index)
    return out


def ordered_positions(tape: Tape, x: Tensor, part: PartConfig) -> tuple[Tensor, ...]:
    """(T, C) -> the tokens in the order of windows, cosines and sines (T, d), and the order (T)."""
    T, C = x.shape
    stage = part.config.stages[0]
    taps = tape.integers("taps", T, TAPS)
    shares = tape.computed("shares", T, TAPS, item_bytes=WIDE)
    placed = interpolated(tape, x, part, taps, shares)
    tape.free(taps, shares)
    normed = tape.layer_norm("ln_pre", placed)
    tape.free(placed)
    places = tape.integers("position_ids", T, 2)
    order = tape.integers("window_index", T)
    tokens = tape.rows("tokens_in_order", normed, (order,), T, C)
    tape.free(normed)
    wide = qwen.rotations_of(tape, places, C // stage.num_heads)
    cos, sin = (
        tape.cast(name, each, tokens.item_bytes) for name, each in zip(("cos", "sin"), wide, strict=True)
    )
    tape.free(*(each for each, low in zip(wide, (cos, sin), strict=True) if each is not low))
    tape.free(places)
    return tokens, cos, sin, order


def interpolated(tape: Tape, x: Tensor, part: PartConfig, taps: Tensor, shares: Tensor) -> Tensor:
    """(T, C) plus sums of learned vectors at taps (T, 4) by their shares; it lets go of `x`."""
    T, C = x.shape
    with tape.module("position_embedding"):
        weight = tape.parameter("weight", prod(part.config.pretrain_grid), C)
        vectors = tape.gather("", weight, (taps,), T, TAPS, C)
    shared = tape.mul("shares", vectors, shares.unsqueeze(2))
    tape.free(vectors)
    positions = tape.sum("sum", shared, 1).view(T, C)
    tape.free(shared)
    low = tape.cast("cast", positions, x.item_bytes)
    out = tape.add("add", x, low)
    tape.let_go()
    tape.free(low)
    tape.free(positions, keep=low)
    return out


def window_merger(tape: Tape, x: Tensor, part: PartConfig, _ends: Tensor) -> Tensor:
    """Attention in windows of 2x2 tokens, then an MLP from each to one token: (T, C) -> (T / 4, C)."""

    def attend(normed: Tensor, stage: StageConfig, lengths: tuple[int, ...], kernel: str) -> Tensor:
        return attention(tape, normed, stage, lengths, kernel)

    return merge(tape, x, part, attend)


Attend = Callable[[Tensor, StageConfig, tuple[int, ...], str], Tensor]
"""Attention of tokens (T, C) in sequences of so many tokens."""


def merge(tape: Tape, x: Tensor, part: PartConfig, attend: Attend) -> Tensor:
    """The merger: (T, C) -> (T / 4, C)."""
    T, stage, kernel = x.shape[-2], stage_before(part), part.config.run.attention
    normed = tape.layer_norm("norm1", x)
    order = tape.integers("window_index", T)
    ordered = tape.rows("normed_in_order", normed, (order,), *x.shape)
    tape.free(normed)
    with tape.module("attn"):
        attended = attend(ordered, with_bias(stage), (SQUARE,) * (T // SQUARE), kernel)
    tape.free(ordered)
    shortcut = tape.rows("shortcut_in_order", x, (order,), *x.shape)
    joined = tape.add("add_attn", shortcut, attended)
    tape.free(shortcut, attended)
    out = merged_mlp(tape, joined, stage)
    tape.free(joined, order)
    return out


def merged_mlp(tape: Tape, x: Tensor, stage: StageConfig) -> Tensor:
    """Squares of tokens to one token each, plus their mean: (..., T, C) -> (..., T / 4, C)."""
    *lead, T, C = x.shape
    squares = x.view(T // SQUARE, SQUARE, C)
    flat = squares.view(T // SQUARE, SQUARE * C)
    mean = tape.mean("mean", squares, 1)
    normed = tape.layer_norm("pre_norm", flat)
    hidden = tape.linear("linear_1", normed, SQUARE * stage.mlp_dim)
    tape.free(normed)
    active = tape.gelu("act", hidden, tanh=True)
    tape.free(hidden)
    y = tape.linear("linear_2", active, C)
    tape.free(active)
    out = tape.add("add_mlp", y, mean.view(T // SQUARE, C))
    tape.free(y, mean)
    return out.unsqueeze(0) if lead else out


def stage_before(part: PartConfig) -> StageConfig:
    """The stage before a transition."""
    return part.config.stages[int(part.name.rpartition(".")[2]) - 1]


def with_bias(stage: StageConfig) -> StageConfig:
    """The stage with biases of queries, keys and values, which the merger always has."""
    return replace(stage, qkv_bias=True)


def pixel_shuffle(
    tape: Tape, x: Tensor, _part: PartConfig, _cos: Tensor, _sin: Tensor, order: Tensor
) -> Tensor:
    """The order of the image, a norm, 2x2 tokens next to each other: (T, C) -> (T / 4, 4 * C)."""
    back = tape.argsort("argsort", order)
    restored = tape.rows("reverse", x, (back,), *x.shape)
    tape.let_go_of(x)
    out = shuffled(tape, restored)
    tape.free(back)
    return out


def shuffled(tape: Tape, x: Tensor) -> Tensor:
    """A norm, and 2x2 tokens next to each other: (T, C) -> (T / 4, 4 * C); `x` is freed."""
    T, C = x.shape
    normed = tape.layer_norm("ln_post", x)
    tape.free(x)
    index = tape.integers("shuffle_index", T)
    squares = tape.rows("squares", normed, (index,), T, C)
    tape.free(index)
    out = tape.reshape(
        "shuffle", squares.view(T // SQUARE, SQUARE, C).permute(0, 2, 1), T // SQUARE, SQUARE * C
    )
    tape.free(squares, normed)
    return out


BLOCKS = {MINICPM: minicpm, MUSE: muse}
PATCH_EMBEDS = {MINICPM: patches_in_a_row, MUSE: flat_patches}
POS_EMBEDS = {MINICPM: nearest_positions, MUSE: ordered_positions}
TRANSITIONS = {MERGER: window_merger}
NECKS = {SHUFFLE: pixel_shuffle}
