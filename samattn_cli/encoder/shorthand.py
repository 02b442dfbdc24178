"""Shorthand that people write for values: "896x1536" for a pair, "fp16" for float16, "3,7,15" for a list."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from ..patterns import pattern
from ..spelling import known_as

Reader = Callable[[Any], Any]
"""Takes a value as it is written and returns what it means; a value that is not shorthand is returned unchanged."""

PAIR = pattern(r"(\d{1,18})\s*[xX×]\s*(\d{1,18})")
SIZE = pattern(r"\d{1,18}(\s*[xX×]\s*\d{1,18}){1,2}")
LIST = pattern(r"\d{1,18}(\s*,\s*\d{1,18})*")
NONE = "none"


def read_pair(value: Any) -> Any:
    """Height and width: "896x1536" -> (896, 1536)."""
    match = PAIR.fullmatch(value.strip()) if isinstance(value, str) else None
    return (int(match[1]), int(match[2])) if match else value


def read_size(value: Any) -> Any:
    """Two or three sides: "896x1536" -> (896, 1536), "16x224x224" -> (16, 224, 224)."""
    is_size = isinstance(value, str) and SIZE.fullmatch(value.strip())
    return tuple(map(int, re.split(r"[xX×]", value))) if is_size else value


def read_indexes(value: Any) -> Any:
    """A list of numbers: "3,7,15" -> (3, 7, 15), 7 -> (7,), "none" -> ()."""
    if isinstance(value, int) and not isinstance(value, bool):
        return (value,)
    if not isinstance(value, str):
        return value
    if value.strip().lower() == NONE:
        return ()
    return tuple(map(int, value.split(","))) if LIST.fullmatch(value.strip()) else value


def reader_of_words(words: Collection[str], also: Mapping[str, str]) -> Reader:
    """A reader of the words in `words`, in any case and with or without hyphens and underscores; `also` has other names."""

    def read(value: Any) -> Any:
        return (known_as(value, words, also) or value) if isinstance(value, str) else value

    return read
