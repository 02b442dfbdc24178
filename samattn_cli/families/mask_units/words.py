"""Hiera, the original one: attention in mask units, queries pooled between stages, then attention over all tokens.

SAM 2's encoder is derived from it, and is a family of its own: block hiera, with windows over a grid. Here the tokens are
put in an order in which each mask unit, and each square that is pooled, is a slice of the sequence ("unrolled").

Sources: Hiera (arXiv:2306.00989) and its code, facebookresearch/hiera, hiera/hiera.py and hiera_mae.py; its windowed positions
(arXiv:2311.05613), as timm has them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from math import prod
from typing import TYPE_CHECKING

from ...encoder.placement import Placement
from ...encoder.registry import NONE
from ...encoder.slots import (
    Block,
    Entering,
    Family,
    Implementation,
    Part,
    Placing,
    Problem,
    Stream,
    Wanted,
    cannot_run,
    ends_of_stages,
    first_output,
    side_or_sides,
)
from ...errors import Message
from ...units import format_size
from ..hiera.words import block_problems as pooling_problems
from ..hiera.words import lagging
from .shape import DECODER, MASK_UNITS, stride, unit_side

if TYPE_CHECKING:
    from ...encoder.model import EncoderConfig
    from ...encoder.tree import Loc


def in_mask_units(entering: Entering) -> Placing:
    """As SAM 2's blocks, which lag behind their stage; the decoder attends to all tokens."""
    if entering.stage.transition != NONE:
        return Placing()
    return lagging(entering)


def block_problems(config: EncoderConfig, number: int) -> Iterator[Problem]:
    """What is wrong with a stage: its pooling, and windows that are not its mask units; with the image first of all."""
    if any(image_problems(config)):
        yield from () if number else image_problems(config)
        return
    if config.stages[number].transition == DECODER:
        yield from _decoder_windows(config, number)
    elif config.stages[number].q_stride not in (1, stride(config)):
        yield _another_stride(config, number)
    else:
        yield from pooling_problems(config, number)
        yield from _window_problems(config, number)


def _decoder_windows(config: EncoderConfig, number: int) -> Iterator[Problem]:
    if not config.stages[number].placement.is_global:
        message = f"the blocks of transition {DECODER} attend to all tokens: remove window_size"
        yield ("stages", number, "window_size"), Message("always-global", message)


def _another_stride(config: EncoderConfig, number: int) -> Problem:
    own, wanted = config.stages[number].q_stride, stride(config)
    message = f"q_stride {own} differs from q_stride {wanted} of an earlier stage: mask units need one stride"
    return ("stages", number, "q_stride"), Message("one-stride", message)


