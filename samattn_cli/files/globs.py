"""Globs for the paths of configs: ``*`` and ``?`` match within one name, ``**`` matches any number of folders.

The author of a change that is checked may choose the globs, so no glob may take hours to match. A regular expression
starts again for each star. Here all possible matches advance together, one step for each character.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from itertools import takewhile

from ..errors import Message
from ..records import dataclass
from .glob_parts import Part, PartKind, parts_of

WILD = frozenset("*?[")
MOST = 4096
"""The most characters of a glob: paths on Linux are not longer."""


def is_glob(pattern: str) -> bool:
    """Whether it may match more than one path."""
    return not WILD.isdisjoint(pattern)


def matches(pattern: str, path: str) -> bool:
    """Whether a glob matches a path; both use "/" and start from the same folder."""
    pattern = pattern.removeprefix("./")
    return _matcher(pattern).matches(path) if is_glob(pattern) else pattern == path


def glob_problem(pattern: str) -> Message | None:
    """What is wrong with a glob, to follow the glob in a message; None if nothing is."""
    if len(pattern) > MOST:
        message = f"is not a glob: it has {len(pattern)} characters, and a path has at most {MOST}"
        return Message("not-a-glob", message)
    try:
        parts_of(pattern)
    except ValueError as error:
        return Message("not-a-glob", f"is not a glob: {error}")
    return None


@dataclass(frozen=True)
class Matcher:
    """A finite automaton for a glob. A set of its parts is a number with one bit for each; the bit after the last is the end.

    Attributes:
        parts: the parts of the glob.
        prefix: the letters that the glob begins with.
        ends: for each character, the parts that are complete after it; filled in when a character first occurs.
        stays: the parts that continue after a "/", and after any other character.
        stars: the parts that may match nothing.
        folders: the parts that may match nothing together with the next part.
    """

    parts: tuple[Part, ...]
    prefix: str
    ends: dict[str, int]
    stays: tuple[int, int]
    stars: int
    folders: int

    def matches(self, path: str) -> bool:
        """Whether the glob matches the whole path."""
        if not path.startswith(self.prefix):
            return False
        coming = self._with_optional(1 << len(self.prefix))
        for char in path[len(self.prefix) :]:
            coming = self.after(coming, char)
        return bool(coming >> len(self.parts))

    def after(self, coming: int, char: str) -> int:
        """The parts that may come next after a character, if those of `coming` may come before it."""
        if char not in self.ends:
            self.ends[char] = _bits(part.ends_with(char) for part in self.parts)
        ended, stayed = coming & self.ends[char], coming & self.stays[char != "/"]
        return self._with_optional(ended << 1 | stayed)

    def _with_optional(self, coming: int) -> int:
        """`coming`, and the parts after those that may match nothing. After `**/` may come a star, never after a star."""
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
