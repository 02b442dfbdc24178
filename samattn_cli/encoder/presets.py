"""The YAML files that ship with samattn: encoder configs in `configs/` and devices in `samattn_cli/devices/`."""

from __future__ import annotations

from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent


@cache
def presets() -> dict[str, Path]:
    """The name of each preset and its file. In a wheel the folder is inside the package, in a checkout next to it."""
    shipped = _PACKAGE / "configs"
    return _yaml_files(shipped if shipped.is_dir() else _PACKAGE.parent / "configs")


@cache
def devices() -> dict[str, Path]:
    """The name of each device and its file."""
    return _yaml_files(_PACKAGE / "devices")


def _yaml_files(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}
