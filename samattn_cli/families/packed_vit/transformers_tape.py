"""What transformers has otherwise in MiniCPM-V 4.6's and Muse Glimmer's vision encoders, whose code `tape.py` follows.

Source: transformers 5.23.0, models/minicpmv4_6/modeling_minicpmv4_6.py and models/muse_glimmer/modeling_muse_glimmer.py. Shapes:
T tokens of all images, C width.
"""

from __future__ import annotations

from math import prod

from ...encoder.model import StageConfig
from ...encoder.plan import LayerConfig, PartConfig
from ...tape.rotary import WIDE
from ...tape.tape import Tape
from ...tape.tensor import Tensor
from ...units import INT64_BYTES
from ..plain.mlps_tape import MLPS
from ..qwen2_5_vl import tape as qwen
from ..qwen2_5_vl.transformers_tape import rotations
from . import tape as reference
from .tape import INT32_BYTES
from .words import MERGER, MINICPM, MUSE, SHUFFLE, TAPS


def patches_in_a_row(tape: Tape, patches: Tensor, part: PartConfig) -> Tensor:
    """Patches next to each other to vectors: (1, in_chans, p, T * p) -> (1, T, C)."""
    return reference.patches_in_a_row(tape, patches, part, batch=True)


def minicpm(tape: Tape, x: Tensor, ends: Tensor, layer: LayerConfig, kernel: str) -> Tensor:
    """A block that computes lengths of images from their ends: (1, T, C) -> (1, T, C)."""
    stage = layer.stage
    lengths = qwen.lengths_of(layer) * (x.shape[-2] // prod(layer.grid))

    def attend(normed: Tensor) -> Tensor:
        return by_ends(tape, normed, stage, lengths, kernel, ends)

    tape.registers("norm1", "attn", "norm2", "mlp")
    return qwen.pre_norm(tape, x, stage, attend, Tape.layer_norm, MLPS[stage.mlp])


def by_ends(
    tape: Tape, x: Tensor, stage: StageConfig, lengths: tuple[int, ...], kernel: str, ends: Tensor
) -> Tensor:
    """Attention of sequences, whose lengths are computed from their ends on the device: (1, T, C) -> (1, T, C)."""
    tape.registers("k_proj", "v_proj", "q_proj", "proj")
    qkv = reference.projected(tape, x, stage, ())
    on_device = tape.computed("lengths", ends.shape[0] - 1, item_bytes=INT32_BYTES, reads=(ends,))
    heads = reference.heads_first(*qkv)
    out = qwen.one_by_one(tape, heads, lengths, kernel, stage, x.shape)
    tape.free(*qkv, on_device)
    return out


def nearest_positions(tape: Tape, x: Tensor, part: PartConfig) -> tuple[Tensor, Tensor]:
    """Adds the nearest learned vectors, by lookup: (1, T, C) -> (1, T, C), and the ends of images."""
    out = reference.with_nearest(tape, x, part, tape.integers("position_ids", x.shape[-2]))
    tape.let_go()
    return out, ends_of(tape, part.config.run.batch_size)


def ends_of(tape: Tape, images: int) -> Tensor:
    """The sums of tokens of images, copied to the device, with a 0 in front: (images + 1) in int32."""
    sums = tape.computed("sums", images, item_bytes=INT32_BYTES)
    ends = tape.computed("ends", images + 1, item_bytes=INT32_BYTES, reads=(sums,))
    tape.free(sums)
    return ends


def window_merger(tape: Tape, x: Tensor, part: PartConfig, _ends: Tensor) -> Tensor:
    """The merger, then ends of the smaller images, which take as much as those that they replace: (1, T, C) -> (1, T / 4, C)."""

    def attend(normed: Tensor, stage: StageConfig, lengths: tuple[int, ...], kernel: str) -> Tensor:
        ends = tape.computed("cu_seqlens", len(lengths) + 1, item_bytes=INT32_BYTES)
        out = by_ends(tape, normed, stage, lengths, kernel, ends)
        tape.free(ends)
        return out

    tape.registers("attn", "norm1", "pre_norm", "linear_1", "linear_2")
    out = reference.merge(tape, x, part, attend)
    tape.let_go_of(x)
    tape.free(ends_of(tape, part.config.run.batch_size))
    return out


def muse(
    tape: Tape,
    x: Tensor,
    cos: Tensor,
    sin: Tensor,
    _in: Tensor,
    _ids: Tensor,
    layer: LayerConfig,
    kernel: str,
) -> Tensor:
    """A block: (T, C) with positions (T, d) -> (T, C)."""
    return reference.muse(tape, x, cos, sin, cos, layer, kernel)


def ordered_positions(tape: Tape, x: Tensor, part: PartConfig) -> tuple[Tensor, ...]:
    """(T, C) -> the tokens in order, cosines and sines (T, d), and what the model has names for: what entered the norm, positions."""
    T, C = x.shape
    taps, shares = tape.buffer(T, TAPS, item_bytes=INT64_BYTES), tape.buffer(T, TAPS, item_bytes=WIDE)
    places = tape.buffer(T, 2, item_bytes=INT64_BYTES)
    placed = reference.interpolated(tape, x, part, taps, shares)
    normed = tape.layer_norm("ln_pre", placed)
    tokens = tape.rows("tokens_in_order", normed, (tape.on_host(T),), T, C)
    tape.free(normed)
    flipped = tape.integers("flip", T, 2, reads=(places,))
    from_one = tape.integers("from_one", T, 2, reads=(flipped,))
    tape.free(flipped)
    ids = tape.integers("position_ids", T, 2, reads=(from_one,))
    tape.free(from_one)
    stage = part.config.stages[0]
    cos, sin = rotations(tape, ids, C // stage.num_heads, tokens.item_bytes)
    return tokens, cos, sin, placed, ids


def pixel_shuffle(tape: Tape, x: Tensor, _part: PartConfig, *_taps: Tensor) -> Tensor:
    """The order of the image by an index on the host, a norm, 2x2 tokens next to each other: (T, C) -> (T / 4, 4 * C)."""
    restored = tape.rows("reverse", x, (tape.on_host(x.shape[0]),), *x.shape)
    tape.let_go_of(x)
    return reference.shuffled(tape, restored)


PATCH_EMBEDS = {MINICPM: patches_in_a_row}
BLOCKS = {MINICPM: minicpm, MUSE: muse}
POS_EMBEDS = {MINICPM: nearest_positions, MUSE: ordered_positions}
TRANSITIONS = {MERGER: window_merger}
NECKS = {SHUFFLE: pixel_shuffle}
