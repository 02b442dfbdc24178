"""Qwen2.5-VL's vision encoder (arXiv:2502.13923): packed token sequences of any aspect ratio, windows without padding.

Source: transformers, models/qwen2_5_vl. A stream is (tokens, C): the tokens of all images, one image after the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING

from ...encoder.keys import Pair
from ...encoder.layouts import PACKED
from ...encoder.placement_rules import place_of
from ...encoder.slots import (
    Block,
    Family,
    Implementation,
    Part,
    PatchEmbed,
    Problem,
    Stream,
    Wanted,
    cannot_run,
    side_or_sides,
)
from ...errors import Message
from ...records import replace

if TYPE_CHECKING:
    from ...encoder.model import EncoderConfig, StageConfig

WORD = "qwen2_5_vl"
ORDER = "window_order"
MERGER = "patch_merger"

MERGE = 2
"""The side in tokens of the squares that the merger joins; a window holds a whole number of such squares."""

FRAMES = 2
"""Frames of a patch; a still image is used twice."""

ROTARY_STEP = 4
"""The width of a head is a multiple of this: channels rotate in pairs, half of the pairs by row and half by column."""

MOST_WINDOWS = 1 << 12
"""The most windows of a layer over all images: each window runs by itself, as a few operations on the Tape."""


def flattened_patches(config: EncoderConfig) -> tuple[int, ...]:
    """The shape of the input, (tokens of all images, numbers in a patch): the processor cuts images into patches."""
    numbers = config.in_chans * FRAMES * config.patch_size**2
    return config.run.batch_size * prod(config.grid), numbers


def window_of(config: EncoderConfig) -> Pair:
    """The window that tokens are ordered by; the whole grid if no block has a window."""
    return next((layer.windows.size for layer in config.layers if not layer.is_global), config.grid)


def merged(config: EncoderConfig, stream: Stream) -> Stream:
    """The stream with one token for each square of tokens."""
    H, W = stream.grid
    return replace(stream, grid=(H // MERGE, W // MERGE), dim=config.out_chans)


def merger_problems(config: EncoderConfig, _at: int) -> Iterator[Problem]:
    """The merger undoes the order of windows, so something must have made it."""
    yield from _needs_order(config, ("neck",), f"neck {MERGER}")


def _needs_order(config: EncoderConfig, loc: tuple[int | str, ...], name: str) -> Iterator[Problem]:
    if config.pos_embed != ORDER:
        message = f"{name} needs pos_embed {ORDER}, not {config.pos_embed}"
        yield loc, Message("needs-pos-embed", message)


def order_problems(config: EncoderConfig, _at: int) -> Iterator[Problem]:
    """The sides of an image must be whole numbers of squares."""
    problem = not_whole(config, MERGE)
    if problem is not None:
        yield problem
        return
    yield from _many_windows(config)


def not_whole(config: EncoderConfig, patches: int) -> Problem | None:
    """What is wrong with an image whose sides are not whole numbers of so many patches."""
    unit = config.patch_size * patches
    if not any(side % unit for side in config.image_size):
        return None
    below, above = (
        tuple(rounding * (side // (rounding * unit)) * unit for side in config.image_size)
        for rounding in (1, -1)
    )
    near = " or ".join(map(side_or_sides, (below, above) if all(below) else (above,)))
    message = (
        f"image_size {side_or_sides(config.image_size)} is not a multiple of {unit}, {patches} patches of "
        f"{config.patch_size}: use {near}"
    )
    return ("image_size",), Message("not-divisible", message)


def _many_windows(config: EncoderConfig) -> Iterator[Problem]:
    """There is a limit on the windows of a layer, because each runs by itself."""
    images = config.run.batch_size
    each = max(prod(layer.windows.counts) for layer in config.layers)
    if each * images > MOST_WINDOWS:
        where = ("image_size",) if each > MOST_WINDOWS else ("run", "batch_size")
        size = side_or_sides(config.image_size)
        message = (
            f"image_size {size} gives {each * images:,} windows per layer over the batch, and each is run separately: use at "
            f"most {MOST_WINDOWS:,}"
        )
        yield where, Message("too-many-windows", message)


def block_problems(config: EncoderConfig, at: int) -> Iterator[Problem]:
    """The block needs the order of windows, and windows and heads that fit this order and the rotary positions."""
    yield from _needs_order(config, ("stages", at, "block"), f"block {WORD}")
    yield from layer_problems(config, at)


def layer_problems(config: EncoderConfig, at: int, merge: int = MERGE) -> Iterator[Problem]:
    """What is wrong with windows, of whole squares of `merge` tokens a side, and heads.

    Each problem once, at the key of the stage or of the override that the first block concerned has it from.
    """
    window, first = window_of(config), config.stages[0]
    problems: dict[tuple[int | str, ...], Message] = {}
    for layer in (layer for layer in config.layers if layer.stage_index == at):
        if not layer.is_global and (message := _window_problem(layer.windows.size, window, merge)):
            problems.setdefault(place_of(config, layer, "window_size"), message)
        if message := _heads_problem(layer.stage, first):
            problems.setdefault(place_of(config, layer, "num_heads"), message)
        if layer.stage.num_heads % layer.stage.kv_heads:
            message = Message(
                "not-divisible",
                f"num_kv_heads {layer.stage.kv_heads} does not divide num_heads {layer.stage.num_heads}",
            )
            problems.setdefault(("stages", at, "num_kv_heads"), message)
    yield from problems.items()


def _window_problem(size: Pair, first: Pair, merge: int) -> Message | None:
    """What is wrong with a window, where the tokens are in the order of the `first` one."""
    if any(side % merge for side in size):
        return Message(
            "window-not-even",
            f"window_size {side_or_sides(size)} must be even: squares of {MERGE}x{MERGE} tokens are merged",
        )
    if size != first:
        return Message(
            "window-differs",
            f"window_size {side_or_sides(size)} must be that of earlier blocks, {side_or_sides(first)}: all blocks share "
            "one order of tokens",
        )
    return None


def _heads_problem(stage: StageConfig, first: StageConfig) -> Message | None:
    """What is wrong with the heads of a block, where the rotary positions are made for the heads of the `first` stage."""
    heads, channels = stage.num_heads, stage.embed_dim // stage.num_heads
    if channels % ROTARY_STEP:
        return Message(
            "rotary-head-width",
            f"num_heads {heads} gives heads of {channels} channels: rotary positions need a multiple of {ROTARY_STEP}",
        )
    if channels != first.embed_dim // first.num_heads:
        return Message(
            "heads-differ",
            f"num_heads {heads} gives a head width of {channels}, but the heads of the first stage have "
            f"{first.embed_dim // first.num_heads}: all blocks share their rotary positions",
        )
    return None


def vision_of_transformers(config: EncoderConfig) -> Iterator[Problem]:
    """The model has one number for a window's side, all biases, and no norm of its own."""
    stage, at = config.stages[0], ("stages", 0)
    height, width = stage.window_size
    wanted: tuple[Wanted, ...] = (
        (("pre_norm",), not config.pre_norm, "no norm before the blocks"),
        (("norm",), not config.norm, "no norm after the blocks"),
        (("stages",), len(config.stages) == 1, "one stage"),
        ((*at, "overrides"), not stage.overrides, "blocks of one kind"),
        ((*at, "qkv_bias"), stage.qkv_bias, "qkv_bias: true"),
        ((*at, "num_kv_heads"), stage.kv_heads == stage.num_heads, "keys and values for each head"),
        ((*at, "window_size"), height == width and height > 0, "windows that are square"),
    )
    yield from cannot_run("Qwen2_5_VisionTransformerPretrainedModel of transformers", wanted)


