"""SAM's and ViTDet's plain encoder: patches, windows over a padded grid, SAM's neck."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ...encoder.slots import Block, Family, Part, PatchEmbed, Problem

if TYPE_CHECKING:
    from ...encoder.model import EncoderConfig


def tables_for_nothing(config: EncoderConfig, at: int) -> Iterator[Problem]:
    """A size of relative-position tables where there are none."""
    stage = config.stages[at]
    if stage.rel_pos == "none" and stage.rel_pos_grid is not None:
        said = "rel_pos_grid is the size of relative-position tables, but rel_pos is none: leave out one of the two"
        yield ("stages", at, "rel_pos_grid"), said


FAMILY = Family(
    blocks={
        "vit": Block(
            summary="SAM's and ViTDet's block: pre-norm, windows over a padded grid, decomposed or joint positions.",
            keys=frozenset({"rel_pos", "rel_pos_grid", "shift_size"}),
            rel_pos=("none", "decomposed", "joint"),
            kernels=("eager", "sdpa", "fused"),
            problems=tables_for_nothing,
        )
    },
    patch_embeds={"patch": PatchEmbed(summary="Non-overlapping patches by a convolution.")},
    pos_embeds={"learned": Part(summary="One learned vector per patch.")},
    necks={
        "sam": Part(
            summary="1x1 and 3x3 convolutions to out_chans, a LayerNorm after each.",
            keys=frozenset({"out_chans"}),
        )
    },
)
