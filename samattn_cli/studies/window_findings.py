"""Findings about windows over three axes: how large their masks are, and what becomes of them on a small grid."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from ..encoder.model import EncoderConfig
from ..encoder.placement import each_is
from ..encoder.plan import LayerConfig
from ..encoder.registry import REFERENCE
from ..reports.analysis import Finding, Totals
from ..units import ITEM_BYTES, format_bytes, format_percent, format_size, format_things, ranges

WORTH_NAMING = 0.25
"""Share of the weights' bytes from which on masks are named."""


def of_windows(config: EncoderConfig, totals: Totals) -> Iterator[Finding]:
    """The findings about the windows of an encoder."""
    if config.implementation == REFERENCE:
        yield from _masks(config, totals)
    yield from _shrunk(config)


def _masks(config: EncoderConfig, totals: Totals) -> Iterator[Finding]:
    """Masks of shifted windows, which each shifted block keeps as a buffer: they grow with the square of a window's tokens."""
    shifted = config.layers_that(lambda layer: layer.is_shifted)
    nbytes = sum(map(_mask_elements, shifted)) * ITEM_BYTES[config.run.dtype]
    if nbytes < WORTH_NAMING * totals.weights_bytes:
        return
    largest = max(shifted, key=_mask_elements)
    tokens = prod(largest.windows.size)
    yield Finding(
        "shift-masks",
        f"The masks of shifted windows take {format_bytes(nbytes)} in {format_things(len(shifted), 'block')}, "
        f"{format_percent(nbytes / totals.weights_bytes)} of what the weights take: {largest.name} has "
        f"{largest.windows.number:,} windows of {format_size(largest.windows.size)}, and {tokens:,} x {tokens:,} numbers for each.",
    )


def _mask_elements(layer: LayerConfig) -> int:
    return layer.windows.number * prod(layer.windows.size) ** 2


def _shrunk(config: EncoderConfig) -> Iterator[Finding]:
    """Windows that a small grid shortens along height or width: biases are then not those of the tokens' offsets."""
    shrunk = config.layers_that(lambda layer: len(layer.grid) > 2 and _is_shrunk(layer))  # noqa: PLR2004 - of videos
    if not shrunk:
        return
    first, which = shrunk[0], ranges([layer.index for layer in shrunk])
    yield Finding(
        "window-shrinks",
        f"In layers {which} the window, {format_size(first.stage.window_size)}, is longer than the grid and becomes "
        f"{format_size(first.windows.size)}. The table of relative positions stays that of the whole window, and its index is cut "
        f"to the first {prod(first.windows.size)} tokens, as in Video Swin, torchvision and MONAI: if height or width shrinks, a "
        "bias is not that of the offset of its tokens.",
    )


def _is_shrunk(layer: LayerConfig) -> bool:
    """Whether another axis than the first is shorter than in the window of its stage."""
    whole = layer.stage.window_size
    return layer.is_windowed and not each_is(0, whole) and layer.windows.size[1:] != whole[1:]
