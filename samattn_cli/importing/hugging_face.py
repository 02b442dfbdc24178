"""Hugging Face's config.json, read by the family that knows its model_type."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from ..errors import ImportFailedError
from . import attention, dtype
from .checks import config_of
from .description import Description, Keys
from .families import backbones, copies, hugging_face, transformers_differences, unusable_families
from .implementation import of_library
from .parts import encoder_of, is_backbone, unknown

LIBRARY = "transformers"
MOST_BYTES = 10 << 20
"""Of a config.json; those of real models have a few kilobytes."""


def read_config_json(path: Path) -> tuple[Keys, Description]:
    """The config's keys, and the description that they are read from.

    Raises:
        ImportFailedError: if the file is damaged, of an unknown model, or says what samattn cannot express.
    """
    description, known = _description(path), hugging_face()
    found = encoder_of(description, known)
    if found is None:
        raise ImportFailedError(
            "unknown-model", f"{description.label}: {unknown(description, known)}{unusable_families()}"
        )
    model_type, encoder = found
    keys = known[model_type](encoder)
    if is_backbone(encoder) and (add := backbones().get(model_type)) is not None:
        keys = add(encoder, keys)
    keys = dtype.of_transformers(keys, description)
    config = config_of(keys, str(path))
    description.notes.extend(description.misspelt())
    if (differences := transformers_differences().get(model_type)) is not None:
        description.warnings.extend(differences(config))
    keys = attention.of_transformers(keys, config, description, model_type)
    if model_type in copies():
        return keys, description
    return of_library(keys, LIBRARY, str(path)), description


def _description(path: Path) -> Description:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ImportFailedError(
                "file-too-large", f"{path}: is not a config.json: it is larger than {MOST_BYTES >> 20} MiB"
            )
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ImportFailedError("not-json", f"{path}: cannot be read as JSON: {error}") from None
    if not isinstance(entries, Mapping):
        raise ImportFailedError(
            "not-a-description",
            f"{path}: is not a model's config.json: it holds {'null' if entries is None else f'a {type(entries).__name__}'} instead of a mapping",
        )
    return Description(str(path), entries)
