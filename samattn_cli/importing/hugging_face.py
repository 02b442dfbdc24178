"""Hugging Face's config.json, by its model_type."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from ..errors import ImportFailedError, did_you_mean
from .families import HUGGING_FACE
from .given import Given, Keys, cut

MOST_BYTES = 10 << 20
"""Of a config.json; those of real models have some kilobytes."""


def keys_of(path: Path) -> tuple[Keys, list[str]]:
    """The config's keys, and notes on them.

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
    keys = HUGGING_FACE[word](given)
    return keys, [*given.notes, *given.misspelt()]


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
