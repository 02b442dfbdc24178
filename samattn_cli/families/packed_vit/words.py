"""Packed vision transformers: MiniCPM-V 4.6's, with a merger that attends in 2x2 windows, and Muse Glimmer's, with large windows.

Source: transformers, models/minicpmv4_6 and models/muse_glimmer. A stream is (tokens, C): the tokens of all images, one image
after the other, as in Qwen2.5-VL.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING

from ...encoder.layouts import PACKED
from ...encoder.slots import (
    Block,
    Family,
    Implementation,
    Part,
    PatchEmbed,
    Problem,
    Sliding,
    Stream,
    Transition,
    Wanted,
    a_patch_of_pretraining,
    cannot_run,
    side_or_sides,
)
from ...errors import Message
from ...records import replace
from ..plain.words import block_problems as global_problems
from ..plain.words import everywhere
from ..qwen2_5_vl.words import MOST_WINDOWS, flattened_patches, layer_problems, not_whole, order_problems

if TYPE_CHECKING:
    from ...encoder.model import EncoderConfig

MINICPM, MUSE = "minicpm_v", "muse_glimmer"
MERGER, SHUFFLE = "window_merger", "pixel_shuffle"

SIDE = 2
"""The side in tokens of the squares that become one token."""
SQUARE = SIDE**2
TAPS = 4
"""The learned vectors from which a position is interpolated."""
TWO_STAGES = 2


def patches_in_a_row(config: EncoderConfig) -> tuple[int, ...]:
    """The shape of the input, (1, in_chans, p, tokens of all images * p): patches next to each other."""
    patch = config.patch_size
    return 1, config.in_chans, patch, config.run.batch_size * prod(config.grid) * patch


def nearest(_config: EncoderConfig) -> str:
    """Positions are looked up."""
    return "Its positions are looked up: at another size each token takes the nearest one."


def interpolated(_config: EncoderConfig) -> str:
    """Positions are interpolated."""
    return "Its learned positions are interpolated, and rotary ones made, in each forward."


def merged(_config: EncoderConfig, stream: Stream) -> Stream:
    """The stream with one token for each square."""
    H, W = stream.grid
    return replace(stream, grid=(H // SIDE, W // SIDE))


def shuffled(config: EncoderConfig, stream: Stream) -> Stream:
    """The stream with one token, which has the channels of all its tokens, for each square."""
    return replace(merged(config, stream), dim=SQUARE * stream.dim)


def merger_problems(config: EncoderConfig, at: int) -> Iterator[Problem]:
    """A merger keeps the width, and needs whole squares; its windows run one by one."""
    before, after = config.stages[at - 1], config.stages[at]
    if at and before.embed_dim != after.embed_dim:
        message = (
            f"transition {MERGER} keeps the width {before.embed_dim}: embed_dim {after.embed_dim} differs"
        )
        yield ("stages", at, "embed_dim"), Message("width-differs", message)
    if config.pos_embed != MINICPM:
        message = f"transition {MERGER} needs pos_embed {MINICPM}, not {config.pos_embed}"
        yield ("stages", at, "transition"), Message("needs-pos-embed", message)
    mergers = sum(stage.transition == MERGER for stage in config.stages[: at + 1])
    problem = not_whole(config, SIDE**mergers)
    if problem is not None:
        yield problem
        return
    windows = config.run.batch_size * prod(config.grid) // SQUARE**mergers
    if windows > MOST_WINDOWS:
        message = (
            f"transition {MERGER} has {windows:,} windows over the batch, and each is run separately: use at most "
            f"{MOST_WINDOWS:,}"
        )
        yield ("image_size",), Message("too-many-windows", message)


def minicpm_problems(config: EncoderConfig, at: int) -> Iterator[Problem]:
    """Its blocks attend over each image, and read the ends of images."""
    yield from global_problems(config, at)
    yield from _needs_positions(config, ("stages", at, "block"), f"block {MINICPM}", MINICPM)


def muse_problems(config: EncoderConfig, at: int) -> Iterator[Problem]:
    """Its blocks share an order of tokens by windows, and rotary positions."""
    yield from _needs_positions(config, ("stages", at, "block"), f"block {MUSE}", MUSE)
    yield from layer_problems(config, at, merge=1)


def shuffle_problems(config: EncoderConfig, _at: int) -> Iterator[Problem]:
    """It undoes the order of windows, so something must have made it."""
    yield from _needs_positions(config, ("neck",), f"neck {SHUFFLE}", MUSE)


def muse_sizes(config: EncoderConfig, at: int) -> Iterator[Problem]:
    """Whole squares of tokens, and not too many windows."""
    yield from a_patch_of_pretraining(config, at)
    yield from order_problems(config, at)


def _needs_positions(
    config: EncoderConfig, loc: tuple[int | str, ...], name: str, word: str
) -> Iterator[Problem]:
    if config.pos_embed != word:
        yield loc, Message("needs-pos-embed", f"{name} needs pos_embed {word}, not {config.pos_embed}")


def minicpm_of_transformers(config: EncoderConfig) -> Iterator[Problem]:
    """What MiniCPMV4_6VisionModel cannot run: it has one merger, and a square of positions."""
    stages, side = config.stages, config.pretrain_grid
    wanted: list[Wanted] = [
        (("patch_embed",), config.patch_embed == MINICPM, f"patch_embed {MINICPM}"),
        (("pretrain_image_size",), side[0] == side[1], "a pretrain_image_size that is square"),
        (("pre_norm",), not config.pre_norm, "no norm before the blocks"),
        (("norm",), config.norm, "norm: true"),
        (("stages",), len(stages) == TWO_STAGES, "two stages"),
    ]
    for number, stage in enumerate(stages):
        at = ("stages", number)
        wanted += [
            ((*at, "transition"), stage.transition == (MERGER if number else "none"), f"one {MERGER}"),
            ((*at, "qkv_bias"), stage.qkv_bias, "qkv_bias: true"),
            (
                (*at, "mlp"),
                stage.mlp == stages[0].mlp and not stage.mlp.startswith("swiglu"),
                "one mlp without a gate",
            ),
            ((*at, "num_heads"), stage.num_heads == stages[0].num_heads, "one num_heads"),
            ((*at, "mlp_ratio"), stage.mlp_ratio == stages[0].mlp_ratio, "one mlp_ratio"),
            ((*at, "overrides"), not stage.overrides, "blocks of one kind"),
        ]
    yield from cannot_run("MiniCPMV4_6VisionModel of transformers", wanted)


def muse_of_transformers(config: EncoderConfig) -> Iterator[Problem]:
    """What MuseGlimmerVisionModel cannot run: its windows are as large as the grid of its positions, a square."""
    stage, at, grid = config.stages[0], ("stages", 0), config.pretrain_grid
    is_windowed = any(not layer.is_global for layer in config.layers)
    wanted: tuple[Wanted, ...] = (
        (("patch_embed",), config.patch_embed == MUSE, f"patch_embed {MUSE}"),
        (("pretrain_image_size",), grid[0] == grid[1], "a pretrain_image_size that is square"),
        (("in_chans",), config.in_chans == len("RGB"), "in_chans: 3"),
        (("pre_norm",), not config.pre_norm, "no norm before the blocks"),
        (("norm",), not config.norm, "no norm after the blocks"),
        (("stages",), len(config.stages) == 1, "one stage"),
        ((*at, "overrides"), not stage.overrides, "blocks of one kind"),
        ((*at, "qkv_bias"), stage.qkv_bias, "qkv_bias: true"),
        ((*at, "mlp"), not stage.mlp.startswith("swiglu"), "an mlp without a gate"),
        ((*at, "num_kv_heads"), stage.kv_heads == stage.num_heads, "keys and values for each head"),
        (
            (*at, "window_size"),
            stage.window_size == grid or not is_windowed,
            f"window_size {side_or_sides(grid)}",
        ),
    )
    yield from cannot_run("MuseGlimmerVisionModel of transformers", wanted)


FAMILY = Family(
    blocks={
        MINICPM: Block(
            summary="MiniCPM-V 4.6's: ViT's block over each image of a packed sequence.",
            keys=frozenset({"mlp"}),
            layout=PACKED,
            windows=False,
            place=everywhere,
            pads=False,
            taps=("pos_embed",),
            problems=minicpm_problems,
        ),
        MUSE: Block(
            summary="Muse Glimmer's: ViT's block with rotary positions and windows without padding.",
            keys=frozenset({"mlp"}),
            layout=PACKED,
            pads=False,
            taps=("pos_embed",),
            problems=muse_problems,
        ),
    },
    patch_embeds={
        MINICPM: PatchEmbed(
            summary="Patches next to each other by a convolution, all images in one sequence.",
            input_shape=patches_in_a_row,
            makes=PACKED,
        ),
        MUSE: PatchEmbed(
            summary="Flattened patches of two frames by a linear layer without a bias, all images in one sequence.",
            input_shape=flattened_patches,
            makes=PACKED,
        ),
    },
    pos_embeds={
        MINICPM: Part(
            summary="The nearest of the learned vectors of pretrain_image_size, by lookup.",
            keys=frozenset({"pretrain_image_size"}),
            takes=PACKED,
            other_sizes=nearest,
            problems=a_patch_of_pretraining,
        ),
        MUSE: Part(
            summary="Learned vectors of pretrain_image_size, interpolated by lookup; a LayerNorm; the order of tokens by windows, "
            "and rotary positions for the blocks.",
            keys=frozenset({"pretrain_image_size"}),
            takes=PACKED,
            other_sizes=interpolated,
            problems=muse_sizes,
        ),
    },
    transitions={
        MERGER: Transition(
            summary="MiniCPM-V's merger: attention in windows of 2x2 tokens, then an MLP from each window to one token.",
            takes=PACKED,
            stream=merged,
            taps=lambda _: ("pos_embed",),
            slides=(Sliding(kernel=SIDE, stride=SIDE),),
            problems=merger_problems,
        )
    },
    necks={
        SHUFFLE: Part(
            summary="The order of the image again, a LayerNorm, and 2x2 tokens as one of four times the width.",
            takes=PACKED,
            stream=shuffled,
            taps=lambda _: ("pos_embed",),
            problems=shuffle_problems,
        )
    },
    implementations=(
        Implementation(
            library="transformers",
            model="MiniCPMV4_6VisionModel",
            versions=("5.23", "5.24"),
            blocks=(MINICPM,),
            necks=("none",),
            kernels=("sdpa", "eager"),
            difference="copies the ends of images and windows to the device, and computes lengths from them there; holds the ends of images "
            "until its last norm",
            holds=lambda _: {"norm": ("pos_embed",)},
            problems=minicpm_of_transformers,
        ),
        Implementation(
            library="transformers",
            model="MuseGlimmerVisionModel",
            versions=("5.23", "5.24"),
            blocks=(MUSE,),
            necks=(SHUFFLE,),
            kernels=("sdpa", "eager"),
            difference="keeps frequencies in buffers, the order of windows on the host, and to the end what enters its first norm; "
            "positions and their weights are its input",
            problems=muse_of_transformers,
        ),
    ),
)
