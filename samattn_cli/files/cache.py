"""The folder of the user's cache in which samattn keeps what takes long to make."""

from __future__ import annotations

import os
import sys
from pathlib import Path

NAME = "samattn"


def cache_folder() -> Path | None:
    """The folder, which may not exist yet; None if the user has no home folder and no variable names another one.

    A relative path in XDG_CACHE_HOME is ignored, as the XDG Base Directory Specification asks for.
    """
    if sys.platform == "win32":
        return _under(os.environ.get("LOCALAPPDATA"), "AppData", "Local")
    if sys.platform == "darwin":
        return _under(None, "Library", "Caches")
    return _under(os.environ.get("XDG_CACHE_HOME"), ".cache")


def _under(named: str | None, *in_home: str) -> Path | None:
    if named and Path(named).is_absolute():
        return Path(named) / NAME
    try:
        home = Path.home()
    except RuntimeError:  # no HOME, and no entry of the user: a container with a user of its own
        return None
    return home.joinpath(*in_home) / NAME if home.is_dir() else None
