"""A checkpoint held to the config that was read from it: the encoder's weights by name and shape, as the Tape says them."""

from __future__ import annotations

from ..config.model import EncoderConfig
from ..cost.encoder import forward
from ..errors import ImportFailedError
from .checkpoint import Shapes
from .given import cut


def hold(config: EncoderConfig, shapes: Shapes, theirs: dict[str, str], label: str) -> None:
    """Compare weights by samattn's names with those of the encoder.

    Args:
        config: what was read from them.
        shapes: the checkpoint's, by samattn's names.
        theirs: samattn's names -> those of the checkpoint.
        label: what messages call the checkpoint.

    Raises:
        ImportFailedError: with the first weight that differs.
    """
    claimed = weights_of(config)
    for name, shape in claimed.items():
        if name not in shapes:
            raise ImportFailedError(
                f"{label}: has no weight {name!r} (samattn's name): it is incomplete, or of another model"
            )
        if shapes[name] != shape:
            raise ImportFailedError(
                f"{label}: its weight {cut(theirs[name])} is {list(shapes[name])}, but in the encoder that the others "
                f"describe it is {list(shape)}"
            )
    for name in shapes:
        if name not in claimed:
            raise ImportFailedError(
                f"{label}: has a weight {cut(theirs[name])}, which samattn cannot express: its encoder has none such"
            )


def weights_of(config: EncoderConfig) -> Shapes:
    """Name to shape of each weight, as the Tape says."""
    return {
        segment.qualified(weight.name): tuple(map(int, weight.shape))
        for segment in forward(config).segments
        for weight in segment.recording.parameters
    }
