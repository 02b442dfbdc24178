"""The encoder configs that ship with samattn: the YAML files of `configs/`."""

from __future__ import annotations

from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent


@cache
def presets() -> dict[str, Path]:
    """Preset name to its file. In a wheel the folder lies in the package; in a checkout beside it."""
    shipped = _PACKAGE / "configs"
    folder = shipped if shipped.is_dir() else _PACKAGE.parent / "configs"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}
