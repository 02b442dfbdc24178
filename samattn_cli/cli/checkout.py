"""Which repository the working directory is in, as viewers of reports are to know it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ..gate.within import root_around
from ..render.options import Checkout


def checkout(environ: Mapping[str, str]) -> Checkout | None:
    """The repository around the working directory, else the CI's checkout around it; None where there is neither."""
    folder = Path.cwd()
    root = root_around(folder, environ)
    return Checkout(os.fspath(root), os.fspath(folder)) if root else None
