"""Where a file's text comes from: a path, what ships with samattn, or standard input."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from ..errors import ConfigError, Problem, did_you_mean
from .kinds import ENCODER, Kind
from .yaml12 import MAX_BYTES, too_large

STDIN = "-"


@dataclass(frozen=True)
class Source:
    """The text of a file, what to call it in messages, its short name, and the folder its paths start from."""

    text: str
    label: str
    name: str
    folder: Path


def read_source(reference: str, folder: Path, where: str, kind: Kind = ENCODER) -> Source:
    """Read what `reference` names: a path (relative to `folder`), what ships with samattn, or "-" for standard input.

    Raises:
        ConfigError: at `where`, or at the file, if there is no such thing or it cannot be read as text.
    """
    if reference == STDIN:
        return Source(
            _decode(sys.stdin.buffer.read(MAX_BYTES + 1), "<stdin>", kind), "<stdin>", "stdin", Path()
        )
    if not reference.strip():
        raise _problem(where, f"the name of a {kind.word} is empty: name a YAML file, or a {kind.shipped}")
    path = folder / reference
    if reference in kind.names() and (path.is_dir() or not path.exists()):
        path = kind.names()[reference]
    text = _decode(_read(path, reference, where, kind), os.path.normpath(path), kind)
    name = "".join(
        letter if letter.isprintable() else "?" for letter in path.stem
    )  # it may be bytes, or escapes
    return Source(text, os.path.normpath(path), name, path.parent)


def _read(path: Path, reference: str, where: str, kind: Kind) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except IsADirectoryError:
        message = f"{reference!r} is a directory: name a YAML file in it, or a {kind.shipped}"
        raise _problem(where, message) from None
    except FileNotFoundError:
        raise _problem(where, _not_found(path, reference, kind)) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise _problem(where, f"{reference!r} cannot be read: {reason}") from None


def _not_found(path: Path, reference: str, kind: Kind) -> str:
    siblings = [entry.name for entry in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
    names = [str(Path(reference).parent / name) for name in siblings] + list(kind.names())
    hint = did_you_mean(reference, names) or f"; {kind.known}"
    return f"there is no file and no {kind.shipped} called {reference!r}{hint}"


def _decode(data: bytes, label: str, kind: Kind) -> str:
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
