"""SAM 2's hierarchical encoder: a stage's first block has the previous stage's window and pools queries; an FPN neck.

Sources: SAM 2 (arXiv:2408.00714) and its code, sam2/modeling/backbones/hieradet.py and image_encoder.py; Hiera
(arXiv:2306.00989); its windowed positions (arXiv:2311.05613).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ...encoder.keys import Pair
from ...encoder.placement import EVERYWHERE
from ...encoder.slots import (
    Block,
    Entering,
    Family,
    Implementation,
    Part,
    PatchEmbed,
    Placing,
    Problem,
    Wanted,
    cannot_run,
    ends_of_stages,
)
from ...errors import Message
from ...units import format_size

if TYPE_CHECKING:
    from ...encoder.model import EncoderConfig
    from ...encoder.plan import LayerConfig

FPN_LEVELS = 4
TIMM_MLP_RATIO = 4
OF_POSITIONS = 4
"""Channels of transformers' encoding of positions come in fours: sine and cosine, of rows and of columns."""


def lagging(entering: Entering) -> Placing:
    """The first block of a stage has the window of the previous stage, because it attends before it pools the grid."""
    stage, before = entering.stage, entering.before
    leads_in = before is not None and not entering.position
    where = before.placement if leads_in and before is not None else stage.placement
    stride = stage.q_stride if leads_in else 1
    cannot_be_pooled = any(side % stride for side in where.over(entering.grid).size)
    return Placing(EVERYWHERE if entering.is_named_global or cannot_be_pooled else where, stride)


