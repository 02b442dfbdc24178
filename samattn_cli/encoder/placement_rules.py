"""Checks that the blocks of an encoder can attend where its keys say, on the grids that they have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..errors import Message
from ..units import format_size
from .keys import Size
from .placement import Placement
from .slots import Problem, side_or_sides
from .tree import Loc

if TYPE_CHECKING:
    from .model import EncoderConfig
    from .plan import LayerConfig


def placement_problems(config: EncoderConfig, number: int) -> Iterator[Problem]:
    """What is wrong with where the blocks of a stage attend, at the first block that has a problem."""
    for layer in (layer for layer in config.kinds if layer.stage_index == number):
        if not _cuts(layer).divides(layer.grid):
            yield _not_divided(config, layer)
            return
        if layer.is_shifted and _is_too_far(layer):
            shift, window = format_size(layer.shift_size), format_size(layer.windows.size)
            message = f"shift_size {shift} must be smaller than the window of block {layer.index}, {window}"
            yield ("stages", number, "shift_size"), Message("shift-too-large", message)
            return


def _cuts(layer: LayerConfig) -> Placement:
    """Where it attends, or, of a global layer, the windows that enter it."""
    return Placement(count=layer.cut) if layer.is_global else layer.placement


def _is_too_far(layer: LayerConfig) -> bool:
    """Whether windows are shifted by their own side or more."""
    sides = zip(layer.shift_size, layer.windows.size, strict=True)
    return any(shift >= side for shift, side in sides)


def _not_divided(config: EncoderConfig, layer: LayerConfig) -> Problem:
    """A grid that is not a whole number of windows."""
    placement, grid = _cuts(layer), layer.grid
    count = placement.count
    message = (
        f"num_windows_side {side_or_sides(count)} does not divide the grid of block {layer.index}, "
        f"{format_size(grid)}, into {placement.words} of one size"
    )
    if grid == config.grid:
        message = f"{message}: use image_size {' or '.join(_near(config, count))}"
    return place_of(config, layer, "num_windows_side"), Message("not-divisible", message)


def _near(config: EncoderConfig, count: Size) -> list[str]:
    """The nearest image sizes, below and above, whose patches are a whole number of windows; sizes of 0 are left out."""
    units = [windows * side for windows, side in zip(count, config.patch, strict=True)]
    sizes = (
        tuple(
            sign * (sign * side // unit) * unit for side, unit in zip(config.image_size, units, strict=True)
        )
        for sign in (1, -1)
    )
    return [side_or_sides(size) for size in sizes if all(size)]


def place_of(config: EncoderConfig, layer: LayerConfig, key: str) -> Loc:
    """The path of a block's key: in the last override that sets it, or in the stage."""
    at = layer.stage_index
    named = [
        number
        for number, override in enumerate(config.stages[at].overrides)
        if layer.index in override.blocks and getattr(override, key) is not None
    ]
    return ("stages", at, "overrides", named[-1], key) if named else ("stages", at, key)
