"""A checkpoint held to the config that was read from it: the encoder's weights by name and shape, as the Tape says them."""

from __future__ import annotations

from ..config.model import EncoderConfig
from ..cost.encoder import forward
from .checkpoint import Shapes
from .given import cut
from .weights import Weights


def hold(config: EncoderConfig, weights: Weights) -> None:
    """Compare a checkpoint's weights with those of the encoder that was read from them.

    Raises:
        ImportFailedError: with the first weight that differs.
    """
    claimed = weights_of(config)
    for name, shape in claimed.items():
        if name not in weights:
            raise weights.unfit(
                f"has no weight {name!r} (samattn's name): it is incomplete, or of another model"
            )
        if weights.shapes[name] != shape:
            raise weights.unfit(
                f"its weight {cut(weights.theirs[name])} is {list(weights.shapes[name])}, but in the encoder that the "
                f"others describe it is {list(shape)}"
            )
    for name in weights.shapes:
        if name not in claimed:
            raise weights.unfit(
                f"has a weight {cut(weights.theirs[name])}, which samattn cannot express: its encoder has none such"
            )


def weights_of(config: EncoderConfig) -> Shapes:
    """Name to shape of each weight, as the Tape says."""
    return {
        segment.qualified(weight.name): tuple(map(int, weight.shape))
        for segment in forward(config).segments
        for weight in segment.recording.parameters
    }
