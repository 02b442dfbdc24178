"""The files that `-o` asks for: the format of each, and, before the work for it is done, whether it can be written."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from ..errors import OutputError, did_you_mean
from ..render import ALIASES, EXTRAS, FORMATS
from .files import is_written_into


def asked_files(outputs: Sequence[Path] | None, formats: Sequence[str]) -> dict[Path, str]:
    """What `-o [FORMAT=]FILE` asks for: each file and its format, by its name or by the file's extension.

    Raises:
        OutputError: as `file_format`, if a file is given twice, or if what stands before "=" is not a format.
    """
    asked: dict[Path, str] = {}
    for output in outputs or ():
        named, _, rest = str(output).partition("=")
        named = ALIASES.get(named, named)
        if rest and named.isalpha() and named not in formats:
            hint = did_you_mean(named, formats)
            raise OutputError(
                f"-o {output}: {named!r} is not a format: use one of {', '.join(formats)}{hint}"
            )
        path = Path(rest) if named in formats and rest else output
        if path in asked:
            raise OutputError(f"-o {output}: the file {path} is given twice")
        asked[path] = file_format(path, formats) if path is output else _named_format(path, named)
    return asked


def _named_format(path: Path, name: str) -> str:
    _check_extra(path, name)
    check_place(path)
    return name


def file_format(path: Path, formats: Sequence[str]) -> str:
    """The format that a file's extension asks for.

    Raises:
        OutputError: if none does, if the format's extra is missing, or if the file could not be written anyway.
    """
    extensions = {FORMATS[name].extension: name for name in formats if FORMATS[name].extension}
    if path.suffix.lower() not in extensions:
        known = ", ".join(extensions)
        hint = did_you_mean(path.suffix.lower(), extensions)
        raise OutputError(f"-o {path}: the extension says the format and must be one of {known}{hint}")
    return _named_format(path, extensions[path.suffix.lower()])


def _check_extra(path: Path, name: str) -> None:
    """Before the work for a file is done, see that what its format needs is installed."""
    extra = EXTRAS.get(name)
    if extra and find_spec(extra.module) is None:
        raise OutputError(
            f"-o {path}: {extra.whose} the extra '{extra.name}': pip install 'samattn[{extra.name}]'"
        )


def check_place(path: Path) -> None:
    """Before the work for a file is done, see that it can be written.

    Raises:
        OutputError: if it could not be.
    """
    if is_written_into(path):
        return
    if path.is_dir():
        raise OutputError(f"-o {path}: is a directory")
    if not path.parent.is_dir():
        raise OutputError(f"-o {path}: there is no directory {path.parent}")
    if not os.access(path.parent, os.W_OK):
        raise OutputError(f"-o {path}: the directory {path.parent} cannot be written to")
