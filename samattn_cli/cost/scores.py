"""The size of a layer's score matrices."""

from __future__ import annotations

from itertools import product
from math import prod

from ..config.plan import LayerConfig


def score_elements(layer: LayerConfig) -> int:
    """Numbers in the score matrices of one head of one image: queries by keys, over all windows, padding included.

    Where a block attends over the slices of volumes too, each of its tokens has a row for those as well.
    """
    rows, columns = (((side, often), (rest, 1 if rest else 0)) for side, often, rest in layer.window_sides)
    over_grid = sum(m * n * _of_window(layer, h * w) for (h, m), (w, n) in product(rows, columns))
    return over_grid + prod(layer.padded_grid) * layer.stage.depth_slices


def _of_window(layer: LayerConfig, area: int) -> int:
    """Of one window."""
    return (area // layer.q_stride**2 + layer.extra_tokens) * (area + layer.extra_tokens)
