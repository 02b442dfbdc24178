"""RF-DETR: DINOv2's blocks over a grid that is cut into windows, which are a batch, with a class token in each window.

Sources: arXiv:2511.09554; rfdetr 1.11 of Roboflow, models/backbone/dinov2_with_windowed_attn.py and projector.py; transformers
5.23, models/rf_detr. Its key `num_windows` is windows along a side of the grid, here `num_windows_side`. Global blocks attend to
all tokens of an image, the class tokens of all its windows among them.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING

from ...encoder.keys import Pair
from ...encoder.layouts import GRID, WINDOWS
from ...encoder.placement import UNCUT
from ...encoder.slots import (
    Block,
    Family,
    Implementation,
    Part,
    Problem,
    Stream,
    Wanted,
    a_patch_of_pretraining,
    cannot_run,
    side_or_sides,
)
from ...errors import Message
from ...records import replace

if TYPE_CHECKING:
    from ...encoder.model import EncoderConfig
    from ...encoder.placement import Placement
    from ...encoder.tree import Loc

BLOCKS_OF_C2F = 3
"""Pairs of convolutions in the projector, one after the other."""

KERNELS = ("eager", "sdpa", "fused")
"""These blocks have no relative positions to fold, so fused is the same as sdpa."""


def cut_of(config: EncoderConfig) -> Pair:
    """The windows (down, across) that each image is cut into before the blocks."""
    return config.stages[0].num_windows_side or UNCUT


def cut_into_windows(config: EncoderConfig, stream: Stream) -> Stream:
    """The stream cut into windows."""
    return replace(stream, cut=cut_of(config))


def with_class_tokens(config: EncoderConfig, stream: Stream) -> Stream:
    """The stream cut into windows, with a class token in front of each."""
    down, across = cut_of(config)
    return replace(stream, cut=(down, across), extra_tokens=down * across)


def joined(_config: EncoderConfig, stream: Stream) -> Stream:
    """The grid, joined from the windows, without class tokens."""
    return replace(stream, cut=UNCUT, extra_tokens=0)


def _placements(config: EncoderConfig, at: int) -> Iterator[tuple[Loc, Placement]]:
    """Where the blocks of a stage attend, and its place."""
    stage = config.stages[at]
    yield ("stages", at), stage.placement
    for number, override in enumerate(stage.overrides):
        if override.placement is not None:
            yield ("stages", at, "overrides", number), override.placement


def block_problems(config: EncoderConfig, at: int) -> Iterator[Problem]:
    """All blocks have the windows that the position embedding cuts, or attend to all tokens."""
    count = cut_of(config)
    for place, placement in _placements(config, at):
        if placement.size is not None:
            message = (
                f"{config.stages[at].block} blocks cut the grid into a number of windows, which stays the same at every "
                "image_size: use num_windows_side in place of window_size"
            )
            yield (*place, "window_size"), Message("number-of-windows-only", message)
        elif not placement.is_global and placement.count != count:
            message = (
                f"num_windows_side {side_or_sides(placement.count)}: the grid is cut once, before the blocks, into "
                f"{side_or_sides(count)} windows a side; a block has those or is in global_attn_indexes"
            )
            yield (*place, "num_windows_side"), Message("windows-differ", message)


def position_problems(config: EncoderConfig, at: int) -> Iterator[Problem]:
    """Positions are those of a square, which each forward resizes to the grid."""
    yield from a_patch_of_pretraining(config, at)
    height, width = config.pretrain_grid
    if height != width:
        message = (
            f"pos_embed {config.pos_embed} has the positions of a square, not of {height}x{width} patches"
        )
        key = "image_size" if config.pretrain_image_size is None else "pretrain_image_size"
        yield (key,), Message("not-square", f"{message}: set pretrain_image_size to one number, such as 224")


def blocks_read(config: EncoderConfig) -> tuple[int, ...]:
    """The blocks whose outputs the neck reads; by default the last."""
    return config.out_indices or (_depth(config) - 1,)


def _depth(config: EncoderConfig) -> int:
    return sum(stage.depth for stage in config.stages)


def outputs_read(config: EncoderConfig) -> tuple[str, ...]:
    """The names of those blocks, without the last block of all, whose output is the stream itself."""
    last = _depth(config) - 1
    return tuple(f"blocks.{index}" for index in blocks_read(config) if index < last)


def blocks_unread(config: EncoderConfig) -> tuple[str, ...]:
    """The names of the blocks after the last one that the neck reads."""
    return tuple(f"blocks.{index}" for index in range(blocks_read(config)[-1] + 1, _depth(config)))


def all_outputs(config: EncoderConfig) -> tuple[str, ...]:
    """What enters the blocks, and what leaves each but the last: RF-DETR's encoder returns them all to its backbone."""
    return ("pos_embed", *(f"blocks.{index}" for index in range(_depth(config) - 1)))


