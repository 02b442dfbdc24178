"""Hugging Face's config.json, by its model_type."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from ..errors import ImportFailedError, did_you_mean
from . import attention, dtype
from .agreement import checked
from .description import Given, Keys, cut
from .families import AS_TRANSFORMERS_RUNS, HUGGING_FACE

MOST_BYTES = 10 << 20
"""Of a config.json; those of real models have some kilobytes."""


def described(path: Path) -> tuple[Keys, Given]:
    """The config's keys, and the description that they are from.

    Raises:
        ImportFailedError: if the file is damaged, of an unknown model, or says what samattn cannot express.
    """
    given = _given(path)
    word = given.entries.get("model_type")
    if not isinstance(word, str) or word not in HUGGING_FACE:
        known = ", ".join(sorted(HUGGING_FACE))
        hint = isinstance(word, str) and did_you_mean(word, HUGGING_FACE)
        said = "has no model_type" if word is None else f"model_type {cut(word)} is not known"
        raise ImportFailedError(f"{path}: {said}{hint or f'; known are {known}'}")
    keys = dtype.of_transformers(HUGGING_FACE[word](given), given)
    config = checked(keys, str(path))
    given.notes.extend(given.misspelt())
    given.warnings.extend(AS_TRANSFORMERS_RUNS[word](config) if word in AS_TRANSFORMERS_RUNS else ())
    return attention.of_transformers(keys, config, given, word), given


def _given(path: Path) -> Given:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ImportFailedError(f"{path}: is no config.json: it is larger than {MOST_BYTES >> 20} MiB")
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ImportFailedError(f"{path}: cannot be read as JSON: {error}") from None
    if not isinstance(entries, Mapping):
        raise ImportFailedError(f"{path}: is no description of a model, but a {type(entries).__name__}")
    return Given(str(path), entries)
