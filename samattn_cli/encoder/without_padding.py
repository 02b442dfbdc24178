"""The nearest image sizes at which windows have no padding."""

from __future__ import annotations

from collections.abc import Iterator

from ..records import replace
from .keys import Pair
from .model import EncoderConfig
from .plan_rules import problems_of_plan

MOST_STEPS = 128
"""How many patches smaller or larger a side may become in the search for one without padding."""


def has_padding(config: EncoderConfig) -> bool:
    """Whether windows of its blocks extend beyond the grid, the image is padded, or pixels beyond the last patch are dropped."""
    return any(config.dropped) or not _fits(config, (0, 1))


def nearest_without_padding(
    config: EncoderConfig, *, others: bool = False
) -> tuple[Pair | None, Pair | None]:
    """The nearest smaller and larger image without padding, in whole patches; a square for a square image.

    Its own size is both of them if it has no padding, unless `others` are wanted.
    """
    height, width = config.image_size
    if height == width:
        sides = [_side(config, (0, 1), step, others=others) for step in (-1, 1)]
        return sides[0] and (sides[0], sides[0]), sides[1] and (sides[1], sides[1])  # type: ignore[return-value]
    pairs = [tuple(_side(config, (axis,), step, others=others) for axis in (0, 1)) for step in (-1, 1)]
    below, above = (
        (high, wide) if high and wide and _runs(config, (high, wide)) else None for high, wide in pairs
    )
    return below, above


def _runs(config: EncoderConfig, size: Pair) -> bool:
    """Whether an encoder runs at a size of which each side was found by itself: Hiera's masking may leave no mask unit."""
    return not any(True for _ in problems_of_plan(replace(config, image_size=size)))


def _side(config: EncoderConfig, axes: tuple[int, ...], step: int, *, others: bool) -> int | None:
    """The nearest side without padding along some axes; None if there is none."""
    present = config.image_size[axes[0]]
    for side in _candidates(present, config.patch_size, step):
        height, width = (side if axis in axes else own for axis, own in enumerate(config.image_size))
        other = replace(config, image_size=(height, width))
        if others and side == present:
            continue
        if _fits(other, axes) and not any(True for _ in problems_of_plan(other)):
            return side
    return None


def _candidates(side: int, patch: int, step: int) -> Iterator[int]:
    start = side // patch if step < 0 else -(-side // patch)
    for count in range(MOST_STEPS):
        patches = start + step * count
        if patches < 1:
            return
        yield patches * patch


def _fits(config: EncoderConfig, axes: tuple[int, ...]) -> bool:
    return all(config.padded_size[axis] == config.image_size[axis] for axis in axes) and all(
        layer.padded_grid[axis] == layer.grid[axis] for layer in config.layers for axis in axes
    )
