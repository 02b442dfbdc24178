"""The size of a layer's score matrices."""

from __future__ import annotations

from math import prod

from ..config.plan import LayerConfig


def score_elements(layer: LayerConfig) -> int:
    """Numbers in the score matrices of one head of one image: queries by keys, over all windows, padding included."""
    area = prod(layer.padded_grid) // prod(layer.windows)
    tokens = area + layer.extra_tokens
    return prod(layer.windows) * (area // layer.q_stride**2 + layer.extra_tokens) * tokens
