"""Printing what ships with samattn: the YAML of a preset or of a device, found by its name or a part of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..errors import UsageError, did_you_mean
from ..spelling import containing, known_as


def text_of(word: str, shown_as: str, files: Mapping[str, Path], what: str) -> str:
    """The text of the file that a word names.

    Args:
        word: as it was given.
        shown_as: what messages call it: "--show sam", "sam".
        files: by their names.
        what: one of them is, in a word.

    Raises:
        UsageError: if there is none, with those that contain the word, or the one that is most like it.
    """
    name = known_as(word, files)
    if name is not None:
        return files[name].read_text(encoding="utf-8")
    within = containing(word, files)
    if len(within) > 1:
        raise UsageError(f"{shown_as}: {len(within)} {what}s have that in their names: {', '.join(within)}")
    hint = did_you_mean(word, files) or f": there are {', '.join(files)}"
    raise UsageError(f"{shown_as}: there is no such {what}{hint}")


def asked_for(name: str | None, show: str | None) -> tuple[str, str] | None:
    """What is to be shown, and what messages call that; None if all are to be listed.

    Raises:
        UsageError: if it is named twice.
    """
    if name is not None and show is not None:
        raise UsageError(f"{name} --show {show}: name one")
    if name is not None:
        return name, name
    return None if show is None else (show, f"--show {show}")
