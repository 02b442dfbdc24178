"""The nearest image sizes at which windows have no padding."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import lcm

from ..records import replace
from .keys import Size
from .model import EncoderConfig
from .plan_rules import problems_of_plan

MOST_STEPS = 128
"""How many patches smaller or larger a side may become in the search for one without padding."""


def has_padding(config: EncoderConfig) -> bool:
    """Whether windows of its blocks extend beyond the grid, the image is padded, or pixels beyond the last patch are dropped."""
    return any(config.dropped) or not _fits(config, range(len(config.image_size)))


def nearest_without_padding(
    config: EncoderConfig, *, others: bool = False
) -> tuple[Size | None, Size | None]:
    """The nearest smaller and larger image without padding, in whole patches; a square for a square image.

    Axes with equal sides keep equal sides: height and width, and all axes of a cube. Its own size is both of them if it has
    no padding, unless `others` are wanted.
    """
    below, above = (_nearest(config, step, others=others) for step in (-1, 1))
    return below, above


def _nearest(config: EncoderConfig, step: int, *, others: bool) -> Size | None:
    image = config.image_size
    found = {side: _side(config, _axes_of(image, side), step, others=others) for side in dict.fromkeys(image)}
    size = tuple([found[side] or 0 for side in image])
    return size if all(size) and (len(found) == 1 or _runs(config, size)) else None


def _axes_of(image: Size, side: int) -> tuple[int, ...]:
    """The axes with a side."""
    return tuple(axis for axis, own in enumerate(image) if own == side)


def _runs(config: EncoderConfig, size: Size) -> bool:
    """Whether an encoder runs at a size of which each side was found by itself: Hiera's masking may leave no mask unit."""
    return not any(True for _ in problems_of_plan(replace(config, image_size=size)))


def _side(config: EncoderConfig, axes: tuple[int, ...], step: int, *, others: bool) -> int | None:
    """The nearest side without padding along some axes; None if there is none."""
    present = config.image_size[axes[0]]
    patch = lcm(*(config.patch[axis] for axis in axes))
    for side in _candidates(present, patch, step):
        size = tuple([side if axis in axes else own for axis, own in enumerate(config.image_size)])
        other = replace(config, image_size=size)
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


def _fits(config: EncoderConfig, axes: Iterable[int]) -> bool:
    return all(config.padded_size[axis] == config.image_size[axis] for axis in axes) and all(
        layer.padded_grid[axis] == layer.grid[axis] for layer in config.layers for axis in axes
    )
