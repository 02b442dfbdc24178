"""Files that are written whole or not at all: finished beside their place, then put there."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def replace_file(path: Path, content: bytes) -> None:
    """Put a finished file in a path's place."""
    temporary = staged_file(path, content)
    try:
        temporary.replace(path)
    except BaseException:
        temporary.unlink()
        raise


def staged_file(path: Path, content: bytes) -> Path:
    """A finished file beside a path, to be put in its place."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        temporary.chmod(0o666 & ~_umask())
    except BaseException:
        temporary.unlink()
        raise
    return temporary


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
