"""Globs over the paths of configs: ``*`` and ``?`` within a folder's name or a file's, ``**`` any number of folders.

A glob may come with the change that is checked, whose author could choose one that takes hours to match: a regular
expression tries a long name again for each star. Here all ways to match go on together, one step a character.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import takewhile

from .glob_parts import Part, PartKind, parts_of

WILD = frozenset("*?[")
MOST = 4096
"""Characters of a glob: Linux takes no longer path."""


def is_glob(pattern: str) -> bool:
    """Whether it may match more than one path."""
    return not WILD.isdisjoint(pattern)


def matches(pattern: str, path: str) -> bool:
    """Whether a glob matches a path, both with "/" and from the same folder."""
    pattern = pattern.removeprefix("./")
    return _matcher(pattern).matches(path) if is_glob(pattern) else pattern == path


def wrong(pattern: str) -> str:
    """Why a glob cannot be one; "" if it can."""
    if len(pattern) > MOST:
        return f"is not a glob: it has {len(pattern)} characters, and a path has {MOST} at most"
    try:
        parts_of(pattern)
    except ValueError as error:
        return f"is not a glob: {error}"
    return ""


@dataclass(frozen=True)
class Matcher:
    """A glob's parts, and sets of them as bits of a number. The bit after the last part is the end.

    Attributes:
        parts: of the glob.
        prefix: the letters with which it begins.
        ends: by character, the parts after which the next one comes; worked out as characters come.
        stays: the parts that go on after a "/", and after any other character.
        stars: those that may be nothing.
        folders: those that may be nothing together with the next.
    """

    parts: tuple[Part, ...]
    prefix: str
    ends: dict[str, int]
    stays: tuple[int, int]
    stars: int
    folders: int

    def matches(self, path: str) -> bool:
        """Whether it matches a whole path."""
        if not path.startswith(self.prefix):
            return False
        coming = self._with_optional(1 << len(self.prefix))
        for char in path[len(self.prefix) :]:
            coming = self.after(coming, char)
        return bool(coming >> len(self.parts))

    def after(self, coming: int, char: str) -> int:
        """The parts that may come after a character, of those that may come before it."""
        if char not in self.ends:
            self.ends[char] = _bits(part.ends_with(char) for part in self.parts)
        ended, stayed = coming & self.ends[char], coming & self.stays[char != "/"]
        return self._with_optional(ended << 1 | stayed)

    def _with_optional(self, coming: int) -> int:
        """And what comes after parts that may be nothing: after `**/` perhaps a star, after a star none."""
        coming |= (coming & self.folders) << 1 | (coming & self.folders) << 2
        return coming | (coming & self.stars) << 1


@cache
def _matcher(pattern: str) -> Matcher:
    parts = parts_of(pattern)
    letters = takewhile(lambda part: part.kind is PartKind.LETTER, parts)
    paths = _of_kind(parts, PartKind.PATH, PartKind.BELOW)
    return Matcher(
        parts=parts,
        prefix="".join(part.text for part in letters),
        ends={},
        stays=(paths, paths | _of_kind(parts, PartKind.NAME)),
        stars=_of_kind(parts, PartKind.NAME, PartKind.PATH),
        folders=_of_kind(parts, PartKind.FOLDERS),
    )


def _of_kind(parts: Sequence[Part], *kinds: PartKind) -> int:
    return _bits(part.kind in kinds for part in parts)


def _bits(flags: Iterable[bool]) -> int:
    return sum(1 << at for at, flag in enumerate(flags) if flag)
