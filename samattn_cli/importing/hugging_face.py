"""Hugging Face's config.json, read by the family that knows its model_type."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from ..errors import ImportFailedError, did_you_mean
from . import attention, dtype
from .checks import config_of
from .description import Description, Keys, quoted
from .families import hugging_face, transformers_differences, unusable_families
from .implementation import of_library

LIBRARY = "transformers"
MOST_BYTES = 10 << 20
"""Of a config.json; those of real models have a few kilobytes."""


def read_config_json(path: Path) -> tuple[Keys, Description]:
    """The config's keys, and the description that they are read from.

    Raises:
        ImportFailedError: if the file is damaged, of an unknown model, or says what samattn cannot express.
    """
    description = _description(path)
    model_type = _model_type(description)
    keys = dtype.of_transformers(hugging_face()[model_type](description), description)
    config = config_of(keys, str(path))
    description.notes.extend(description.misspelt())
    if (differences := transformers_differences().get(model_type)) is not None:
        description.warnings.extend(differences(config))
    keys = attention.of_transformers(keys, config, description, model_type)
    return of_library(keys, LIBRARY, str(path)), description


def _model_type(description: Description) -> str:
    word = description.entries.get("model_type")
    known_types = hugging_face()
    if isinstance(word, str) and word in known_types:
        return word
    hint = isinstance(word, str) and did_you_mean(word, known_types)
    what = "has no model_type" if word is None else f"unknown model_type {quoted(word)}"
    known = f"; choose from {', '.join(sorted(known_types))}"
    raise ImportFailedError(
        "unknown-model", f"{description.label}: {what}{hint or known}{unusable_families()}"
    )


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
            f"{path}: is not a model's config.json: it holds a {type(entries).__name__} instead of a mapping",
        )
    return Description(str(path), entries)
