"""HAT restores images: shifted windows with channel attention next to them, and windows of queries in larger ones of keys.

Source: arXiv:2205.04437 (CVPR 2023: Activating More Pixels in Image Super-Resolution Transformer) and XPixelGroup/HAT,
hat/archs/hat_arch.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ...encoder.keys import Pair
from ...encoder.placement import NO_WINDOW
from ...encoder.slots import Block, Entering, Family, Part, PatchEmbed, Placing, Problem, Transition, by_turns
from ...errors import Message
from ...records import replace
from ...units import format_size
from ..swin.words import another_window, clamped
from ..swinir.words import (
    CONVOLUTION,
    ENLARGED,
    GROUPED,
    enlarged,
    entered,
    group_problems,
    patch_problems,
    reflection_problems,
    shuffle_problems,
)

if TYPE_CHECKING:
    from ...encoder.model import EncoderConfig, StageConfig
    from ...encoder.plan import LayerConfig

HYBRID, OVERLAPPING = "hybrid_attention", "overlapping_cross_attention"
PIXELS, GROUP, NECK = "hat_pixels", "residual_hybrid_group", "hat_pixelshuffle"


def shared_window(config: EncoderConfig) -> Pair | None:
    """The window that the mask and the offsets of all blocks are made for: the first of the stages; None if none has one."""
    return next((stage.window_size for stage in config.stages if stage.window_size != NO_WINDOW), None)


def multiple_of(config: EncoderConfig) -> Pair:
    """The pixels (high, wide) to a multiple of which images are padded."""
    return shared_window(config) or (1, 1)


def reach(stage: StageConfig) -> Pair:
    """The tokens (down, across) by which a window of keys is larger than its window of queries."""
    (height, width), ratio = stage.window_size, stage.overlap_ratio
    return int(height * ratio), int(width * ratio)


@by_turns
def whole_windows(entering: Entering) -> Placing:
    """The window that the stage says, shifted if the grid is larger along both axes; images are padded to whole windows."""
    placement, grid = entering.placement, entering.grid
    if placement.is_global:
        return Placing()
    window = placement.over(grid).size
    if all(side < length for side, length in zip(window, grid, strict=True)):
        return clamped(entering)
    return Placing() if window == grid else Placing(placement)


@by_turns
def reaching(entering: Entering) -> Placing:
    """The window that the stage says, within a larger one of keys."""
    where = entering.placement
    return Placing(where if where.is_global else replace(where, reach=reach(entering.stage)))


def shares(layer: LayerConfig) -> bool:
    """Whether a block takes the offsets that all blocks share; one that is made global has its own."""
    return not layer.is_global and layer.windows.size == layer.stage.window_size


def pixel_problems(config: EncoderConfig, at: int) -> Iterator[Problem]:
    """A patch is a pixel, reflecting pads less than the image has, and one mask is for all blocks."""
    yield from patch_problems(config, at)
    yield from reflection_problems(config, multiple_of(config))
    shared = shared_window(config)
    for number, stage in enumerate(config.stages):
        if stage.window_size not in {NO_WINDOW, shared}:
            message = f"patch_embed {PIXELS} makes one mask for all blocks: use window_size {format_size(shared or NO_WINDOW)}"
            yield ("stages", number, "window_size"), Message("one-window", message)
    yield from overlap_problems(config)


def overlap_problems(config: EncoderConfig) -> Iterator[Problem]:
    """The offsets of larger windows of keys are made once."""
    reaching = [
        number
        for number, stage in enumerate(config.stages)
        if stage.block == OVERLAPPING and stage.window_size == shared_window(config) and is_even(stage)
    ]
    for number in reaching[1:]:
        first, stage = config.stages[reaching[0]], config.stages[number]
        if reach(stage) != reach(first):
            message = (
                f"patch_embed {PIXELS} makes one table of offsets for all blocks {OVERLAPPING}: use overlap_ratio "
                f"{first.overlap_ratio:g}, as in the first of them"
            )
            yield ("stages", number, "overlap_ratio"), Message("one-overlap", message)


def _of_pixels(config: EncoderConfig, number: int) -> Iterator[Problem]:
    first = next(at for at, stage in enumerate(config.stages) if stage.block in {HYBRID, OVERLAPPING})
    if config.patch_embed != PIXELS and number == first:
        message = f"{config.stages[number].block} blocks take the mask and the offsets that patch_embed {PIXELS} makes, not {config.patch_embed}"
        yield ("patch_embed",), Message("block-does-not-fit", message)
    if config.stages[number].overrides and any(
        override.placement is not None and override.placement.size not in {None, shared_window(config)}
        for override in config.stages[number].overrides
    ):
        message = f"patch_embed {PIXELS} makes one mask for all blocks: leave out window_size of overrides, or use 0"
        yield ("stages", number, "overrides"), Message("one-window", message)


def hybrid_problems(config: EncoderConfig, number: int) -> Iterator[Problem]:
    """The narrow convolutions have channels."""
    yield from _of_pixels(config, number)
    stage = config.stages[number]
    for key in ("compress_ratio", "squeeze_factor"):
        if getattr(stage, key) > stage.embed_dim:
            message = f"{key} {getattr(stage, key)} leaves no channel of embed_dim {stage.embed_dim}: use at most {stage.embed_dim}"
            yield ("stages", number, key), Message("no-channels-left", message)


def is_even(stage: StageConfig) -> bool:
    """Whether its windows of keys extend equally far to both sides."""
    return not any(side % 2 for side in reach(stage))


def overlapping_problems(config: EncoderConfig, number: int) -> Iterator[Problem]:
    """Windows of keys extend equally far to both sides."""
    yield from _of_pixels(config, number)
    stage = config.stages[number]
    if not is_even(stage):
        message = (
            f"overlap_ratio {stage.overlap_ratio:g} of a window of {format_size(stage.window_size)} is {format_size(reach(stage))} "
            "tokens, which must be even: half of them lie on each side"
        )
        yield ("stages", number, "overlap_ratio"), Message("overlap-not-even", message)


def neck_problems(config: EncoderConfig, at: int) -> Iterator[Problem]:
    """HAT has one upsampler, and one convolution at the end of a group."""
    yield from shuffle_problems(config, at, (PIXELS,))
    if config.resi_connection != "1conv":
        message = f"neck {NECK} has resi_connection 1conv alone, not {config.resi_connection}"
        yield ("resi_connection",), Message("neck-does-not-fit", message)


FAMILY = Family(
    blocks={
        HYBRID: Block(
            summary="HAT's block (HAB): shifted windows as in Swin, and next to them two convolutions with channel attention.",
            keys=frozenset({"compress_ratio", "squeeze_factor"}),
            kernels=("eager",),
            place=whole_windows,
            taps=("patch_embed",),
            pools=True,
            other_sizes=another_window,
            problems=hybrid_problems,
        ),
        OVERLAPPING: Block(
            summary="HAT's overlapping cross-attention (OCAB): the keys and values of a window come from a larger one around it.",
            keys=frozenset({"overlap_ratio"}),
            kernels=("eager",),
            place=reaching,
            taps=("patch_embed",),
            other_sizes=another_window,
            problems=overlapping_problems,
        ),
    },
    patch_embeds={
        PIXELS: PatchEmbed(
            summary="HAT's: as pixels, and the mask of shifted windows, which each forward makes once for all blocks.",
            multiple=multiple_of,
            problems=pixel_problems,
        )
    },
    transitions={
        GROUP: Transition(
            summary="Ends a residual group of HAT, of one or more stages: tokens are copied to an image, a convolution, and what "
            "entered the group.",
            keys=GROUPED,
            slides=(CONVOLUTION,),
            skips=True,
            problems=group_problems,
        )
    },
    necks={
        NECK: Part(
            summary="Ends HAT's last group; LayerNorm, a convolution, the features of the first one, then 3x3 convolutions, each "
            "of which enlarges 2 or 3 times by pixel shuffle.",
            keys=ENLARGED,
            taps=entered,
            stream=enlarged,
            problems=neck_problems,
        )
    },
)
