"""The repository of the working directory, from whose root reports name files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ..gate.within import root_around
from ..render.options import Checkout


def checkout(environ: Mapping[str, str]) -> Checkout | None:
    """The repository that contains the working directory, else CI's checkout that does; None if there is neither."""
    folder = Path.cwd()
    root = root_around(folder, environ)
    return Checkout(os.fspath(root), os.fspath(folder)) if root else None
