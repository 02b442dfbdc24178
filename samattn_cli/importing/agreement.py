"""What was read, held to what samattn has: its keys to a config, its weights by name and shape to those that the Tape says."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import count

from ..encoder.model import EncoderConfig
from ..errors import ConfigError, ImportFailedError
from ..files.load import load_config
from ..tape.encoder import forward
from .checkpoint import Shapes
from .description import Keys, cut
from .weights import Weights

NUMBERED = re.compile(r"\b(?:[a-z]+_)?(?:blocks|layers)\.([0-9]{1,4})\.")
"""A block or a layer in the name of a weight, and its number."""


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


def no_block_missing(names: Iterable[str], label: str) -> None:
    """See that the names of weights number blocks and layers from 0 on, and leave none out.

    Raises:
        ImportFailedError: with the first that is missing: its checkpoint is a part of one.
    """
    found: dict[str, dict[int, None]] = {}
    for name in names:
        for match in NUMBERED.finditer(name):
            found.setdefault(name[: match.start(1)], {})[int(match[1])] = None
    for before, numbers in found.items():
        lost = next(number for number in count() if number not in numbers)
        if lost < max(numbers):
            raise ImportFailedError(
                f"{label}: has weights of {cut(f'{before}{max(numbers)}')} but none of {cut(f'{before}{lost}')}: it is "
                "incomplete"
            )


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
                f"has a weight {cut(weights.theirs[name])}, which samattn cannot express: no encoder that it knows has it"
            )


def weights_of(config: EncoderConfig) -> Shapes:
    """Name to shape of each weight, as the Tape says."""
    return {
        segment.qualified(weight.name): tuple(map(int, weight.shape))
        for segment in forward(config).segments
        for weight in segment.recording.parameters
    }
