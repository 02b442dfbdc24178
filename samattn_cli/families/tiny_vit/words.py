"""TinyViT: convolutions in the first stage, then attention in windows with a bias per distance, and local convolutions.

Sources: arXiv:2207.10666 and microsoft/Cream, TinyViT/models/tiny_vit.py; MobileSAM (arXiv:2306.14289),
ChaoningZhang/MobileSAM, mobile_sam/modeling/tiny_vit_sam.py, in which the grid stays before the last stage.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from ...encoder.keys import Pair
from ...encoder.placement import Placement
from ...encoder.slots import (
    Block,
    Entering,
    Family,
    PatchEmbed,
    Placing,
    Problem,
    Sliding,
    Stream,
    Transition,
    ends_of_stages,
    slid,
)
from ...errors import Message

if TYPE_CHECKING:
    from ...encoder.model import EncoderConfig

PATCH = 4
"""The stride of the stem: two convolutions of stride 2."""
LEAST_WIDTH = 2
"""The first convolution of the stem has half its width."""

HALVING = Sliding(kernel=3, stride=2, before=1)
"""A 3x3 convolution of stride 2."""
LOCAL = Sliding(kernel=3, before=1)
"""A 3x3 convolution."""


def of_tokens(_: Entering) -> Placing:
    """A block of convolutions does not attend."""
    return Placing(Placement((1, 1)))


def strided_patches(image: Pair, _patch: int) -> Pair:
    """The grid (high, wide) after two convolutions of stride 2."""
    return slid(image, (HALVING, HALVING))


def halved(_config: EncoderConfig, stream: Stream) -> Stream:
    """The stream with half as many tokens high and wide, rounded up."""
    return replace(stream, grid=slid(stream.grid, (HALVING,)))


def stem_problems(config: EncoderConfig, _: int) -> Iterator[Problem]:
    """The stem has a fixed stride."""
    if config.patch_size != PATCH:
        message = f"patch_embed conv_stem has patch_size {PATCH}, not {config.patch_size}: use {PATCH}"
        yield ("patch_size",), Message("patch-size-fixed", message)
    if config.stages[0].embed_dim < LEAST_WIDTH:
        message = f"patch_embed conv_stem needs an embed_dim of at least {LEAST_WIDTH}, twice that of its first convolution"
        yield ("stages", 0, "embed_dim"), Message("no-channels-left", message)


def held_by_layers(config: EncoderConfig) -> dict[str, tuple[str, ...]]:
    """What the forward has a name for: what enters a stage, until its blocks and the merging after it have run."""
    held, entering = dict[str, tuple[str, ...]](), _before_blocks(config)
    ends = ends_of_stages(config)
    for number, last in enumerate(ends):
        follows = number + 1 < len(ends) and config.stages[number + 1].transition != "none"
        end = f"transitions.{number + 1}" if follows else f"blocks.{last}"
        held[end] = (entering,)
        entering = end
    return held


def _before_blocks(config: EncoderConfig) -> str:
    """The name of the last part before the blocks."""
    if config.pre_norm:
        return "pre_norm"
    return "patch_embed" if config.pos_embed == "none" else "pos_embed"


FAMILY = Family(
    blocks={
        "mbconv": Block(
            summary="TinyViT's first blocks, without attention: a 1x1 convolution to mlp_ratio times the width, a depthwise 3x3 "
            "one, and a 1x1 one back, each with BatchNorm. num_heads has no effect.",
            kernels=("eager", "sdpa"),
            windows=False,
            place=of_tokens,
            has_modes=True,
            holds=held_by_layers,
        ),
        "tiny_vit": Block(
            summary="TinyViT's: attention in windows with a bias per distance of tokens, a depthwise 3x3 convolution with "
            "BatchNorm, and an MLP.",
            has_modes=True,
            holds=held_by_layers,
        ),
    },
    patch_embeds={
        "conv_stem": PatchEmbed(
            summary="Two 3x3 convolutions of stride 2, with BatchNorm, as in TinyViT; patch_size is 4.",
            grid=strided_patches,
            has_modes=True,
            problems=stem_problems,
        )
    },
    transitions={
        "conv_merging": Transition(
            summary="TinyViT's: a 1x1 convolution, a depthwise 3x3 one of stride 2, which halves the grid, and a 1x1 one, each "
            "with BatchNorm.",
            stream=halved,
            slides=(HALVING,),
            has_modes=True,
        ),
        "conv_widening": Transition(
            summary="As conv_merging, with stride 1: the grid stays, as before MobileSAM's last stage.",
            slides=(LOCAL,),
            has_modes=True,
        ),
    },
)
