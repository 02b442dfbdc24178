"""TinyViT: convolutions in the first stage, then attention in windows with a bias per distance, and local convolutions.

Sources: arXiv:2207.10666 and microsoft/Cream, TinyViT/models/tiny_vit.py; MobileSAM (arXiv:2306.14289),
ChaoningZhang/MobileSAM, mobile_sam/modeling/tiny_vit_sam.py, in which the grid stays before the last stage.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ...encoder.keys import Pair
from ...encoder.placement import NO_WINDOW, NOWHERE
from ...encoder.slots import (
    Block,
    Entering,
    Family,
    Implementation,
    PatchEmbed,
    Placing,
    Problem,
    Sliding,
    Stream,
    Transition,
    Wanted,
    by_turns,
    cannot_run,
    ends_of_stages,
    slid,
)
from ...errors import Message
from ...records import replace
from ..swin.words import held_by_timm

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


@by_turns
def nowhere(_: Entering) -> Placing:
    """A block of convolutions does not attend."""
    return Placing(NOWHERE)


def convolution_problems(config: EncoderConfig, number: int) -> Iterator[Problem]:
    """Keys that say where a block attends."""
    stage, place = config.stages[number], ("stages", number)
    for key in ("global_attn_indexes", "window_size", "num_windows_side"):
        if getattr(stage, key) not in {(), NO_WINDOW, None}:
            message = (
                f"mbconv blocks are convolutions, which do not attend, so they have no {key}: leave it out"
            )
            yield (*place, key), Message("unused-key", message)


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


def sizes_of_mobile_sam(config: EncoderConfig) -> str:
    """MobileSAM's forward has a fixed grid."""
    if config.neck != "sam":
        return ""
    return "MobileSAM's own code views its last tokens as 64x64, so it runs at 1024 alone until that line is changed."


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


def of_stage(config: EncoderConfig, number: int) -> Iterator[Wanted]:
    """What timm has in each stage: convolutions in the first, square windows of one kind in the others."""
    first, stage, last = config.stages[0], config.stages[number], config.stages[-1]
    block, transition = ("tiny_vit", "conv_merging") if number else ("mbconv", "none")
    yield ("block",), stage.block == block, f"{block} blocks in this stage"
    yield ("transition",), stage.transition == transition, f"transition {transition} in this stage"
    yield ("qkv_bias",), stage.qkv_bias or stage is first, "qkv_bias true"
    yield ("global_attn_indexes",), not stage.global_attn_indexes, "no global blocks"
    yield ("overrides",), not stage.overrides, "blocks of one kind"
    if number:
        high, wide = stage.window_size
        yield ("window_size",), high == wide, "windows that are square"
        yield ("window_size",), high > 0 and stage.num_windows_side is None, "a window_size"
        yield ("mlp_ratio",), stage.mlp_ratio == last.mlp_ratio, "one mlp_ratio in all stages but the first"


def of_timm(config: EncoderConfig) -> Iterator[Problem]:
    """What TinyVit cannot run."""
    wanted: list[Wanted] = [
        (("patch_embed",), config.patch_embed == "conv_stem", "patch_embed conv_stem"),
        (("pos_embed",), config.pos_embed == "none", "pos_embed none"),
        (("pre_norm",), not config.pre_norm, "no norm before the blocks"),
        (("norm",), not config.norm, "no norm after the blocks"),
        *(
            (("stages", number, *at), is_so, what)
            for number in range(len(config.stages))
            for at, is_so, what in of_stage(config, number)
        ),
    ]
    yield from cannot_run("TinyVit of timm", wanted)


FAMILY = Family(
    blocks={
        "mbconv": Block(
            summary="TinyViT's first blocks, without attention: a 1x1 convolution to mlp_ratio times the width, a depthwise 3x3 "
            "one, and a 1x1 one back, each with BatchNorm. num_heads has no effect.",
            kernels=("eager", "sdpa"),
            windows=False,
            place=nowhere,
            after=(LOCAL,),
            problems=convolution_problems,
            has_modes=True,
            holds=held_by_layers,
        ),
        "tiny_vit": Block(
            summary="TinyViT's: attention in windows with a bias per distance of tokens, a depthwise 3x3 convolution with "
            "BatchNorm, and an MLP.",
            after=(LOCAL,),
            other_sizes=sizes_of_mobile_sam,
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
    implementations=(
        Implementation(
            library="timm",
            model="TinyVit",
            versions=("1.0.31",),
            blocks=("mbconv", "tiny_vit"),
            necks=("none",),
            kernels=("sdpa", "eager"),
            difference="scales queries in place of scores, caches the biases of windows in its first forward, and holds the "
            "patches and what enters a stage until its end; its checkpointing is of stages",
            holds=held_by_timm,
            checkpoints=("later_stages",),
            problems=of_timm,
        ),
    ),
)
