"""What the shapes of weights do not tell, as published models have it: read off the presets."""

from __future__ import annotations

from collections.abc import Iterator

from ..config.load import load_config
from ..config.model import EncoderConfig
from ..config.presets import presets


def published(block: str) -> Iterator[EncoderConfig]:
    """The presets that begin with a block of that kind."""
    for name, path in presets().items():
        if f"block: {block}" in path.read_text(encoding="utf-8"):
            config = load_config(name)
            if config.stages[0].block == block:
                yield config
