"""The files of one repository: a change that is checked must not make samattn read files outside its repository."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ..errors import ConfigError, Message, Problem
from ..files.sources import REGULAR_FILES, Files, RegularFiles, split_pattern
from ..records import dataclass

WORKSPACES = ("GITHUB_WORKSPACE", "CI_PROJECT_DIR")
"""The variables in which GitHub and GitLab name the checkout, for one without a .git folder."""


def root_around(folder: Path, environ: Mapping[str, str]) -> Path | None:
    """The repository that contains a folder, else CI's checkout that does; None if there is neither.

    Git is not run: it may not be installed, or may not trust the folder.

    Args:
        folder: its real path.
        environ: the environment.
    """
    root = next((path for path in (folder, *folder.parents) if os.path.exists(path / ".git")), None)  # noqa: PTH110 - never raises
    return root or _workspace(folder, environ)


def _workspace(folder: Path, environ: Mapping[str, str]) -> Path | None:
    """The real path of CI's checkout, if the folder is in it."""
    named = (Path(os.path.realpath(environ[name])) for name in WORKSPACES if environ.get(name))
    return next((path for path in named if folder.is_relative_to(path)), None)


def files_around(folder: Path) -> Files:
    """The files of the repository that contains a folder; all files of the disk, if there is none."""
    root = root_around(Path(os.path.realpath(folder)), os.environ)
    return Within(root) if root else REGULAR_FILES


@dataclass(frozen=True)
class Within(RegularFiles):
    """See `Files`: the files on the disk that are in the folder `root` after links are followed."""

    root: Path

    def holds(self, path: Path) -> bool:
        """See `Disk`."""
        real = f"{os.path.realpath(path)}{os.sep}"
        return real.startswith(f"{str(self.root).rstrip(os.sep)}{os.sep}")

    def read(self, path: Path, most: int) -> bytes:
        """See `Files`."""
        if not self.holds(path):
            raise OSError(self._outside(path))
        return super().read(path, most)

    def glob(self, folder: Path, pattern: str) -> list[Path]:
        """See `Files`.

        Raises:
            ConfigError: if the pattern leads outside.
        """
        start = folder / split_pattern(pattern)[0]
        if not self.holds(start):
            raise ConfigError([Problem(repr(pattern), Message("outside-repository", self._outside(start)))])
        return super().glob(folder, pattern)

    def _outside(self, path: Path) -> str:
        return f"{os.path.realpath(path)} is outside the repository {self.root}"
