"""SAM 3's vision encoder: ViTDet's blocks with rotary positions, tiled absolute ones, a simple pyramid."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..slots import Block, Family, Part, PatchEmbed, Problem

if TYPE_CHECKING:
    from ..model import EncoderConfig

TURNING = 4
"""Channels that turn together: two by the column, two by the row."""


def _heads_that_turn(config: EncoderConfig, number: int) -> Iterator[Problem]:
    """Each head turns pairs of channels, one half by the column, the other by the row."""
    stage, loc = config.stages[number], ("stages", number)
    several = [(loc, stage.num_heads)]
    several += [
        ((*loc, "overrides", at), own.num_heads) for at, own in enumerate(stage.overrides) if own.num_heads
    ]
    for where, heads in several:
        if (stage.embed_dim // heads) % TURNING:
            said = f"heads of {stage.embed_dim // heads} channels (embed_dim {stage.embed_dim} over num_heads {heads})"
            yield (
                (*where, "num_heads"),
                f"{said} cannot turn by column and row: use heads of a multiple of {TURNING}",
            )


def _positions_of_pretraining(config: EncoderConfig, _: int) -> Iterator[Problem]:
    """An image of pretraining has a patch."""
    if min(config.pretrain_grid) < 1:
        size, patch = config.pretrain_image_size, config.patch_size
        assert size is not None  # noqa: S101 - image_size has its own rule; told to the type checker
        said = size[0] if size[0] == size[1] else list(size)
        yield ("pretrain_image_size",), f"pretrain_image_size {said} is smaller than a patch of {patch}"


def _halves(config: EncoderConfig, _: int) -> Iterator[Problem]:
    """The smallest map has a token, the narrowest a channel."""
    last = config.layers[-1]
    if min(last.out_grid) < 2:
        grid = "x".join(map(str, last.out_grid))
        yield ("neck",), f"neck sam3_fpn halves the grid, which is {grid} tokens: use a larger image_size"
    if last.stage.embed_dim < 4:
        width = last.stage.embed_dim
        yield ("neck",), f"neck sam3_fpn makes maps of a quarter of the width, which is {width}: use at least 4"


FAMILY = Family(
    blocks={
        "rope_vit": Block(
            summary="SAM 3's block: as vit, with rotary positions along both axes in place of relative ones.",
            problems=_heads_that_turn,
        )
    },
    patch_embeds={"patch_no_bias": PatchEmbed(summary="As patch, without a bias.")},
    pos_embeds={
        "tiled": Part(
            summary="One learned vector per patch of pretrain_image_size, repeated over a larger grid.",
            keys=frozenset({"pretrain_image_size"}),
            problems=_positions_of_pretraining,
        )
    },
    necks={
        "sam3_fpn": Part(
            summary="SAM 3's pyramid: four maps of out_chans, 4, 2, 1 and 1/2 times the grid.",
            keys=frozenset({"out_chans"}),
            problems=_halves,
        )
    },
)
