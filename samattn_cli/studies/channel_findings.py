"""Findings about layers that attend over channels, as DaViT's do: what they mix."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..reports.analysis import Finding
from ..units import format_things

if TYPE_CHECKING:
    from ..encoder.model import EncoderConfig
    from ..encoder.plan import LayerConfig


def of_channels(config: EncoderConfig) -> Iterator[Finding]:
    """The findings about an encoder's layers over channels."""
    layers = config.layers_that(lambda layer: layer.over_channels)
    if not layers:
        return
    widths = " or ".join(f"{width}x{width}" for width in sorted({_head_width(layer) for layer in layers}))
    yield Finding(
        "channel-attention",
        f"{format_things(len(layers), 'layer')} attend{'s' * (len(layers) == 1)} over channels. Their score matrices are {widths} "
        "for each head at any image size, and their cost grows linearly with the tokens. No token attends to another there, but "
        f"each score is a sum over all tokens: after {layers[0].name} every token depends on the whole image.",
    )


def _head_width(layer: LayerConfig) -> int:
    return layer.stage.embed_dim // layer.stage.num_heads
