"""Globs over the paths of configs: ``*`` and ``?`` within a folder's name or a file's, ``**`` any number of folders."""

from __future__ import annotations

import re
from functools import cache

WILD = frozenset("*?[")


def is_glob(pattern: str) -> bool:
    """Whether it may match more than one path."""
    return not WILD.isdisjoint(pattern)


def matches(pattern: str, path: str) -> bool:
    """Whether a glob matches a path, both with "/" and from the same folder."""
    return _regex(pattern.removeprefix("./")).fullmatch(path) is not None


def wrong(pattern: str) -> str:
    """Why a glob cannot be one; "" if it can."""
    try:
        _regex(pattern)
    except re.error as error:
        return f"is no glob: {error.msg}"
    return ""


@cache
def _regex(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"(\*\*/|\*\*|\*|\?|\[[^\]]+\])", pattern)
    return re.compile("".join(map(_part, parts)), re.DOTALL)


def _part(part: str) -> str:
    known = {"**/": r"(?:.*/)?", "**": r".*", "*": r"[^/]*", "?": r"[^/]"}
    if part in known:
        return known[part]
    if part.startswith("[") and part.endswith("]"):
        inner = part[1:-1].replace("\\", r"\\").replace("[", r"\[")
        return f"[^{inner[1:]}]" if inner.startswith("!") and inner[1:] else f"[{inner}]"
    return re.escape(part)
