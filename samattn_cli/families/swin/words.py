"""Swin Transformer: windows, shifted in every other block, on four grids, each half the size of the one before.

Source: arXiv:2103.14030 and microsoft/Swin-Transformer, models/swin_transformer.py.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from ...encoder.slots import (
    Block,
    Entering,
    Family,
    PatchEmbed,
    Placing,
    Sliding,
    Stream,
    Transition,
    shift_of,
    slid,
)

if TYPE_CHECKING:
    from ...encoder.model import EncoderConfig


def clamped(entering: Entering) -> Placing:
    """The window if the grid is larger; otherwise a square of the grid's shorter side, without a shift.

    A block whose window covers the grid is global. Source: SwinTransformerBlock, which clamps the window to
    ``min(input_resolution)`` before it makes the table of relative positions.
    """
    placement, grid = entering.placement, entering.grid
    if placement.is_global:
        return Placing()
    window = placement.over(grid).size
    if all(side < length for side, length in zip(window, grid, strict=True)):
        return Placing(placement.shifted(shift_of(entering, (window[0] // 2, window[1] // 2))))
    window = (min(window[0], *grid), min(window[1], *grid))
    return Placing() if window == grid else Placing(replace(placement, size=window))


MERGING = (Sliding(kernel=2, stride=2),)
"""2x2 tokens become one."""


def merged(_config: "EncoderConfig", stream: Stream) -> Stream:
    """The stream with half as many tokens high and wide; an odd side is padded."""
    return replace(stream, grid=slid(stream.grid, MERGING))


FAMILY = Family(
    blocks={
        "swin": Block(
            summary="Swin's block: pre-norm, windows shifted in every other block, a bias per relative position.",
            keys=frozenset({"shift_size"}),
            kernels=("eager", "sdpa"),
            place=clamped,
        )
    },
    patch_embeds={
        "patch_norm": PatchEmbed(summary="Non-overlapping patches by a convolution, then a LayerNorm.")
    },
    transitions={
        "patch_merging": Transition(
            summary="Swin's: each 2x2 tokens in one, LayerNorm, then a linear layer.",
            stream=merged,
            slides=MERGING,
        )
    },
)
