"""Where a file's text comes from: a path on disk or in a commit, what ships with samattn, or standard input."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..errors import ConfigError, Problem, did_you_mean
from ..spelling import known_as
from .file_kinds import ENCODER, FileKind
from .globs import is_glob, matches
from .reading import read_file, read_regular_file
from .yaml12 import MAX_BYTES, too_large

STDIN = "-"
LABEL_OF_STDIN = "<stdin>"
MOST_BYTES = 1 << 26
"""Of the largest file that is read: a baseline; configs are far smaller."""
LFS_POINTER = b"version https://git-lfs.github.com/spec/"


class Files(Protocol):
    """Where paths lead: to the disk, or to a commit's files (see `samattn_cli.gate.git`). Both take the same paths."""

    @property
    def which(self) -> str:
        """What messages say behind a path: "" of the disk, " at main"."""

    def read(self, path: Path, most: int) -> bytes:
        """The first `most` bytes of a file.

        Raises:
            OSError: as the disk does; the reason is in words that can be shown.
        """

    def exists(self, path: Path) -> bool:
        """Whether there is a file or a folder."""

    def is_dir(self, path: Path) -> bool:
        """Whether there is a folder."""

    def label(self, path: Path) -> str:
        """What messages call a file: "encoders/h.yaml", "main:encoders/h.yaml"."""

    def glob(self, folder: Path, pattern: str) -> list[Path]:
        """The files under `folder` that match, sorted; `*` is within a folder, `**` any folders, none among them.

        Symbolic links that lead to no file are among them: a file was meant, and reading it says what is wrong.
        """


class Disk:
    """The files as they are now."""

    which = ""

    def read(self, path: Path, most: int) -> bytes:
        """See `Files`."""
        return read_file(path, most)

    def exists(self, path: Path) -> bool:
        """See `Files`."""
        return path.exists()

    def is_dir(self, path: Path) -> bool:
        """See `Files`."""
        return path.is_dir()

    def label(self, path: Path) -> str:
        """See `Files`."""
        return os.path.normpath(path)

    def glob(self, folder: Path, pattern: str) -> list[Path]:
        """See `Files`."""
        start, rest = split_pattern(pattern)
        if not rest:
            return [folder / start] if (folder / start).is_file() else []
        root = folder / start
        depth = None if "**" in rest else rest.count("/")
        return sorted(
            path
            for path in _below(root, depth, self.holds)
            if matches(rest, path.relative_to(root).as_posix())
        )

    def holds(self, path: Path) -> bool:  # noqa: ARG002 - for those that hold less
        """Whether a path may be read here."""
        return True


def _below(root: Path, depth: int | None, holds: Callable[[Path], bool]) -> Iterator[Path]:
    """The files below a folder, and then those behind its links to folders, each folder once; links to no file among them.

    Files have the names that they have without links, where they have one, so that no new link takes that away.

    Args:
        root: the folder.
        depth: folders below it that are looked into; None: all.
        holds: whether a link to a folder is followed; one that is not is as one to no file.

    Raises:
        ConfigError: for a folder that cannot be listed: what is in it would go unseen.
    """

    def refuse(error: OSError) -> None:
        raise _problem(str(error.filename), f"cannot be listed: {error.strerror}")

    queue, seen = [root], set[str]()
    for start in queue:
        for where, folders, names in os.walk(start, onerror=refuse if root.is_dir() else None):
            real, here = os.path.realpath(where), Path(where)
            if real in seen or len(here.relative_to(root).parts) == depth:
                folders.clear()
            links = sorted(here / name for name in folders if (here / name).is_symlink())
            queue += filter(holds, links)
            if real not in seen:
                yield from (here / name for name in names)
                yield from (link for link in links if not holds(link))
            seen.add(real)


class RegularFiles(Disk):
    """The files as they are now, without pipes and devices, whose content would be another each time."""

    def read(self, path: Path, most: int) -> bytes:
        """See `Files`."""
        return read_regular_file(path, most)


DISK = Disk()
REGULAR_FILES = RegularFiles()


