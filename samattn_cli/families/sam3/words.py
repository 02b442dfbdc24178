"""SAM 3's vision encoder: ViTDet's blocks with rotary positions, tiled absolute positions, and a simple pyramid."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ...encoder.slots import Block, Family, Part, PatchEmbed, Problem, a_patch_of_pretraining
from ...errors import Message
from ..vitdet.words import pyramid_problems

if TYPE_CHECKING:
    from ...encoder.model import EncoderConfig
    from ...encoder.tree import Loc

ROTARY_STEP = 4
"""The width of a head is a multiple of this: two channels rotate by the column, two by the row."""


def _rotary_heads(config: EncoderConfig, number: int) -> Iterator[Problem]:
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


FAMILY = Family(
    blocks={
        "rope_vit": Block(
            summary="SAM 3's block: like vit, but with rotary positions along both axes, not relative ones.",
            problems=_rotary_heads,
        )
    },
    patch_embeds={
        "patch_no_bias": PatchEmbed(summary="Non-overlapping patches by a convolution without a bias.")
    },
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
