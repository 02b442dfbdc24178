"""Paths on the disk as paths from the root of a repository, and back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ...errors import GitError


class OutsideError(GitError, OSError):
    """A path is outside the repository. It is also an OSError, so that it is handled like a file that cannot be read."""


def inside_root(root: Path, path: Path) -> str:
    """A path on the disk as a path from the root of the repository.

    Raises:
        OutsideError: if it is outside the repository.
    """
    start, absolute = f"{root}{os.sep}", os.path.join(os.getcwd(), path)  # noqa: PTH109, PTH118 - keeps ".."
    for spelt in _spellings(absolute):
        if f"{os.path.normpath(spelt)}{os.sep}".startswith(start):
            at = spelt if spelt.startswith(start) else os.path.normpath(spelt)
            inside = at[len(start) :] or "."
            if not os.path.normpath(inside).startswith(f"..{os.sep}"):  # out of the repository and back
                return inside
    text = f"{os.path.normpath(absolute)} is outside the repository {root}"
    raise OutsideError("outside-repository", text)


def _spellings(absolute: str) -> Iterator[str]:
    """A path as it is written, and with the links of its folder followed, which few paths need."""
    yield absolute
    folder, name = os.path.split(absolute)
    yield f"{os.path.realpath(folder)}{os.sep}{name}"


def names_inside(root: Path, path: Path) -> list[str]:
    """The path of a file from the root of the repository; if it is a link, also that of its target.

    Raises:
        OutsideError: if the file is outside the repository.
    """
    names = [os.path.normpath(inside_root(root, path))]
    with suppress(OutsideError):
        names.append(os.path.normpath(inside_root(root, Path(os.path.realpath(path)))))
    return names


def on_disk(root: Path, inside: str, like: Path = Path()) -> Path:
    """A path from the root of the repository as a path on the disk: absolute if `like` is, else from the working directory."""
    path = root / inside
    return path if like.is_absolute() else Path(os.path.relpath(path))
