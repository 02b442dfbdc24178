"""SAM's and ViTDet's plain encoder: patches, windows over a padded grid, SAM's neck."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ...encoder.slots import Block, Family, Part, PatchEmbed, Problem
from ...errors import Message

if TYPE_CHECKING:
    from ...encoder.model import EncoderConfig


def rel_pos_problems(config: EncoderConfig, at: int) -> Iterator[Problem]:
    """A size of relative-position tables needs such tables."""
    stage = config.stages[at]
    if stage.rel_pos == "none" and stage.rel_pos_grid is not None:
        message = "rel_pos_grid is the size of relative-position tables, but rel_pos is none: remove rel_pos_grid, or set rel_pos"
        yield ("stages", at, "rel_pos_grid"), Message("unused-key", message)


FAMILY = Family(
    blocks={
        "vit": Block(
            summary="SAM's and ViTDet's block: pre-norm, windows over a padded grid, decomposed or joint positions.",
            keys=frozenset({"rel_pos", "rel_pos_grid", "shift_size", "num_windows_side"}),
            rel_pos=("none", "decomposed", "joint"),
            kernels=("eager", "sdpa", "fused"),
            problems=rel_pos_problems,
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
