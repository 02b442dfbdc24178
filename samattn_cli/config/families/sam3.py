"""SAM 3's vision encoder: ViTDet's blocks with rotary positions, tiled absolute ones, a simple pyramid."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..slots import Block, Family, Part, PatchEmbed, Problem, a_patch_of_pretraining, side_or_sides

if TYPE_CHECKING:
    from ..model import EncoderConfig
    from ..yaml12 import Loc

TURNING = 4
"""Channels that turn together: two by the column, two by the row."""

LEAST_GRID = 2
"""Tokens on a side that can be halved."""

LEAST_WIDTH = 4
"""Channels that can be quartered."""


def _heads_that_turn(config: EncoderConfig, number: int) -> Iterator[Problem]:
    """Each head turns pairs of channels, one half by the column, the other by the row."""
    stage, loc = config.stages[number], ("stages", number)
    places: list[tuple[Loc, int | None]] = [(loc, stage.num_heads)]
    places += [((*loc, "overrides", at), own.num_heads) for at, own in enumerate(stage.overrides)]
    for at, heads in places:
        if heads and (stage.embed_dim // heads) % TURNING:
            width = stage.embed_dim // heads
            said = f"heads of {width} channels (embed_dim {stage.embed_dim} over num_heads {heads})"
            yield (
                (*at, "num_heads"),
                f"{said} cannot turn by column and row: use heads of a multiple of {TURNING}",
            )


def _halves(config: EncoderConfig, _: int) -> Iterator[Problem]:
    """The smallest map has a token, the narrowest a channel."""
    last = config.layers[-1]
    if min(last.out_grid) < LEAST_GRID:
        grid, least = "x".join(map(str, last.out_grid)), LEAST_GRID * config.patch_size
        said = f"image_size {side_or_sides(config.image_size)} makes a grid of {grid}"
        yield ("image_size",), f"{said}, which the neck sam3_fpn cannot halve: use at least {least}"
    if last.stage.embed_dim < LEAST_WIDTH:
        said = f"neck sam3_fpn quarters the width, which is {last.stage.embed_dim}"
        yield ("neck",), f"{said}: use an embed_dim of at least {LEAST_WIDTH}"


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
            problems=a_patch_of_pretraining,
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
