"""What the shapes of weights do not tell, as published models have it: read off the presets."""

from __future__ import annotations

from collections.abc import Iterator

from ..encoder.model import EncoderConfig
from ..encoder.presets import presets
from ..files.load import load_config

OUR_OWN = ("custom_encoder", "sam_vit_h_all_global", "sam_vit_h_all_windowed")
"""Presets that are of no published model."""


def published(block: str) -> Iterator[EncoderConfig]:
    """The presets of published models that begin with a block of that kind."""
    for name, path in presets().items():
        if name not in OUR_OWN and _may_have(block, path.read_text(encoding="utf-8")):
            config = load_config(name)
            if config.stages[0].block == block:
                yield config


def _may_have(block: str, text: str) -> bool:
    """Whether a file may be of such blocks: it names them, or names none and so has the default or what it extends."""
    return f"block: {block}" in text or "block:" not in text
