"""SAM 3's vision encoder: ViTDet's blocks with rotary positions, tiled absolute ones, a simple pyramid."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ...encoder.slots import Block, Family, Part, PatchEmbed, Problem, a_patch_of_pretraining
from ..vitdet.words import pyramid_problems

if TYPE_CHECKING:
    from ...encoder.model import EncoderConfig
    from ...encoder.tree import Loc

TURNING = 4
"""Channels that turn together: two by the column, two by the row."""


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
            problems=pyramid_problems,
        )
    },
)
