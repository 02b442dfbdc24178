"""What each family's descriptions and checkpoints say, a file each; nothing lists them.

A file has `HUGGING_FACE`, model_type to what reads the description, and `CHECKPOINTS`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pkgutil import iter_modules

from ..given import Given, Keys
from ..weights import Checkpoint

_FAMILIES = [import_module(f"{__name__}.{name}") for name in sorted(m.name for m in iter_modules(__path__))]

HUGGING_FACE: dict[str, Callable[[Given], Keys]] = {
    word: read for family in _FAMILIES for word, read in getattr(family, "HUGGING_FACE", {}).items()
}
CHECKPOINTS: tuple[Checkpoint, ...] = tuple(
    kind for family in _FAMILIES for kind in getattr(family, "CHECKPOINTS", ())
)
