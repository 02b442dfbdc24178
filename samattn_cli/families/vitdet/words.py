"""ViTDet (arXiv:2203.16527): SAM's block with convolutional propagation, positions of a pretraining, its feature pyramid.

Source: detectron2, modeling/backbone/vit.py and configs/common/models/mask_rcnn_vitdet.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from ...encoder.slots import Family, Part, Problem, Sliding, a_patch_of_pretraining
from ..vit import words as vit

if TYPE_CHECKING:
    from ...encoder.model import EncoderConfig

LEAST_BOTTLENECK, LEAST_PYRAMID = 2, 4
"""The narrowest streams of which a half, and a quarter, is left."""
LEAST_SIDE = 2
"""Of a grid that is halved."""

VIT = vit.FAMILY.blocks["vit"]


def block_problems(config: EncoderConfig, at: int) -> Iterator[Problem]:
    """Those of SAM's block, and a bottleneck without channels."""
    stage = config.stages[at]
    yield from VIT.problems(config, at)
    if stage.residual_block_indexes and stage.embed_dim < LEAST_BOTTLENECK:
        said = (
            f"embed_dim {stage.embed_dim} leaves the bottleneck of a residual block, half of it, no channel"
        )
        yield ("stages", at, "embed_dim"), said


def pyramid_problems(config: EncoderConfig, _at: int) -> Iterator[Problem]:
    """What is too narrow to be quartered, or too small to be halved."""
    last = len(config.stages) - 1
    grid, width = config.layers[-1].out_grid, config.stages[last].embed_dim
    if width < LEAST_PYRAMID:
        said = f"embed_dim {width} leaves the largest map of neck {config.neck}, a quarter of it, no channel"
        yield ("stages", last, "embed_dim"), said
    if min(grid) < LEAST_SIDE:
        said = f"neck {config.neck} halves the grid, {grid[0]}x{grid[1]} here: it takes {LEAST_SIDE}x{LEAST_SIDE} or more"
        yield ("neck",), said


FAMILY = Family(
    blocks={
        "vitdet": replace(
            VIT,
            summary="vit, with convolutional residual blocks of half the width after residual_block_indexes.",
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