def neck_problems(config: EncoderConfig, _: int) -> Iterator[Problem]:
    """The neck reads outputs of blocks that there are, of windows as its own position embedding cuts them."""
    positions = config.neck.removesuffix("_maps")
    if config.pos_embed != positions:
        message = f"neck {config.neck} needs pos_embed {positions}, not {config.pos_embed}"
        yield ("neck",), Message("needs-pos-embed", message)
    depth, beyond = _depth(config), [index for index in config.out_indices if index >= _depth(config)]
    if beyond:
        message = f"out_indices has {beyond[0]}, but the blocks are 0 to {depth - 1}"
        yield ("out_indices",), Message("no-such-block", message)
    if config.norm:
        message = f"neck {config.neck} reads the outputs of blocks: leave out norm"
        yield ("norm",), Message("norm-before-norm", message)


def of_transformers(config: EncoderConfig) -> list[Wanted]:
    """What the backbones of RF-DETR and LW-DETR have in transformers."""
    stage, at = config.stages[0], ("stages", 0)
    count = cut_of(config)
    return [
        (("image_size",), not any(config.dropped), "images of whole patches"),
        (("patch_embed",), config.patch_embed == "patch", "patch_embed patch"),
        (("pre_norm",), not config.pre_norm, "no norm before the blocks"),
        (("norm",), not config.norm, "no norm between the blocks and the neck"),
        (("stages",), len(config.stages) == 1, "one stage"),
        ((*at, "overrides"), not stage.overrides, "blocks of one kind"),
        ((*at, "num_windows_side"), count[0] == count[1], "as many windows down as across"),
        ((*at, "mlp_ratio"), stage.mlp_ratio == int(stage.mlp_ratio), "a whole mlp_ratio"),
    ]


def rf_detr_of_transformers(config: EncoderConfig) -> Iterator[Problem]:
    """What RfDetrDinov2Backbone cannot run."""
    yield from cannot_run("RfDetrDinov2Backbone of transformers", of_transformers(config))


def tokens_of_cut(grid: Pair, cut: Pair, each: int) -> int:
    """Tokens of an image whose windows have `each` a number of tokens that are not on the grid."""
    return prod(grid) + each * prod(cut)


BACKBONE = Implementation(
    library="transformers",
    model="RfDetrDinov2Backbone",
    versions=("5.23", "5.24"),
    blocks=("rf_detr",),
    necks=("rf_detr_maps",),
    kernels=("sdpa", "eager"),
    difference="holds the normed tokens and the eager probabilities of a block until its end, and queries, keys and values until "
    "the end of the attention",
    problems=rf_detr_of_transformers,
)

OUTPUTS = frozenset({"out_indices"})

FAMILY = Family(
    blocks={
        "rf_detr": Block(
            summary="RF-DETR's: DINOv2's block with LayerScale, over windows that are a batch, or over all tokens.",
            keys=frozenset({"num_windows_side"}),
            kernels=KERNELS,
            layout=WINDOWS,
            problems=block_problems,
        )
    },
    pos_embeds={
        "rf_detr": Part(
            summary="A class token and DINOv2's positions, made for pretrain_image_size and resized with antialiasing; then the "
            "grid is cut into num_windows_side windows, with a class token in each.",
            keys=frozenset({"pretrain_image_size"}),
            makes=WINDOWS,
            stream=with_class_tokens,
            problems=position_problems,
        )
    },
    necks={
        "rf_detr_maps": Part(
            summary="The outputs of the blocks in out_indices as maps, after one LayerNorm: RF-DETR's backbone.",
            keys=OUTPUTS,
            takes=WINDOWS,
            makes=GRID,
            stream=joined,
            taps=all_outputs,
            unread=blocks_unread,
            problems=neck_problems,
        ),
        "rf_detr": Part(
            summary="Those maps and RF-DETR's projector: a C2f layer to one map of out_chans.",
            keys=OUTPUTS | {"out_chans"},
            takes=WINDOWS,
            makes=GRID,
            stream=joined,
            taps=all_outputs,
            unread=blocks_unread,
            problems=neck_problems,
        ),
    },
    implementations=(BACKBONE, replace(BACKBONE, model="RfDetrConvEncoder", necks=("rf_detr",))),
)
