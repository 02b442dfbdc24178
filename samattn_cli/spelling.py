"""Finds the known name that a misspelt word means, or the names that it may mean."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache

TYPO, LIKENESS = 0.85, 0.6
"""The least similarity by difflib, at most 1, of a word to a name that it misspells, and to one that it may mean."""

SHORTEST = 3
"""The fewest letters of a word to look for inside names."""

LONGEST, MOST_COMPARED = 100, 256
"""The most letters of a word, and the most names, to compare: difflib's time grows with the square of the letters."""

MOST_NAMES = 8
"""The most names that a message lists."""

_IGNORED = str.maketrans("", "", " _-.")


def folded(word: str) -> str:
    """A word without separators and in lower case: "RTX-4090", "rtx 4090" and "rtx_4090" are all "rtx4090"."""
    return word.translate(_IGNORED).lower()


def known_as(word: str, known: Collection[str], also: Mapping[str, str] | None = None) -> str | None:
    """The known name that a word means; None if there is none, or more than one.

    Args:
        word: the word; case, "-", "_", "." and spaces do not matter.
        known: the names.
        also: other names for known names, such as {"fp16": "float16"}.
    """
    if word in known:
        return word
    others = also or {}
    matches = {others.get(each, each) for each in _by_folded((*known, *others)).get(folded(word), ())}
    return matches.pop() if len(matches) == 1 else None


@lru_cache(maxsize=16)
def _by_folded(names: tuple[str, ...]) -> dict[str, list[str]]:
    """The names that are the same when they are folded. A check asks for the same presets thousands of times."""
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(folded(name), []).append(name)
    return alike


def containing(word: str, known: Iterable[str]) -> list[str]:
    """The names that contain a word as it is written, or else in other letters; first those that begin with it."""
    wanted = folded(word)
    names = [name for name in known if wanted in folded(name)] if len(wanted) >= SHORTEST else []
    names = [name for name in names if word.lower() in name.lower()] or names
    return sorted(names, key=lambda name: not folded(name).startswith(wanted))


def alike(word: str, known: Iterable[str]) -> list[str]:
    """The names that a word may mean: none, one, or all that begin with it or contain it."""
    import difflib  # not at start-up, because it is needed only for misspelt words

    names, wanted = list(dict.fromkeys(known)), folded(word)
    if same := [name for name in names if folded(name) == wanted]:
        return same
    if kinds := [
        name for name in names if len(wanted) >= SHORTEST and name.lower().startswith(f"{word.lower()}_")
    ]:
        return kinds
    near = [name for name in names if max(len(word), len(name)) <= LONGEST][:MOST_COMPARED]
    if typo := difflib.get_close_matches(word, near, n=1, cutoff=TYPO):
        return typo
    parts = containing(word, names)
    begin = [name for name in parts if folded(name).startswith(wanted)]
    return begin or parts or _closest(word, near)


def is_like(word: str, known: Iterable[str]) -> bool:
    """Whether a word is similar to one of the names."""
    return bool(_closest(word, known))


def _closest(word: str, names: Iterable[str]) -> list[str]:
    """The name that is most similar to a word, without regard to case; [] if none is similar enough."""
    import difflib

    small = {name.lower(): name for name in names}
    return [small[name] for name in difflib.get_close_matches(word.lower(), small, n=1, cutoff=LIKENESS)]


def either(names: Iterable[str], most: int = MOST_NAMES) -> str:
    """Names in quotation marks: "'a', 'b' or 'c'". It lists at most `most` names, and then how many more there are."""
    quoted = [f"'{name}'" for name in names]
    if len(quoted) > most:
        return f"{', '.join(quoted[:most])} or one of {len(quoted) - most} more"
    return " or ".join(filter(None, (", ".join(quoted[:-1]), *quoted[-1:])))