def overlapping_patches(image: Pair, patch: int) -> Pair:
    """The grid (high, wide): a patch for each stride that begins in the image, which is padded by stride - 1 on each side."""
    return -(-image[0] // patch), -(-image[1] // patch)


def block_problems(config: EncoderConfig, number: int) -> Iterator[Problem]:
    """What is wrong with the first block of a stage, which may pool its queries."""
    first = next(layer for layer in config.layers if layer.stage_index == number)
    yield from _pooling_problems(config, number, first)
    for position, override in enumerate(config.stages[number].overrides):
        if number and override.window_size is not None and first.index in override.blocks:
            place = ("stages", number, "overrides", position, "window_size")
            yield (
                place,
                Message(
                    "window-of-first-block",
                    f"block {first.index} is the first of stage {number} and always has the window of stage {number - 1}: "
                    "remove window_size",
                ),
            )


def _pooling_problems(config: EncoderConfig, number: int, first: LayerConfig) -> Iterator[Problem]:
    stage, place = config.stages[number], ("stages", number, "q_stride")
    if stage.q_stride == 1:
        return
    if not number:
        yield (
            place,
            Message(
                "pooling-in-first-stage",
                f"q_stride {stage.q_stride} of the first stage must be 1: there is no stage before it to pool",
            ),
        )
        return
    if first.in_dim == stage.embed_dim:
        yield (
            place,
            Message(
                "pooling-needs-new-width",
                f"q_stride {stage.q_stride} needs an embed_dim that differs from stage {number - 1}'s {stage.embed_dim}: the "
                "shortcut is pooled after a projection to a new width",
            ),
        )
    named_global = first.index in stage.global_attn_indexes
    where = EVERYWHERE if named_global else config.stages[number - 1].placement
    whose = "grid" if where.is_global else f"window of stage {number - 1}"
    for what, sides in {whose: where.over(first.grid).size, "grid": first.grid}.items():
        if any(side % stage.q_stride for side in sides):
            yield (
                place,
                Message(
                    "not-divisible",
                    f"q_stride {stage.q_stride} does not divide the {what}, {format_size(sides)}, in block {first.index}, "
                    f"the first of stage {number}",
                ),
            )


def position_problems(config: EncoderConfig, _: int) -> Iterator[Problem]:
    """Whole copies of the window must cover the grid."""
    window = config.pos_embed_window
    if any(side % tile for side, tile in zip(config.grid, window, strict=True)):
        message = (
            f"pos_embed_window {format_size(window)} does not divide the grid, {format_size(config.grid)}, over which it is "
            "repeated"
        )
        yield ("pos_embed_window",), Message("not-divisible", message)


def fpn_problems(config: EncoderConfig, _: int) -> Iterator[Problem]:
    """The neck needs four stages; it doubles the last map to the size of the one before."""
    levels = [config.layers[index].out_grid for index in ends_of_stages(config)]
    if len(levels) != FPN_LEVELS:
        message = f"neck sam2_fpn needs {FPN_LEVELS} stages, not {len(levels)}"
        yield ("neck",), Message("neck-needs-stages", message)
    elif levels[-2] != (2 * levels[-1][0], 2 * levels[-1][1]):
        finer, coarser = map(format_size, levels[-2:])
        yield (
            ("neck",),
            Message(
                "neck-does-not-fit",
                f"neck sam2_fpn upsamples the grid of the last stage, {coarser}, by 2, which does not give that of the stage before, "
                f"{finer}",
            ),
        )


def stage_ends(config: EncoderConfig) -> tuple[str, ...]:
    """The names of the last block of each stage, except the last stage, whose output is the stream itself."""
    return tuple(f"blocks.{index}" for index in ends_of_stages(config)[:-1])


def sam2_of_libraries(config: EncoderConfig) -> list[Wanted]:
    """What SAM 2 has in transformers and in timm: a number for a window's side, one MLP ratio, pooling by two in windows."""
    stages = config.stages
    ratio = stages[0].mlp_dim / stages[0].embed_dim
    wanted: list[Wanted] = [
        (("patch_embed",), config.patch_embed == "overlapping", "patch_embed overlapping"),
        (("pos_embed",), config.pos_embed == "hiera", "pos_embed hiera"),
        (
            ("pos_embed_window",),
            config.pos_embed_window == stages[0].window_size,
            "positions repeated with the window of the first stage",
        ),
        (("pre_norm",), not config.pre_norm, "no norm before the blocks"),
        (("norm",), not config.norm, "no norm after the blocks"),
    ]
    for number, stage in enumerate(stages):
        place = ("stages", number)
        pooled = next(layer for layer in config.layers if layer.stage_index == number)
        wanted += [
            ((*place, "window_size"), len({*stage.window_size}) == 1, "windows that are square"),
            ((*place, "mlp_ratio"), stage.mlp_dim == int(stage.embed_dim * ratio), "one mlp_ratio"),
            ((*place, "qkv_bias"), stage.qkv_bias, "qkv_bias true"),
            ((*place, "overrides"), not stage.overrides, "blocks of one kind"),
            ((*place, "transition"), stage.transition == "none", "no transitions"),
            (
                (*place, "q_stride"),
                stage.q_stride == (2 if number else 1),
                "q_stride 2 in all stages but the first",
            ),
            (
                (*place, "global_attn_indexes"),
                not number or not pooled.is_global,
                "windows in the first block of a stage, which pools",
            ),
        ]
    return wanted


def sam2_of_transformers(config: EncoderConfig) -> Iterator[Problem]:
    """What Sam2VisionModel cannot run."""
    fours = not config.out_chans % OF_POSITIONS
    wanted = (("out_chans",), fours, f"a multiple of {OF_POSITIONS} output channels")
    yield from cannot_run("Sam2VisionModel of transformers", [*sam2_of_libraries(config), wanted])


def sam2_of_timm(config: EncoderConfig) -> Iterator[Problem]:
    """HieraDet doubles widths and heads from stage to stage, and has one ratio of MLPs in all models."""
    wanted, (first, *_) = sam2_of_libraries(config), config.stages
    wanted.append(
        (("stages", 0, "mlp_ratio"), first.mlp_dim == TIMM_MLP_RATIO * first.embed_dim, "mlp_ratio 4")
    )
    for number, stage in enumerate(config.stages):
        place, times = ("stages", number), 2**number
        wanted += [
            ((*place, "embed_dim"), stage.embed_dim == times * first.embed_dim, "widths that double"),
            ((*place, "num_heads"), stage.num_heads == times * first.num_heads, "heads that double"),
        ]
    yield from cannot_run("HieraDet of timm", wanted)


def stretched(config: EncoderConfig) -> str:
    """Absolute positions of SAM 2 have no grid of their own."""
    background, window = format_size(config.pos_embed_background), format_size(config.pos_embed_window)
    return (
        f"Its absolute positions, a background of {background} and a window of {window}, are resized to the grid and repeated over "
        "it in each forward."
    )


FAMILY = Family(
    blocks={
        "hiera": Block(
            summary="SAM 2's block: the first of a stage changes the width and may pool its queries, in the windows of "
            "the stage before. (That of the original Hiera is mask_unit.)",
            keys=frozenset({"q_stride"}),
            changes_width=True,
            place=lagging,
            problems=block_problems,
        )
    },
    patch_embeds={
        "overlapping": PatchEmbed(
            summary="A convolution of side 2 * patch_size - 1: 7x7 at stride 4, as in SAM 2.",
            grid=overlapping_patches,
        )
    },
    pos_embeds={
        "hiera": Part(
            summary="A small background resized to the grid, and a window repeated over it, as in SAM 2.",
            keys=frozenset({"pos_embed_background", "pos_embed_window"}),
            other_sizes=stretched,
            problems=position_problems,
        )
    },
    necks={
        "sam2_fpn": Part(
            summary="SAM 2's: a 1x1 convolution of each of four stages to out_chans, the last added to the one before it; "
            "three outputs.",
            keys=frozenset({"out_chans"}),
            taps=stage_ends,
            problems=fpn_problems,
        )
    },
    implementations=(
        Implementation(
            library="transformers",
            model="Sam2VisionModel",
            versions=("5.23", "5.24"),
            blocks=("hiera",),
            necks=("sam2_fpn",),
            kernels=("sdpa", "eager"),
            difference="copies tokens to pad them and to drop the padding, holds what attention returns, computes a softmax over "
            "the heads of each token that nothing reads, returns positions and its last hidden state, and keeps the positions of "
            "its finest map until the next forward, which holds them too",
            problems=sam2_of_transformers,
        ),
        Implementation(
            library="timm",
            model="HieraDet",
            versions=("1.0.31",),
            blocks=("hiera",),
            necks=("none",),
            kernels=("sdpa", "eager"),
            difference="copies tokens to pad them and to drop the padding; its eager attention scales queries, and its softmax "
            "is in the type of the scores",
            problems=sam2_of_timm,
        ),
    ),
)
