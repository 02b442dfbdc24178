"""Splits a glob into its parts: letters, wildcards and character classes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum, auto

from ..records import dataclass

TOKEN = re.compile(r"(?:\*\*+/)+|\*\*+|\*|\?|.", re.DOTALL)


class PartKind(Enum):
    """The kinds of parts."""

    LETTER = auto()
    ONE = auto()
    """``?``: one character of a name."""
    CLASS = auto()
    """``[a-z]``, ``[!a-z]``: one character that is in the class, or is not."""
    NAME = auto()
    """``*``: any characters within a name."""
    PATH = auto()
    """``**``: any characters."""
    FOLDERS = auto()
    """``**/``: nothing, or the next part, which is BELOW."""
    BELOW = auto()
    """Any characters and then a "/"."""


@dataclass(frozen=True)
class Part:
    """One part. `text` is the letter, or the content of the class's brackets."""

    kind: PartKind
    text: str = ""

    def ends_with(self, char: str) -> bool:
        """Whether the part is complete after a character, so that the next part comes after it."""
        if self.kind is PartKind.CLASS:
            return _is_in_class(self.text, char)
        if self.kind is PartKind.ONE:
            return char != "/"
        return self.kind in {PartKind.LETTER, PartKind.BELOW} and char == self.text


def parts_of(pattern: str) -> tuple[Part, ...]:
    """The parts of a glob. A "[" without a "]" is a letter.

    Raises:
        ValueError: for a class with a range that ends before it begins.
    """
    return tuple(_parts(pattern))


def _parts(pattern: str) -> Iterator[Part]:
    at, last = 0, pattern.rfind("]")
    while at < len(pattern):
        end = pattern.find("]", at) if pattern[at] == "[" and at < last else -1
        if end > at + 1:
            yield Part(PartKind.CLASS, _class(pattern[at + 1 : end]))
            at = end + 1
            continue
        token = TOKEN.match(pattern, at)
        assert token is not None  # noqa: S101 - any character matches; this is for the type checker
        yield from _of_token(token[0])
        at = token.end()


def _of_token(token: str) -> tuple[Part, ...]:
    if token.startswith("**"):
        return (
            (Part(PartKind.FOLDERS), Part(PartKind.BELOW, "/"))
            if token.endswith("/")
            else (Part(PartKind.PATH),)
        )
    return (Part({"*": PartKind.NAME, "?": PartKind.ONE}.get(token, PartKind.LETTER), token),)


def _class(inner: str) -> str:
    """The content of the brackets, after a check of its ranges."""
    for low, high in _ranges(inner):
        if high < low:
            raise ValueError(f"bad character range {low}-{high}")
    return inner


def _is_in_class(inner: str, char: str) -> bool:
    return any(low <= char <= high for low, high in _ranges(inner)) != _is_negated(inner)


def _is_negated(inner: str) -> bool:
    return inner[0] in "!^" and len(inner) > 1


def _ranges(inner: str) -> Iterator[tuple[str, str]]:
    """The first and last character of each range; for a single character, the character twice."""
    at = int(_is_negated(inner))
    while at < len(inner):
        to = at + 2 if inner[at + 1 : at + 2] == "-" and at + 2 < len(inner) else at
        yield inner[at], inner[to]
        at = to + 1
