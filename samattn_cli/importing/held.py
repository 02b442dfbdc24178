"""What was read, held to what samattn has: its keys to a config, its weights by name and shape to those that the Tape says."""

from __future__ import annotations

from ..config.load import load_config
from ..config.model import EncoderConfig
from ..cost.encoder import forward
from ..errors import ConfigError, ImportFailedError
from .checkpoint import Shapes
from .given import Keys, cut
from .weights import Weights


def checked(keys: Keys, label: str) -> EncoderConfig:
    """The config of the keys; `label` is what messages call their source.

    Raises:
        ImportFailedError: if they make no encoder.
    """
    try:
        return load_config(keys)
    except ConfigError as error:
        said = "; ".join(problem.message for problem in error.problems)
        raise ImportFailedError(
            f"{label}: describes an encoder that samattn cannot express: {said}"
        ) from None


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
