"""ViTDet (arXiv:2203.16527): SAM's block with convolutional propagation, pretrained positions, and a feature pyramid.

Source: detectron2, modeling/backbone/vit.py and configs/common/models/mask_rcnn_vitdet.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from ...encoder.slots import Family, Part, Problem, Sliding, a_patch_of_pretraining
from ...errors import Message
from ..vit import words as vit

if TYPE_CHECKING:
    from ...encoder.model import EncoderConfig

LEAST_BOTTLENECK, LEAST_PYRAMID = 2, 4
"""The smallest widths that can be halved, and quartered."""
LEAST_SIDE = 2
"""The smallest side of a grid that can be halved."""

VIT = vit.FAMILY.blocks["vit"]


def block_problems(config: EncoderConfig, at: int) -> Iterator[Problem]:
    """The problems of SAM's block, and a residual block without channels."""
    stage = config.stages[at]
    yield from VIT.problems(config, at)
    if stage.residual_block_indexes and stage.embed_dim < LEAST_BOTTLENECK:
        message = f"embed_dim {stage.embed_dim} is too small: residual blocks have half as many channels"
        yield ("stages", at, "embed_dim"), Message("no-channels-left", message)


def pyramid_problems(config: EncoderConfig, _at: int) -> Iterator[Problem]:
    """The width must be large enough to be quartered, and the grid to be halved."""
    last = len(config.stages) - 1
    grid, width = config.layers[-1].out_grid, config.stages[last].embed_dim
    if width < LEAST_PYRAMID:
        message = f"embed_dim {width} is too small: the largest map of neck {config.neck} has a quarter as many channels"
        yield ("stages", last, "embed_dim"), Message("no-channels-left", message)
    if min(grid) < LEAST_SIDE:
        message = f"neck {config.neck} halves the grid, so the grid must be at least {LEAST_SIDE}x{LEAST_SIDE}, not {grid[0]}x{grid[1]}"
        yield ("neck",), Message("neck-does-not-fit", message)


FAMILY = Family(
    blocks={
        "vitdet": replace(
            VIT,
            summary="Like vit, with convolutional residual blocks of half the width after residual_block_indexes.",
            keys=VIT.keys | {"residual_block_indexes"},
            residual=(Sliding(kernel=3, before=1),),
            problems=block_problems,
        )
    },
    pos_embeds={
        "pretrained": Part(
            summary="A vector per patch of pretrain_image_size and one for a class token, unused; another grid resizes them, "
            "bicubically, in each forward.",
            keys=frozenset({"pretrain_image_size"}),
            problems=a_patch_of_pretraining,
        )
    },
    necks={
        "simple_fpn": Part(
            summary="ViTDet's feature pyramid of the last map alone, at scales 4, 2, 1, 1/2 and 1/4, each of out_chans.",
            keys=frozenset({"out_chans"}),
            problems=pyramid_problems,
        )
    },
)