def rotary_positions(_config: EncoderConfig) -> str:
    """They depend on the image alone."""
    return "Its rotary positions are made for each image, in each forward."


FAMILY = Family(
    blocks={
        WORD: Block(
            summary="Qwen2.5-VL's: RMSNorm, rotary positions, windows without padding, a gated MLP.",
            keys=frozenset({"num_kv_heads"}),
            layout=PACKED,
            pads=False,
            taps=("pos_embed",),
            problems=block_problems,
        )
    },
    patch_embeds={
        WORD: PatchEmbed(
            summary="Flattened patches of two frames by a convolution without a bias, all images in one sequence.",
            input_shape=flattened_patches,
            makes=PACKED,
        )
    },
    pos_embeds={
        ORDER: Part(
            summary="Reorders the tokens by windows, and makes rotary positions for the blocks.",
            takes=PACKED,
            other_sizes=rotary_positions,
            has_weights=False,
            problems=order_problems,
        )
    },
    necks={
        MERGER: Part(
            summary="RMSNorm, an MLP from 2x2 tokens to one of out_chans, then the order of the image again.",
            keys=frozenset({"out_chans"}),
            takes=PACKED,
            stream=merged,
            taps=lambda _: ("pos_embed",),
            problems=merger_problems,
        )
    },
    implementations=(
        Implementation(
            library="transformers",
            model="Qwen2_5_VisionTransformerPretrainedModel",
            versions=("5.23", "5.24"),
            blocks=(WORD,),
            necks=(MERGER,),
            kernels=("sdpa", "eager"),
            difference="keeps frequencies in buffers, the order of windows on the host, and the tokens that enter the merger, which "
            "it returns; positions are its input",
            problems=vision_of_transformers,
        ),
    ),
)
