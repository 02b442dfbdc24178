"""Which repository the working directory is in, without running git: it may not be installed, or not trust the folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ..render.options import Checkout

WORKSPACES = ("GITHUB_WORKSPACE", "CI_PROJECT_DIR")
"""Where GitHub and GitLab say what they checked out, for a checkout without git's own folder."""


def checkout(environ: Mapping[str, str]) -> Checkout | None:
    """The repository around the working directory, else the CI's checkout around it; None where there is neither."""
    folder = Path.cwd()
    root = next((path for path in (folder, *folder.parents) if os.path.exists(path / ".git")), None)  # noqa: PTH110 - never raises
    root = root or _workspace(folder, environ)
    return Checkout(os.fspath(root), os.fspath(folder)) if root else None


def _workspace(folder: Path, environ: Mapping[str, str]) -> Path | None:
    """What a CI says, if the folder is in there; as its real path, as that of the working directory is."""
    named = (Path(os.path.realpath(environ[name])) for name in WORKSPACES if environ.get(name))
    return next((path for path in named if folder.is_relative_to(path)), None)
