"""The YAML of a preset or device that ships with samattn, found by its name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..errors import UsageError, did_you_mean
from ..spelling import containing, known_as


def text_of(word: str, shown_as: str, files: Mapping[str, Path], what: str) -> str:
    """The text of the file that a word names.

    Args:
        word: a name, also in other letters.
        shown_as: what messages call it: "--show sam", "sam".
        files: the files by their names.
        what: "preset" or "device".

    Raises:
        UsageError: if there is no such file, with the names that contain the word, or the most similar name.
    """
    name = known_as(word, files)
    if name is not None:
        return files[name].read_text(encoding="utf-8")
    within = containing(word, files)
    if len(within) > 1:
        raise UsageError(
            "ambiguous-name", f"{shown_as}: {len(within)} {what}s contain this name: {', '.join(within)}"
        )
    hint = did_you_mean(word, files) or f"; choose from {', '.join(files)}"
    raise UsageError("unknown-name", f"{shown_as}: unknown {what}{hint}")


def wanted_name(name: str | None, show: str | None) -> tuple[str, str] | None:
    """The name to show, and what messages call it; None if all are to be listed.

    Raises:
        UsageError: if both the argument and the option are given.
    """
    if name is not None and show is not None:
        raise UsageError("given-twice", f"{name} --show {show}: give only one of them")
    if name is not None:
        return name, name
    return None if show is None else (show, f"--show {show}")
