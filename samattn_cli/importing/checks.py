"""Checks on an import: the keys make a config, and the checkpoint has exactly the weights of that encoder."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import count
from typing import Any

from ..encoder.model import EncoderConfig
from ..errors import ConfigError, ImportFailedError
from ..files.load import load_config
from ..tape.other_sizes import weight_shapes
from .checkpoint import Shapes
from .description import Keys, quoted
from .weights import CheckpointKind, Weights

NUMBERED = re.compile(r"\b(?:[a-z]+_)?(?:blocks|layers)\.([0-9]{1,4})\.")
"""A block or a layer in the name of a weight, and its number."""


def config_of(keys: Keys, label: str) -> EncoderConfig:
    """The config that the keys make; `label` is how messages name their source.

    Raises:
        ImportFailedError: if the keys are not those of a valid encoder.
    """
    try:
        return load_config(keys)
    except ConfigError as error:
        problems = "; ".join(problem.message for problem in error.problems)
        raise ImportFailedError(
            "unsupported-model", f"{label}: samattn cannot express this encoder: {problems}"
        ) from None


def check_blocks(names: Iterable[str], label: str) -> None:
    """Check that the names of weights number blocks and layers from 0, without a gap.

    Raises:
        ImportFailedError: with the first that is missing; the checkpoint is then only a part.
    """
    found: dict[str, dict[int, None]] = {}
    for name in names:
        for match in NUMBERED.finditer(name):
            found.setdefault(name[: match.start(1)], {})[int(match[1])] = None
    for prefix, numbers in found.items():
        missing = next(number for number in count() if number not in numbers)
        if missing < max(numbers):
            raise ImportFailedError(
                "missing-block",
                f"{label}: is incomplete: it has weights of {quoted(f'{prefix}{max(numbers)}')} but none of "
                f"{quoted(f'{prefix}{missing}')}",
            )


def check_activations(kind: CheckpointKind, weights: Weights) -> None:
    """Check that the blocks of a timm model have one activation, and one that samattn has: its weights do not show it.

    Raises:
        ImportFailedError: with the first that is another.
    """
    found = {path: name for path, name in weights.attributes.items() if path.endswith(".act")}
    for path, name in found.items():
        if name not in kind.activations:
            supported = " or ".join(kind.activations)
            raise weights.error(
                "unsupported-model", f"samattn cannot express {path} {name}; it supports {supported}"
            )
    if len(set(found.values())) > 1:
        names = ", ".join(sorted(set(found.values())))
        raise weights.error(
            "unsupported-model", f"its blocks have several activations, {names}; samattn supports one"
        )


def check_differences(
    kinds: Iterable[CheckpointKind], shapes: Shapes, label: str, attributes: Mapping[str, Any]
) -> None:
    """Check that a model has nothing that samattn is known not to express.

    Raises:
        ImportFailedError: with all that it has of this, in words.
    """
    for kind in kinds:
        if found := kind.differences(shapes, attributes):
            raise ImportFailedError(
                "unsupported-model",
                f"{label}: samattn cannot express this vision transformer, because of: {', '.join(found)}; it supports those with "
                "learned positions or the rotary ones of DINOv3, EVA, rope-vit and PE; class token, registers and LayerScale may be there or not",
            )


def check_weights(config: EncoderConfig, weights: Weights) -> None:
    """Compare a checkpoint's weights with those of the encoder that was read from them.

    Raises:
        ImportFailedError: with the first weight that differs.
    """
    expected = weight_shapes(config)
    for name, shape in expected.items():
        if name not in weights:
            raise weights.missing(name)
        if weights.shapes[name] != shape:
            raise weights.error(
                "wrong-weight-shape",
                f"weight {quoted(weights.original_names[name])} has shape {list(weights.shapes[name])}, but by the other "
                f"weights it should have {list(shape)}",
            )
    for name in weights.shapes:
        if name not in expected:
            raise weights.error(
                "unknown-weight",
                f"samattn cannot express weight {quoted(weights.original_names[name])}: none of its encoders has it",
            )
