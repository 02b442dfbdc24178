"""Numbered parts in the values of keys: "blocks.7", "blocks.24-31"."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..errors import Message
from ..patterns import pattern

BLOCK = "blocks"

RANGE = pattern(r"(?P<container>[a-z_]+)\.(?P<first>\d{1,9})(-(?P<last>\d{1,9}))?")


def ends(match: re.Match[str]) -> tuple[int, int]:
    """The first and the last number of a range."""
    return int(match["first"]), int(match["last"] or match["first"])


def numbered(container: str, names: Sequence[str]) -> list[str]:
    """The names in a container: those of all blocks in "blocks"."""
    return [name for name in names if name.rpartition(".")[0] == container]


def problem_of_range(key: str, entry: str, match: re.Match[str], names: Sequence[str]) -> Message | None:
    """What is wrong with a range in the value of a key, where its container has these names."""
    first, last = ends(match)
    numbers = [int(name.rpartition(".")[2]) for name in names]
    container, low, high = match["container"], numbers[0], numbers[-1]
    if last < first:
        return Message(
            "out-of-range", f"{key}: {entry!r} ends before it begins: use {container}.{last}-{first}"
        )
    if first >= low and last <= high:
        return None
    return Message(
        "out-of-range", f"{key}: {entry!r} goes beyond this encoder, which has {container}.{low}-{high}"
    )
