"""Values as people write them, read as what they mean: "896x1536" is a pair, "fp16" is float16, "3,7,15" is a list."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from ..spelling import known_as

Reader = Callable[[Any], Any]
"""A plain value as it is written to what it means; what means nothing else stays as it is."""

PAIR = re.compile(r"(\d{1,18})\s*[xX×]\s*(\d{1,18})")
LIST = re.compile(r"\d{1,18}(\s*,\s*\d{1,18})*")
NONE = "none"


def read_pair(value: Any) -> Any:
    """Height and width: "896x1536" -> (896, 1536)."""
    found = PAIR.fullmatch(value.strip()) if isinstance(value, str) else None
    return (int(found[1]), int(found[2])) if found else value


def read_indexes(value: Any) -> Any:
    """Several numbers: "3,7,15" -> (3, 7, 15), 7 -> (7,), "none" -> ()."""
    if isinstance(value, int) and not isinstance(value, bool):
        return (value,)
    if not isinstance(value, str):
        return value
    if value.strip().lower() == NONE:
        return ()
    return tuple(map(int, value.split(","))) if LIST.fullmatch(value.strip()) else value


def reader_of_words(words: Collection[str], also: Mapping[str, str]) -> Reader:
    """Reads one of some words, whatever its capitals, hyphens and underscores, or another name of one."""

    def read(value: Any) -> Any:
        return (known_as(value, words, also) or value) if isinstance(value, str) else value

    return read
