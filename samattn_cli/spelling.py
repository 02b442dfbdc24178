"""Names as people write them: the name that a word surely means, and the names that it may have been meant to be."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

TYPO, LIKENESS = 0.85, 0.6
"""How alike (of 1, by difflib) a name is to a word of which it is a misspelling, and to one that it may be meant by."""

SHORTEST = 3
"""Letters of a word that is worth looking for inside of names."""

LONGEST, MOST_COMPARED = 100, 256
"""Letters of a word, and names, that likeness is looked for in: for each name difflib takes the square of its letters."""

MOST_NAMES = 8
"""Names that a message lists."""

_IGNORED = str.maketrans("", "", " _-.")


def folded(word: str) -> str:
    """A word without what people get wrong: "RTX-4090", "rtx 4090" and "rtx_4090" are "rtx4090"."""
    return word.translate(_IGNORED).lower()


def known_as(word: str, known: Collection[str], also: Mapping[str, str] | None = None) -> str | None:
    """The one known name that a word surely is; None if there is none, or more than one.

    Args:
        word: as it was written; small and capital letters, and "-", "_", "." and spaces, make no difference.
        known: the names.
        also: other names of known names, such as {"fp16": "float16"}.
    """
    if word in known:
        return word
    wanted, names = folded(word), {name: name for name in known} | dict(also or {})
    found = {name for written, name in names.items() if folded(written) == wanted}
    return found.pop() if len(found) == 1 else None


def containing(word: str, known: Iterable[str]) -> list[str]:
    """The names that a word is a part of, those that begin with it first."""
    wanted = folded(word)
    found = [name for name in known if wanted in folded(name)] if len(wanted) >= SHORTEST else []
    return sorted(found, key=lambda name: not folded(name).startswith(wanted))


def alike(word: str, known: Iterable[str]) -> list[str]:
    """The names that a word may have been meant to be: none, one, or all that begin with it or contain it."""
    import difflib  # not at start-up: needed only when something is misspelt

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
    """Whether a word is much like a name."""
    return bool(_closest(word, known))


def _closest(word: str, names: Iterable[str]) -> list[str]:
    """The name that is most like a word, in small letters or as it is."""
    import difflib

    small = {name.lower(): name for name in names}
    return [small[name] for name in difflib.get_close_matches(word.lower(), small, n=1, cutoff=LIKENESS)]


def either(names: Iterable[str], most: int = MOST_NAMES) -> str:
    """Names in quotation marks: "'a', 'b' or 'c'"; after `most` of them, how many more there are."""
    quoted = [f"'{name}'" for name in names]
    if len(quoted) > most:
        return f"{', '.join(quoted[:most])} or one of {len(quoted) - most} more"
    return " or ".join(filter(None, (", ".join(quoted[:-1]), *quoted[-1:])))
