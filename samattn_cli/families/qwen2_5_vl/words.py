"""Qwen2.5-VL's vision encoder (arXiv:2502.13923): packed token sequences of any aspect ratio, windows without padding.

Facts as transformers has them, models/qwen2_5_vl. A stream is (tokens, C): the tokens of all images, one after the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING

from ...encoder.keys import Pair
from ...encoder.slots import Block, Family, Part, PatchEmbed, Problem, Stream, side_or_sides

if TYPE_CHECKING:
    from ...encoder.model import EncoderConfig

WORD = "qwen2_5_vl"
ORDER = "window_order"
MERGER = "patch_merger"

MERGE = 2
"""Tokens a side that the merger joins; windows are whole numbers of such squares."""

FRAMES = 2
"""Pictures that a patch reaches over; an image is taken twice."""

ROTARY_STEP = 4
"""Channels of a head turn in pairs, half of the pairs by the row and half by the column."""

MOST_WINDOWS = 1 << 12
"""Of a layer over all images: each is run by itself, and is a few operations on the Tape."""


def flattened_patches(config: EncoderConfig) -> tuple[int, ...]:
    """(tokens of all images, numbers of a patch): the processor cuts images up."""
    numbers = config.in_chans * FRAMES * config.patch_size**2
    return config.run.batch_size * prod(config.grid), numbers


def window_of(config: EncoderConfig) -> Pair:
    """The windows that tokens are put in the order of: the whole grid where no block has any."""
    return next((layer.windows.size for layer in config.layers if not layer.is_global), config.grid)


def merged(config: EncoderConfig, stream: Stream) -> Stream:
    """A token for each square of tokens."""
    H, W = stream.grid
    return replace(stream, grid=(H // MERGE, W // MERGE), dim=config.out_chans)


def merger_problems(config: EncoderConfig, _at: int) -> Iterator[Problem]:
    """A merger that has no order of windows to undo."""
    yield from _needs_order(config, ("neck",), f"neck {MERGER}")


def _needs_order(config: EncoderConfig, loc: tuple[int | str, ...], name: str) -> Iterator[Problem]:
    if config.pos_embed != ORDER:
        yield loc, f"{name} takes what pos_embed {ORDER} hands on, which is not there"


def order_problems(config: EncoderConfig, _at: int) -> Iterator[Problem]:
    """Images that are no whole number of squares."""
    unit = config.patch_size * MERGE
    if any(side % unit for side in config.image_size):
        below, above = (
            tuple(rounding * (side // (rounding * unit)) * unit for side in config.image_size)
            for rounding in (1, -1)
        )
        near = " or ".join(map(side_or_sides, (below, above) if all(below) else (above,)))
        said = f"image_size {side_or_sides(config.image_size)} is not a multiple of {unit}, {MERGE} patches of {config.patch_size}"
        yield ("image_size",), f"{said}: use {near}"
        return
    yield from _many_windows(config)


def _many_windows(config: EncoderConfig) -> Iterator[Problem]:
    """More windows than can be looked at one by one."""
    images = config.run.batch_size
    each = max(prod(layer.windows.counts) for layer in config.layers)
    if each * images > MOST_WINDOWS:
        where = ("image_size",) if each > MOST_WINDOWS else ("run", "batch_size")
        many = f"{each * images:,} windows a layer, which are run one by one"
        yield (
            where,
            f"image_size {side_or_sides(config.image_size)} makes {many}: at most {MOST_WINDOWS:,} for all images",
        )


def block_problems(config: EncoderConfig, at: int) -> Iterator[Problem]:
    """No order of windows before it, and windows and heads that this order and the positions cannot have."""
    yield from _needs_order(config, ("stages", at, "block"), f"block {WORD}")
    yield from _layer_problems(config, at)


def _layer_problems(config: EncoderConfig, at: int) -> Iterator[Problem]:
    """What the first block that has it otherwise is told of: the stage's keys are its own or an override's."""
    window, first = window_of(config), config.layers[0].stage
    found: dict[tuple[int | str, ...], str] = {}
    for layer in (layer for layer in config.layers if layer.stage_index == at):
        size, heads, width = layer.windows.size, layer.stage.num_heads, layer.stage.embed_dim
        if not layer.is_global and any(side % MERGE for side in size):
            said = f"window_size {side_or_sides(size)} must be even: windows are of {MERGE}x{MERGE} tokens that are merged"
            found.setdefault(_where(config, at, layer.index, "window_size"), said)
        elif not layer.is_global and size != window:
            said = f"window_size {side_or_sides(size)} is not that of the blocks before, {side_or_sides(window)}: tokens are put in one order"
            found.setdefault(_where(config, at, layer.index, "window_size"), said)
        channels = width // heads
        if channels % ROTARY_STEP:
            said = f"num_heads {heads} gives heads of {channels} channels: rotary positions need a multiple of {ROTARY_STEP}"
            found.setdefault(_where(config, at, layer.index, "num_heads"), said)
        elif channels != first.embed_dim // first.num_heads:
            said = f"num_heads {heads} is not that of the blocks before, {first.num_heads}: rotary positions are made once"
            found.setdefault(_where(config, at, layer.index, "num_heads"), said)
    yield from found.items()


def _where(config: EncoderConfig, at: int, index: int, key: str) -> tuple[int | str, ...]:
    """Where a block has a key from: the last override that gives it, or the stage."""
    named = [
        number
        for number, override in enumerate(config.stages[at].overrides)
        if index in override.blocks and getattr(override, key) is not None
    ]
    return ("stages", at, "overrides", named[-1], key) if named else ("stages", at, key)


FAMILY = Family(
    blocks={
        WORD: Block(
            summary="Qwen2.5-VL's: RMSNorm, rotary positions, windows without padding, a gated MLP.",
            layout="packed",
            pads=False,
            taps=("pos_embed",),
            problems=block_problems,
        )
    },
    patch_embeds={
        WORD: PatchEmbed(
            summary="Flattened patches of two frames by a convolution without a bias, all images in one sequence.",
            input_shape=flattened_patches,
            makes="packed",
        )
    },
    pos_embeds={
        ORDER: Part(
            summary="Tokens put in the order of windows, and rotary positions for the blocks.",
            takes="packed",
            problems=order_problems,
        )
    },
    necks={
        MERGER: Part(
            summary="RMSNorm, 2x2 tokens to one of out_chans by an MLP, the order of the image again.",
            keys=frozenset({"out_chans"}),
            takes="packed",
            stream=merged,
            taps=lambda _: ("pos_embed",),
            problems=merger_problems,
        )
    },
)