def split_pattern(pattern: str) -> tuple[str, str]:
    """The folders at the start of a pattern that are plain names, and the rest: ("encoders", "**/*.yaml").

    A pattern without wildcards is all start; one that ends in `**` means every file below.
    """
    parts = pattern.split("/")
    plain = next((at for at, part in enumerate(parts) if is_glob(part)), len(parts))
    start = "/".join(parts[:plain]) or ("/" if pattern.startswith("/") else "")
    return start, "/".join(parts[plain:] + ["*"] * (parts[-1] == "**"))


@dataclass(frozen=True)
class Source:
    """The text of a file, what to call it in messages, its short name, the folder its paths start from, and where."""

    text: str
    label: str
    name: str
    folder: Path
    files: Files = DISK


def read_source(
    reference: str, folder: Path, where: str, kind: FileKind = ENCODER, files: Files = DISK
) -> Source:
    """Read what `reference` names: a path (relative to `folder`), what ships with samattn, or "-" for standard input.

    What ships is that of the samattn which runs, whatever `files` are.

    Raises:
        ConfigError: at `where`, or at the file, if there is no such thing or it cannot be read as text.
    """
    if reference == STDIN:
        return Source(_decode(_from_stdin(), LABEL_OF_STDIN, kind), LABEL_OF_STDIN, "stdin", Path())
    if not reference.strip():
        raise _problem(where, f"the name of a {kind.word} is empty: name a YAML file, or a {kind.shipped}")
    path = folder / reference
    shipped = known_as(reference, kind.names())
    if shipped and (files.is_dir(path) or not files.exists(path)):
        path, files = kind.names()[shipped], DISK
    data, label = _read(path, reference, where, kind, files), files.label(path)
    text = _decode(data, label, kind)
    name = "".join(
        letter if letter.isprintable() else "?" for letter in path.stem
    )  # it may be bytes, or escapes
    return Source(text, label, name, path.parent, files)


def _from_stdin() -> bytes:
    if sys.stdin is None:
        raise _problem(STDIN, "standard input is closed: give it a config, or name a file")
    try:
        return sys.stdin.buffer.read(MAX_BYTES + 1)
    except OSError as error:
        raise _problem(STDIN, f"standard input cannot be read: {error.strerror or error}") from None


def _read(path: Path, reference: str, where: str, kind: FileKind, files: Files) -> bytes:
    try:
        return files.read(path, MAX_BYTES + 1)
    except IsADirectoryError:
        message = f"{reference!r} is a directory{files.which}: name a YAML file in it, or a {kind.shipped}"
        raise _problem(where, message) from None
    except FileNotFoundError:
        raise _problem(where, _not_found(path, reference, kind, files)) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise _problem(where, f"{reference!r} cannot be read{files.which}: {reason}") from None


def _not_found(path: Path, reference: str, kind: FileKind, files: Files) -> str:
    siblings = [entry.name for entry in files.glob(path.parent, "*.y*ml")]
    names = [str(Path(reference).parent / name) for name in siblings] + list(kind.names())
    shipped = known_as(Path(reference).stem, kind.names())  # "sam_vit_h.yaml", where there is no such file
    hint = did_you_mean(shipped or reference, names) or f"; {kind.known}"
    return f"there is no file{files.which} and no {kind.shipped} called {reference!r}{hint}"


_OUT_OF_LFS = (
    "`git lfs pull` brings it to the disk, but no ref has more than the pointer: keep configs out of LFS"
)


def _decode(data: bytes, label: str, kind: FileKind) -> str:
    if data.startswith(LFS_POINTER):
        raise _problem(label, f"is a pointer of Git LFS, not the file: {_OUT_OF_LFS}")
    if b"\0" in data:
        raise _problem(label, "is a binary file, not YAML text")
    if len(data) > MAX_BYTES:  # before decoding: the cut may lie inside a character
        raise _problem(label, too_large(kind))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = error.object[: error.start].decode()  # error.object: the data without a byte order mark
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        byte = error.object[error.start]
        raise _problem(f"{label}:{line}:{column}", f"is not UTF-8 text (byte 0x{byte:02x})") from None


def _problem(where: str, message: str) -> ConfigError:
    return ConfigError([Problem(where, message)])
