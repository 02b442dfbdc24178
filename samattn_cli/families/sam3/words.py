"""SAM 3's vision encoder: ViTDet's blocks with rotary positions, tiled absolute positions, and a simple pyramid."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ...encoder.keys import Pair
from ...encoder.slots import (
    Block,
    Family,
    Implementation,
    Part,
    PatchEmbed,
    Problem,
    Wanted,
    a_patch_of_pretraining,
    cannot_run,
)
from ...errors import Message
from ...records import replace
from ...units import format_size
from ..vitdet.words import pyramid_problems

if TYPE_CHECKING:
    from ...encoder.model import EncoderConfig
    from ...encoder.tree import Loc

ROTARY_STEP = 4
"""The width of a head is a multiple of this: two channels rotate by the column, two by the row."""


def rotary_heads(config: EncoderConfig, number: int) -> Iterator[Problem]:
    """Rotary positions rotate pairs of channels, half of them by the column and half by the row."""
    stage, loc = config.stages[number], ("stages", number)
    places: list[tuple[Loc, int | None]] = [(loc, stage.num_heads)]
    places += [((*loc, "overrides", at), own.num_heads) for at, own in enumerate(stage.overrides)]
    for at, heads in places:
        if heads and (stage.embed_dim // heads) % ROTARY_STEP:
            width = stage.embed_dim // heads
            yield (
                (*at, "num_heads"),
                Message(
                    "rotary-head-width",
                    f"num_heads {heads} gives heads of {width} channels at embed_dim {stage.embed_dim}: "
                    f"rotary positions need a multiple of {ROTARY_STEP}",
                ),
            )


def rotary_tables(config: EncoderConfig) -> str:
    """Tables of rotary positions belong to the model, but are not in its checkpoint."""
    return (
        f"Its rotary tables are made for {format_size(config.image_size)} when the model is built: build it for the size of the "
        "images; its weights stay as they are."
    )


def tiles(config: EncoderConfig) -> str:
    """Absolute positions are those of pretraining."""
    size = format_size(config.pretrain_image_size or config.image_size)
    return f"Its absolute positions, made for {size}, are repeated over a larger grid."


def scaled_grids(grid: Pair) -> tuple[Pair, ...]:
    """The grids of the neck's maps, the largest first: 4, 2, 1 and 1/2 times the grid."""
    height, width = grid
    return *((height * times, width * times) for times in (4, 2, 1)), (height // 2, width // 2)


def vision_of_transformers(config: EncoderConfig) -> Iterator[Problem]:
    """Sam3VisionModel has one number for a window's side, positions of a square pretraining, and all biases."""
    stage, at = config.stages[0], ("stages", 0)
    wanted: tuple[Wanted, ...] = (
        (("patch_embed",), config.patch_embed == "patch_no_bias", "patch_embed patch_no_bias"),
        (
            ("pretrain_image_size",),
            config.pretrain_grid[0] == config.pretrain_grid[1],
            "a square grid of pretraining",
        ),
        (("pre_norm",), config.pre_norm, "pre_norm: true"),
        (("norm",), not config.norm, "no norm after the blocks"),
        (("stages",), len(config.stages) == 1, "one stage"),
        ((*at, "overrides"), not stage.overrides, "blocks of one kind"),
        ((*at, "qkv_bias"), stage.qkv_bias, "qkv_bias: true"),
        ((*at, "window_size"), stage.window_size[0] == stage.window_size[1], "windows that are square"),
        (("run", "checkpointing"), not config.run.checkpointing, "no gradient checkpointing"),
    )
    yield from cannot_run("Sam3VisionModel of transformers", wanted)


VISION_OF_TRANSFORMERS = Implementation(
    library="transformers",
    model="Sam3VisionModel",
    versions=("5.23", "5.24"),
    blocks=("rope_vit",),
    necks=("sam3_fpn",),
    pos_embeds=("tiled",),
    kernels=("sdpa", "eager"),
    difference="has a projection each for queries, keys and values, copies tokens before it cuts windows, returns the tokens that "
    "enter the neck, and keeps the positions of the neck's maps, which its first forward makes",
    problems=vision_of_transformers,
)


FAMILY = Family(
    blocks={
        "rope_vit": Block(
            summary="SAM 3's block: like vit, but with rotary positions along both axes, not relative ones.",
            other_sizes=rotary_tables,
            problems=rotary_heads,
        )
    },
    patch_embeds={
        "patch_no_bias": PatchEmbed(summary="Non-overlapping patches by a convolution without a bias.")
    },
    pos_embeds={
        "tiled": Part(
            summary="One learned vector per patch of pretrain_image_size, repeated over a larger grid.",
            keys=frozenset({"pretrain_image_size"}),
            other_sizes=tiles,
            problems=a_patch_of_pretraining,
        )
    },
    necks={
        "sam3_fpn": Part(
            summary="SAM 3's pyramid: four maps of out_chans, 4, 2, 1 and 1/2 times the grid.",
            keys=frozenset({"out_chans"}),
            problems=pyramid_problems,
        )
    },
    implementations=(
        VISION_OF_TRANSFORMERS,
        replace(
            VISION_OF_TRANSFORMERS,
            model="Sam3ViTModel",
            necks=("none",),
            difference="has a projection each for queries, keys and values, and copies tokens before it cuts windows",
        ),
    ),
)
