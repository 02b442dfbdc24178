"""ViTDet (arXiv:2203.16527): SAM's block with convolutional propagation, pretrained positions, and a feature pyramid.

Source: detectron2, modeling/backbone/vit.py and configs/common/models/mask_rcnn_vitdet.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ...encoder.placement import UNSHIFTED
from ...encoder.slots import (
    Family,
    Implementation,
    Part,
    Problem,
    Sliding,
    Wanted,
    a_patch_of_pretraining,
    cannot_run,
    ends_of_stages,
)
from ...errors import Message
from ...records import replace
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


def vitdet_of_transformers(config: EncoderConfig) -> Iterator[Problem]:
    """VitDetModel has one number for a window's side, whole ratios, and positions of a square pretraining."""
    stage = config.stages[0]
    at = ("stages", 0)
    wanted: tuple[Wanted, ...] = (
        (("patch_embed",), config.patch_embed == "patch", "patch_embed patch"),
        (("pos_embed",), config.pos_embed in {"pretrained", "none"}, "pos_embed pretrained or none"),
        (
            ("pretrain_image_size",),
            config.pos_embed != "pretrained" or config.pretrain_grid[0] == config.pretrain_grid[1],
            "a square grid of pretraining",
        ),
        (("pre_norm",), not config.pre_norm, "no norm before the blocks"),
        (("norm",), not config.norm, "no norm after the blocks"),
        (("stages",), len(config.stages) == 1, "one stage"),
        ((*at, "overrides"), not stage.overrides, "blocks of one kind"),
        ((*at, "mlp_ratio"), not stage.mlp_dim % stage.embed_dim, "an mlp_ratio that is a whole number"),
        ((*at, "rel_pos"), stage.rel_pos in {"decomposed", "none"}, "rel_pos decomposed or none"),
        ((*at, "shift_size"), stage.shift_size in {None, UNSHIFTED}, "windows without a shift"),
        ((*at, "window_size"), stage.window_size[0] == stage.window_size[1], "windows that are square"),
        ((*at, "num_windows_side"), stage.num_windows_side is None, "window_size"),
    )
    yield from cannot_run("VitDetModel of transformers", wanted)


def held_by_model(config: EncoderConfig) -> dict[str, tuple[str, ...]]:
    """What enters the blocks, until the last of them has run."""
    entering = "patch_embed" if config.pos_embed == "none" else "pos_embed"
    return {f"blocks.{ends_of_stages(config)[-1]}": (entering,)}


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
    implementations=(
        Implementation(
            library="transformers",
            model="VitDetModel",
            versions=("5.23", "5.24"),
            blocks=("vitdet",),
            necks=("none",),
            kernels=("eager",),
            difference="copies tokens before it cuts windows, holds scores next to probabilities, what attention returns to the "
            "end of a block, and what enters the blocks to the end",
            holds=held_by_model,
            problems=vitdet_of_transformers,
        ),
    ),
)
