"""LW-DETR: a plain ViT over a grid that is cut into windows, which are a batch; channels are scaled by learned numbers.

Sources: arXiv:2406.03459; Atten4Vis/LW-DETR, models/backbone/vit.py and projector.py; transformers 5.23, models/lw_detr. Its key
`num_windows` in transformers counts all windows: 16 is `num_windows_side` 4.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from ...encoder.layouts import GRID, WINDOWS
from ...encoder.slots import Block, Family, Implementation, Part, Problem, cannot_run, first_output
from ...errors import Message
from ...records import replace
from ..rf_detr.words import (
    all_outputs,
    block_problems,
    blocks_unread,
    cut_into_windows,
    joined,
    neck_problems,
    of_transformers,
    outputs_read,
    position_problems,
)

if TYPE_CHECKING:
    from ...encoder.model import EncoderConfig

SCALES = (2.0, 1.0, 0.5)
"""Of the projector's maps to the grid."""

WIDE = 512
"""Channels above which a map is narrowed before it is enlarged."""


def projector_problems(config: EncoderConfig, at: int) -> Iterator[Problem]:
    """The maps have the scales that the projector has."""
    yield from neck_problems(config, at)
    for scale in config.neck_scales:
        if scale not in SCALES:
            message = f"neck_scales has {scale:g}, but neck {config.neck} has only 2, 1 and 0.5"
            yield ("neck_scales",), Message("unknown-scale", message)


def held_to_the_end(config: EncoderConfig) -> Mapping[str, tuple[str, ...]]:
    """The outputs that the forward of transformers' backbone has names for, besides those that the neck reads."""
    read = set(outputs_read(config))
    others = [name for name in all_outputs(config) if name not in read]
    return {"neck": (*others, first_output("pos_embed"))}


def lw_detr_of_transformers(config: EncoderConfig) -> Iterator[Problem]:
    """What LwDetrViTBackbone cannot run."""
    yield from cannot_run("LwDetrViTBackbone of transformers", of_transformers(config))


BACKBONE = Implementation(
    library="transformers",
    model="LwDetrViTBackbone",
    versions=("5.23", "5.24"),
    blocks=("lw_detr",),
    necks=("lw_detr_maps",),
    kernels=("sdpa", "eager"),
    difference="has a projection each for queries, keys and values, holds what enters the blocks and what leaves them until it has "
    "made its maps, and in a block normed tokens, scaled tokens and eager probabilities; its eager softmax is in float32",
    holds=held_to_the_end,
    problems=lw_detr_of_transformers,
)

FAMILY = Family(
    blocks={
        "lw_detr": Block(
            summary="LW-DETR's: pre-norm, queries and values with biases, what it adds scaled, over windows that are a batch.",
            keys=frozenset({"num_windows_side"}),
            layout=WINDOWS,
            problems=block_problems,
        )
    },
    pos_embeds={
        "lw_detr": Part(
            summary="A vector per patch of pretrain_image_size, resized bicubically in each forward, and one for a class token, "
            "unused; then the grid is cut into num_windows_side windows.",
            keys=frozenset({"pretrain_image_size"}),
            makes=WINDOWS,
            stream=cut_into_windows,
            problems=position_problems,
        )
    },
    necks={
        "lw_detr_maps": Part(
            summary="The outputs of the blocks in out_indices as maps: LW-DETR's backbone.",
            keys=frozenset({"out_indices"}),
            takes=WINDOWS,
            makes=GRID,
            stream=joined,
            taps=outputs_read,
            has_weights=False,
            unread=blocks_unread,
            problems=neck_problems,
        ),
        "lw_detr": Part(
            summary="Those maps and LW-DETR's projector: for each of neck_scales, all maps resized and a C2f layer to out_chans.",
            keys=frozenset({"out_indices", "out_chans", "neck_scales"}),
            takes=WINDOWS,
            makes=GRID,
            stream=joined,
            taps=outputs_read,
            unread=blocks_unread,
            has_modes=True,
            problems=projector_problems,
        ),
    },
    implementations=(BACKBONE, replace(BACKBONE, model="LwDetrConvEncoder", necks=("lw_detr",))),
)
