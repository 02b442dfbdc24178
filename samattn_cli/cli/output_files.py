"""The files of `-o`: the format of each, and a check that it can be written, before any work is done."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path

from ..errors import OutputError, did_you_mean
from ..render import ALIASES, EXTRAS, FORMATS
from .files import is_written_into


def output_files(outputs: Sequence[Path] | None, formats: Sequence[str]) -> dict[Path, str]:
    """Each file of `-o [FORMAT=]FILE` and its format, which is FORMAT or follows from the file's extension.

    Raises:
        OutputError: if a file is named twice, if FORMAT is not a format, and as `file_format`.
    """
    asked: dict[Path, str] = {}
    for output in outputs or ():
        named, _, rest = str(output).partition("=")
        named = ALIASES.get(named, named)
        if rest and named.isalpha() and named not in formats:
            hint = did_you_mean(named, formats)
            raise OutputError(
                "unknown-format",
                f"-o {output}: unknown format {named!r}; choose from {', '.join(formats)}{hint}",
            )
        path = Path(rest) if named in formats and rest else output
        if path in asked:
            raise OutputError("given-twice", f"-o {output}: the file {path} is given twice")
        asked[path] = file_format(path, formats) if path is output else _named_format(path, named)
    return asked


def _named_format(path: Path, name: str) -> str:
    _check_extra(path, name)
    check_writable(path)
    return name


def file_format(path: Path, formats: Sequence[str]) -> str:
    """The format of a file's extension.

    Raises:
        OutputError: if no format has it, if the format needs an extra that is not installed, or if the file cannot be
            written.
    """
    extensions = {FORMATS[name].extension: name for name in formats if FORMATS[name].extension}
    if path.suffix.lower() not in extensions:
        known = ", ".join(extensions)
        of_other_reports = {each.extension for each in FORMATS.values()}
        is_known = path.suffix.lower() in of_other_reports
        hint = "" if is_known else did_you_mean(path.suffix.lower(), extensions)
        named = next((each for each, name in extensions.items() if str(path) in {name, each[1:]}), None)
        hint = f"; to write this format, use -o report{named}" if named else hint
        raise OutputError("unknown-extension", f"-o {path}: the extension must be one of {known}{hint}")
    return _named_format(path, extensions[path.suffix.lower()])


def _check_extra(path: Path, name: str) -> None:
    """Check that the extra that a format needs is installed.

    Raises:
        OutputError: if it is not.
    """
    extra = EXTRAS.get(name)
    if extra and find_spec(extra.module) is None:
        raise OutputError(
            "not-installed",
            f"-o {path}: {extra.whose} the optional dependency '{extra.name}': pip install 'samattn[{extra.name}]'",
        )


def check_apart(path: Path, option: str, outputs: Iterable[Path]) -> None:
    """Check that the file of an option is not also a file of `-o`, by that name, another one, or a link.

    Raises:
        OutputError: if it is.
    """
    if any(path.resolve() == output.resolve() for output in outputs):
        raise OutputError("given-twice", f"{option} {path}: the file {path} is also given with -o")


def check_writable(path: Path, option: str = "-o") -> None:
    """Check that the file of an option can be written.

    Raises:
        OutputError: if it cannot.
    """
    if is_written_into(path):
        return
    if path.is_dir():
        raise OutputError("is-a-directory", f"{option} {path}: is a directory")
    if not path.parent.is_dir():
        raise OutputError("no-such-directory", f"{option} {path}: no such directory: {path.parent}")
    if not os.access(path.parent, os.W_OK):
        raise OutputError(
            "not-writable", f"{option} {path}: no permission to write in the directory {path.parent}"
        )
