"""The size of a layer's score matrices."""

from __future__ import annotations

from math import prod

from ..config.plan import LayerConfig


def score_elements(layer: LayerConfig) -> int:
    """Numbers in the score matrices of one head of one image: queries by keys, over all windows, padding included.

    Where a block attends over the slices of volumes too, each of its tokens has a row for those as well.
    """
    area = prod(layer.padded_grid) // prod(layer.windows)
    tokens = area + layer.extra_tokens
    over_grid = prod(layer.windows) * (area // layer.q_stride**2 + layer.extra_tokens) * tokens
    return over_grid + prod(layer.padded_grid) * layer.stage.depth_slices
