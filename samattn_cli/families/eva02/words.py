"""EVA-02 for detection (arXiv:2303.11331): ViTDet's recipe with rotary positions, and SwiGLU with a norm in it.

Source: baaivision/EVA, EVA-02/det/detectron2/modeling/backbone/vit.py and the configs in projects/ViTDet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...encoder.slots import Block, Family
from ...units import format_size
from ..sam3.words import rotary_heads

if TYPE_CHECKING:
    from ...encoder.model import EncoderConfig

PRETRAINED_SIDE = 16
"""The side in patches on which EVA-02 was pretrained: angles run from 0 to it over any window and any grid."""


def rotary_tables(config: EncoderConfig) -> str:
    """Its tables are buffers of the model, and its checkpoint has them too."""
    return (
        f"Its rotary tables are made for {format_size(config.image_size)} when the model is built, and its checkpoint holds them: "
        f"build it for the size of the images and leave the keys rope out of the checkpoint; its weights stay as they are."
    )


FAMILY = Family(
    blocks={
        "eva02_vit": Block(
            summary="EVA-02's block for detection: like vit, with rotary positions, a projection each for queries, keys and "
            "values, of which keys have no bias, and SwiGLU with a norm before its last layer.",
            other_sizes=rotary_tables,
            problems=rotary_heads,
        )
    },
)
