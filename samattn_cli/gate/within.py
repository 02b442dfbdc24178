"""The disk as far as a repository goes: a change under check may not have files read that are not in its repository."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import ConfigError, Problem
from ..files.sources import REGULAR_FILES, Files, RegularFiles, split_pattern

WORKSPACES = ("GITHUB_WORKSPACE", "CI_PROJECT_DIR")
"""Where GitHub and GitLab say what they checked out, for a checkout without git's own folder."""


def root_around(folder: Path, environ: Mapping[str, str]) -> Path | None:
    """The repository around a folder, else the CI's checkout around it; None where there is neither.

    Git is not run: it may not be installed, or not trust the folder.

    Args:
        folder: its real path.
        environ: the environment.
    """
    root = next((path for path in (folder, *folder.parents) if os.path.exists(path / ".git")), None)  # noqa: PTH110 - never raises
    return root or _workspace(folder, environ)


def _workspace(folder: Path, environ: Mapping[str, str]) -> Path | None:
    """What a CI says, if the folder is in there; as its real path, as that of the working directory is."""
    named = (Path(os.path.realpath(environ[name])) for name in WORKSPACES if environ.get(name))
    return next((path for path in named if folder.is_relative_to(path)), None)


def files_around(folder: Path) -> Files:
    """The files of the repository that a folder is in; all files of the disk where it is in none."""
    root = root_around(Path(os.path.realpath(folder)), os.environ)
    return Within(root) if root else REGULAR_FILES


@dataclass(frozen=True)
class Within(RegularFiles):
    """See `Files`: the disk, without what lies outside of the folder `root`, links followed."""

    root: Path

    def holds(self, path: Path) -> bool:
        """See `Disk`."""
        real = f"{os.path.realpath(path)}{os.sep}"
        return real.startswith(f"{str(self.root).rstrip(os.sep)}{os.sep}")

    def read(self, path: Path, most: int) -> bytes:
        """See `Files`."""
        if not self.holds(path):
            raise OSError(self._lies_outside(path))
        return super().read(path, most)

    def glob(self, folder: Path, pattern: str) -> list[Path]:
        """See `Files`.

        Raises:
            ConfigError: if the pattern leads outside.
        """
        start = folder / split_pattern(pattern)[0]
        if not self.holds(start):
            raise ConfigError([Problem(repr(pattern), self._lies_outside(start))])
        return super().glob(folder, pattern)

    def _lies_outside(self, path: Path) -> str:
        return f"{os.path.realpath(path)} lies outside of the repository {self.root}"
