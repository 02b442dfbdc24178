"""Reads the text of a file from a path on disk or in a commit, from what ships with samattn, or from standard input."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from ..errors import ConfigError, Message, Problem, did_you_mean
from ..records import dataclass
from ..spelling import known_as
from .file_kinds import ENCODER, FileKind
from .globs import is_glob, matches
from .reading import read_file, read_regular_file
from .yaml12 import MAX_BYTES, too_large

STDIN = "-"
LABEL_OF_STDIN = "<stdin>"
MOST_BYTES = 1 << 26
"""The size of the largest file that is read, a baseline. Configs are far smaller."""
LFS_POINTER = b"version https://git-lfs.github.com/spec/"


class Files(Protocol):
    """A file system: the disk, or the files of a commit (see `samattn_cli.gate.git`). Both take the same paths."""

    @property
    def which(self) -> str:
        """What messages say after a path: "" for the disk, or " at main"."""

    def read(self, path: Path, most: int) -> bytes:
        """The first `most` bytes of a file.

        Raises:
            OSError: as for a file on the disk; its `strerror` can be shown to users.
        """

    def exists(self, path: Path) -> bool:
        """Whether there is a file or a folder."""

    def is_dir(self, path: Path) -> bool:
        """Whether there is a folder."""

    def label(self, path: Path) -> str:
        """What messages call a file: "encoders/h.yaml", "main:encoders/h.yaml"."""

    def glob(self, folder: Path, pattern: str) -> list[Path]:
        """The files under `folder` that match, sorted. `*` matches within a folder, `**` any number of folders.

        A broken symbolic link is included: its author meant a file, and reading it tells what is wrong.
        """


class Disk:
    """The files on the disk as they are now."""

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
    """The files below a folder, then those that its links to folders lead to. It visits each folder once.

    A file that can be reached without a link keeps that path, so that a new link does not change it. Broken links are
    included.

    Args:
        root: the folder.
        depth: how many levels of folders to visit below it; None: all.
        holds: whether to follow a link to a folder; if not, it is treated as a broken link.

    Raises:
        ConfigError: for a folder that cannot be listed, because files in it would be missed.
    """

    def refuse(error: OSError) -> None:
        raise _problem(str(error.filename), Message("cannot-list", f"cannot be listed: {error.strerror}"))

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
    """The files on the disk, without pipes and devices, whose content differs each time they are read."""

    def read(self, path: Path, most: int) -> bytes:
        """See `Files`."""
        return read_regular_file(path, most)


DISK = Disk()
REGULAR_FILES = RegularFiles()


def split_pattern(pattern: str) -> tuple[str, str]:
    """The folders at the start of a pattern that are plain names, and the rest: ("encoders", "**/*.yaml").

    A pattern without wildcards has no rest. A pattern that ends in `**` means every file below.
    """
    parts = pattern.split("/")
    plain = next((at for at, part in enumerate(parts) if is_glob(part)), len(parts))
    start = "/".join(parts[:plain]) or ("/" if pattern.startswith("/") else "")
    return start, "/".join(parts[plain:] + ["*"] * (parts[-1] == "**"))


@dataclass(frozen=True)
class Source:
    """The text of a file.

    Attributes:
        text: its content.
        label: what messages call it.
        name: its short name, the default for the key `name`.
        folder: where its relative paths start.
        files: where its paths lead.
    """

    text: str
    label: str
    name: str
    folder: Path
    files: Files = DISK


def read_source(
    reference: str, folder: Path, where: str, kind: FileKind = ENCODER, files: Files = DISK
) -> Source:
    """Read what `reference` names: a path (relative to `folder`), a file that ships with samattn, or "-" for stdin.

    A file that ships with samattn always comes from the running samattn, even if `files` are those of a commit.

    Raises:
        ConfigError: at `where`, or at the file, if it does not exist or cannot be read as text.
    """
    if reference == STDIN:
        return Source(_decode(_from_stdin(), LABEL_OF_STDIN, kind), LABEL_OF_STDIN, "stdin", Path())
    if not reference.strip():
        message = f"the name of a {kind.word} is empty: name a YAML file, or a {kind.shipped}"
        raise _problem(where, Message("empty-name", message))
    path = folder / reference
    shipped = known_as(reference, kind.names())
    if shipped and (files.is_dir(path) or not files.exists(path)):
        path, files = kind.names()[shipped], DISK
    data, label = _read(path, reference, where, kind, files), files.label(path)
    text = _decode(data, label, kind)
    name = "".join(
        letter if letter.isprintable() else "?" for letter in path.stem
    )  # the name may have bytes that are not UTF-8, or escapes
    return Source(text, label, name, path.parent, files)


def _from_stdin() -> bytes:
    if sys.stdin is None:
        message = "standard input is closed: pipe a config into it, or name a file"
        raise _problem(STDIN, Message("stdin-closed", message))
    try:
        return sys.stdin.buffer.read(MAX_BYTES + 1)
    except OSError as error:
        message = f"standard input cannot be read: {error.strerror or error}"
        raise _problem(STDIN, Message("cannot-read", message)) from None


def _read(path: Path, reference: str, where: str, kind: FileKind, files: Files) -> bytes:
    try:
        return files.read(path, MAX_BYTES + 1)
    except IsADirectoryError:
        message = f"{reference!r} is a directory{files.which}{_in_folder(path, reference, kind, files)}"
        raise _problem(where, Message("is-a-directory", message)) from None
    except FileNotFoundError:
        raise _problem(where, _not_found(path, reference, kind, files)) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or str(error)
        message = f"{reference!r} cannot be read{files.which}: {reason}"
        raise _problem(where, Message("cannot-read", message)) from None


def _in_folder(path: Path, reference: str, kind: FileKind, files: Files) -> str:
    """What to name in place of a folder."""
    from .instead import DESCRIPTION, instead_of_folder

    of_model = kind is ENCODER and files.exists(path / DESCRIPTION)
    found = instead_of_folder(reference, files.glob(path, "*.y*ml"), has_description=of_model)
    if of_model:
        return f" {found}"
    return f": {found or 'name a YAML file in it'}, or a {kind.shipped}"


def _not_found(path: Path, reference: str, kind: FileKind, files: Files) -> Message:
    siblings = [entry.name for entry in files.glob(path.parent, "*.y*ml")]
    names = [str(Path(reference).parent / name) for name in siblings] + list(kind.names())
    shipped = known_as(
        Path(reference).stem, kind.names()
    )  # "sam_vit_h.yaml" is not a file, but sam_vit_h is a preset
    from .instead import instead_of_name

    elsewhere = instead_of_name(reference, is_in_folder=files.is_dir(path.parent)) if kind is ENCODER else ""
    hint = elsewhere or did_you_mean(shipped or reference, names) or f"; {kind.known}"
    return Message(
        "file-not-found", f"no file{files.which} and no {kind.shipped} is named {reference!r}{hint}"
    )


_OUT_OF_LFS = (
    "`git lfs pull` downloads it to the disk, but commits only have the pointer: keep configs out of LFS"
)


def _decode(data: bytes, label: str, kind: FileKind) -> str:
    if data.startswith(LFS_POINTER):
        message = f"is a Git LFS pointer, not the file itself: {_OUT_OF_LFS}"
        raise _problem(label, Message("lfs-pointer", message))
    if b"\0" in data:
        raise _problem(label, Message("binary-file", "is a binary file, not YAML text"))
    if len(data) > MAX_BYTES:  # before decoding, because the cut may be inside a character
        raise _problem(label, too_large(kind))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = error.object[: error.start].decode()  # error.object: the data without a byte order mark
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        message = Message("not-utf-8", f"is not UTF-8 text (byte 0x{error.object[error.start]:02x})")
        raise _problem(f"{label}:{line}:{column}", message) from None


def _problem(where: str, message: Message) -> ConfigError:
    return ConfigError([Problem(where, message)])
