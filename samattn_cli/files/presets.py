"""Loads a preset that a word names, as it is kept."""

from __future__ import annotations

from pathlib import Path

from ..encoder.kept import config_of, kept_preset
from ..encoder.model import EncoderConfig
from ..encoder.presets import presets
from ..spelling import known_as


def load_preset(word: str) -> EncoderConfig | None:
    """The config of the preset that a word names; None for a file, an unknown name, and a preset that has changed."""
    name = known_as(word, presets())
    if name is None or Path(word).is_file() or (kept := kept_preset(name)) is None:
        return None
    return config_of(kept)


def preset_called(name: str) -> EncoderConfig | None:
    """The config of the preset of this name, if there is one: as it is kept, or read if its file has changed."""
    kept = kept_preset(name)
    if kept is not None:
        return config_of(kept)
    from .load import load_config

    path = presets().get(name)
    return None if path is None else load_config(path)