def image_problems(config: EncoderConfig) -> Iterator[Problem]:
    """The image must be a whole number of mask units; the nearest sizes that are."""
    side = unit_side(config)
    pixels = side * config.patch_size
    if any(size % pixels for size in config.image_size):
        near = sorted(
            {tuple(max(size // pixels + more, 1) * pixels for size in config.image_size) for more in (0, 1)}
        )
        message = (
            f"image_size {side_or_sides(config.image_size)} is not a whole number of mask units of {format_size((side, side))} "
            f"tokens ({pixels} px): use {' or '.join(map(side_or_sides, near))}"
        )
        yield ("image_size",), Message("not-divisible", message)


def _window_problems(config: EncoderConfig, number: int) -> Iterator[Problem]:
    """A window of a stage is a mask unit as it has been pooled so far."""
    stage = config.stages[number]
    side = unit_side(config) // prod(each.q_stride for each in config.stages[: number + 1])
    places: list[tuple[Loc, Placement]] = [(("stages", number, "window_size"), stage.placement)]
    places += [
        (("stages", number, "overrides", at, "window_size"), override.placement)
        for at, override in enumerate(stage.overrides)
        if override.placement is not None
    ]
    for place, placement in places:
        if not placement.is_global and placement.size != (side, side):
            message = f"{placement.words} is not a mask unit of stage {number}: use window_size {side}, or 0 for all tokens"
            yield place, Message("not-a-mask-unit", message)


def pooled_once(_config: EncoderConfig, stream: Stream) -> Stream:
    """One vector for an image."""
    return Stream((1, 1), stream.dim)


def classified(config: EncoderConfig, _stream: Stream) -> Stream:
    """A number for each class."""
    return Stream((1, 1), config.out_chans)


def position_problems(config: EncoderConfig, _at: int) -> Iterator[Problem]:
    """The window is a mask unit, so that its copies cover the grid."""
    side = unit_side(config)
    if config.pos_embed_window != (side, side):
        message = f"pos_embed_window {format_size(config.pos_embed_window)} is not a mask unit: use {side}"
        yield ("pos_embed_window",), Message("not-a-mask-unit", message)


def held_by_transformers(config: EncoderConfig) -> Mapping[str, tuple[str, ...]]:
    """Its encoder has a name for what enters a stage; its model has names for the tokens, before and after they are put in order."""
    ends = [f"blocks.{index}" for index in ends_of_stages(config)]
    held = {end: (before,) for before, end in pairwise(ends)}
    last = ends[-1] if config.neck == NONE else "neck"
    to_the_end = ("pos_embed", first_output("pos_embed"))
    return held | {last: (*held.get(last, ()), *to_the_end)}


def of_transformers(config: EncoderConfig) -> Iterator[Problem]:
    """What HieraModel cannot run."""
    yield from cannot_run("HieraModel of transformers", wanted_of_libraries(config))


def wanted_of_libraries(config: EncoderConfig) -> Iterator[Wanted]:
    """What Hiera has in transformers and timm: one factor between widths, one MLP ratio, mask units by stage, pooling first."""
    stages = config.stages
    first, pools = stages[0], sum(stage.q_stride != 1 for stage in stages)
    factor = stages[1].embed_dim / first.embed_dim if len(stages) > 1 else 1
    yield ("patch_embed",), config.patch_embed == "overlapping", "patch_embed overlapping"
    yield ("pre_norm",), not config.pre_norm, "no norm before the blocks"
    yield ("norm",), not config.norm, "no norm after the blocks"
    for number, stage in enumerate(stages):
        place = ("stages", number)
        yield (
            (*place, "embed_dim"),
            stage.embed_dim == int(first.embed_dim * factor**number),
            "widths that grow by one factor",
        )
        yield (*place, "mlp_ratio"), stage.mlp_dim == int(stage.embed_dim * first.mlp_ratio), "one mlp_ratio"
        yield (*place, "qkv_bias"), stage.qkv_bias, "qkv_bias true"
        yield (*place, "layer_scale"), not stage.layer_scale, "no LayerScale"
        yield (*place, "overrides"), not stage.overrides, "blocks of one kind"
        yield (
            (*place, "global_attn_indexes"),
            not stage.global_attn_indexes,
            "mask units in all blocks of a stage or in none",
        )
        yield (
            (*place, "q_stride"),
            (stage.q_stride != 1) == (0 < number <= pools),
            "pooling in the first stages after the first",
        )
        if number > pools:
            is_global = stage.placement.is_global and stages[number - 1].placement.is_global
            yield (
                (*place, "window_size"),
                is_global,
                "attention to all tokens from the first stage on that does not pool",
            )


FAMILY = Family(
    blocks={
        "mask_unit": Block(
            summary="Hiera's block: in mask units or over all tokens; the first of a stage changes the width and may pool "
            "its queries. (SAM 2's is hiera.)",
            keys=frozenset({"q_stride", "layer_scale"}),
            layout=MASK_UNITS,
            changes_width=True,
            place=in_mask_units,
            problems=block_problems,
        )
    },
    pos_embeds={
        "mask_units": Part(
            summary="A learned vector per token, then the order of mask units, as in Hiera.",
            makes=MASK_UNITS,
        ),
        "mask_units_window": Part(
            summary="A background resized to the grid and a window repeated over it, then the order of mask units, as in "
            "Hiera abswin.",
            keys=frozenset({"pos_embed_background", "pos_embed_window"}),
            makes=MASK_UNITS,
            problems=position_problems,
        ),
    },
    necks={
        "hiera_pool": Part(
            summary="Hiera's: the mean of all tokens, and its LayerNorm.",
            takes=MASK_UNITS,
            stream=pooled_once,
        ),
        "hiera_classifier": Part(
            summary="The same, and a linear layer to out_chans classes.",
            keys=frozenset({"out_chans"}),
            takes=MASK_UNITS,
            stream=classified,
        ),
    },
    implementations=(
        Implementation(
            library="transformers",
            model="HieraModel",
            versions=("5.23", "5.24"),
            blocks=("mask_unit",),
            necks=(NONE, "hiera_pool", "hiera_classifier"),
            pos_embeds=("mask_units",),
            kernels=("eager",),
            difference="has eager attention alone, holds what attention returns, what enters a stage until the stage has run, and "
            "the tokens before and after they are put in the order of mask units to the end; its checkpointing is of stages",
            holds=held_by_transformers,
            checkpoints=("stages",),
            problems=of_transformers,
        ),
    ),
)
