"""What a foreign description says: each of its entries is read, or said to be what samattn takes for granted."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..errors import ImportFailedError

Keys = dict[str, Any]
"""The keys of an encoder config, in the order in which a person would write them."""

Size = int | list[int]
"""[height, width] as a person would write it: a number where both are the same."""

SHOWN = 60
"""Characters of a wrong value that a message shows."""
MOST = 1 << 40
"""More than any number of a model's description."""
ALIKE = 0.9
"""Of the letters of two names of entries, from which on one may be the other misspelt."""
MOST_DIGITS = 9
"""Behind the point of a ratio that is written exactly."""


class Given:
    """A foreign description, such as Hugging Face's config.json.

    Args:
        label: what messages call it.
        entries: what it says.
        defaults: what it leaves unsaid, or says to be null.

    Attributes:
        notes: what whoever reads the config should know, a sentence each.
        warnings: what whoever imports it should know at once, a sentence each: standard error says it too.
        asked: the entries that were asked for.
        said: the entries that it has, and so all within it that were looked into.
    """

    def __init__(
        self, label: str, entries: Mapping[str, Any], defaults: Mapping[str, Any] | None = None
    ) -> None:
        self.label = label
        said = {key: value for key, value in entries.items() if value is not None}
        self.entries = {**(defaults or {}), **said}
        self.notes: list[str] = []
        self.warnings: list[str] = []
        self.asked: set[str] = set()
        self.said = set(said)

    def inner(self, key: str, *model_types: str) -> Given:
        """The description within it, as a vision model's in that of a whole model; left out, it says nothing.

        Raises:
            ImportFailedError: if it is of none of the `model_types`, where it says of which.
        """
        self.asked.add(key)
        found = self.entries.get(key, {})
        if not isinstance(found, Mapping):
            raise self.wrong(key, "a description")
        made = Given(f"{self.label}: {key}", found)
        self.said |= made.said
        made._share(self)
        if model_types:
            made.expect("model_type", *model_types, "")  # older files leave it empty
        return made

    def with_defaults(self, **defaults: Any) -> Given:
        """The same, with what its library takes where it says nothing."""
        made = Given(self.label, self.entries, defaults)
        made._share(self)
        return made

    def _share(self, whole: Given) -> None:
        self.notes, self.warnings = whole.notes, whole.warnings
        self.asked, self.said = whole.asked, whole.said

    def misspelt(self) -> Iterator[str]:
        """A note on each entry that was not asked for and is all but called as one that was, which is not there."""
        for key in sorted(self.said - self.asked):
            for close in difflib.get_close_matches(key, sorted(self.asked - self.said), n=1, cutoff=ALIKE):
                yield f"{cut(key)} is not read: if {close!r} is meant, which is not there, its default was taken."

    def whole(self, key: str, least: int = 1) -> int:
        """A whole number, `least` or more."""
        found = self._get(key)
        if not _is_whole(found, least):
            raise self.wrong(key, f"a whole number, {least} or more")
        return int(found)

    def wholes(self, key: str, many: int | None = None) -> list[int]:
        """A list of whole numbers, so `many` of them, none negative."""
        found = self._get(key)
        wanted = "a list of whole numbers" if many is None else f"a list of {many} whole numbers"
        if not isinstance(found, (list, tuple)) or not all(map(_is_whole, found)):
            raise self.wrong(key, wanted)
        if many is not None and len(found) != many:
            raise self.wrong(key, wanted)
        return list(found)

    def number(self, key: str) -> float:
        """A number above 0."""
        found = self._get(key)
        if type(found) not in {int, float} or not 0 < found <= MOST:
            raise self.wrong(key, "a number above 0")
        return float(found)

    def flag(self, key: str) -> bool:
        """True or false."""
        found = self._get(key)
        if not isinstance(found, bool):
            raise self.wrong(key, "true or false")
        return found

    def sides(self, key: str) -> Size:
        """A number, or [height, width]; one number where both are the same."""
        found = self._get(key)
        pair = [found, found] if type(found) is int else found
        if not isinstance(pair, (list, tuple)) or len(pair) != len("hw") or not all(map(_is_whole, pair)):
            raise self.wrong(key, "a number or [height, width]")
        return one(pair)

    def side(self, key: str) -> int:
        """A number, or twice the same: the side of a square."""
        found = self.sides(key)
        if not isinstance(found, int) or found < 1:
            raise ImportFailedError(
                f"{self.label}: {key} is {cut(found)}, which samattn cannot express: it takes squares"
            )
        return found

    def word(self, *keys: str) -> str:
        """What the first of the entries says that is there; "" if none is."""
        self.asked.update(keys)
        key = next((key for key in keys if key in self.entries), "")
        if not isinstance(found := self.entries.get(key, ""), str):
            raise self.wrong(key, "a word")
        return found

    def expect(self, key: str, *taken: Any) -> None:
        """Refuse what samattn cannot express.

        Raises:
            ImportFailedError: if it says anything but what is `taken` (the first stands for what is left unsaid).
        """
        self.asked.add(key)
        if (found := self.entries.get(key, taken[0])) not in taken:
            known = " or ".join(repr(word) for word in taken)
            raise ImportFailedError(
                f"{self.label}: {key} is {cut(found)}, which samattn cannot express: it has {known}"
            )

    def leave_out(self, *keys: str) -> None:
        """Entries that change nothing but what a training step drops at random, which samattn leaves out."""
        self.asked.update(keys)
        for key in keys:
            if found := self.entries.get(key):
                said = "a training step of samattn drops nothing at random"
                self.notes.append(f"{key} ({cut(found)}) is left out: {said}.")

    def _get(self, key: str) -> Any:
        self.asked.add(key)
        if key not in self.entries:
            raise ImportFailedError(f"{self.label}: {key} is missing")
        return self.entries[key]

    def wrong(self, key: str, wanted: str) -> ImportFailedError:
        """That an entry is not what is wanted."""
        return ImportFailedError(f"{self.label}: {key} must be {wanted}, not {cut(self._get(key))}")


def one(sides: Sequence[int]) -> Size:
    """[height, width] as a person would write it."""
    return sides[0] if sides[0] == sides[1] else list(sides)


def patches(image: Size, patch: int) -> Size:
    """Patches of an image's sides; a rest is dropped."""
    return image // patch if isinstance(image, int) else [side // patch for side in image]


def ratio_of(hidden: int, width: int) -> float:
    """`hidden` over `width`: exact if a person can write it, else as short as it can be.

    Times the width, rounded down, it is `hidden` again.
    """
    if any(hidden * 10**digits % width == 0 for digits in range(MOST_DIGITS)):
        return hidden / width
    ratios = (-(-hidden * 10**digits // width) / 10**digits for digits in range(2 * MOST_DIGITS))
    return float(next(ratio for ratio in ratios if int(width * ratio) == hidden))


def _is_whole(value: Any, least: int = 0) -> bool:
    return type(value) is int and least <= value <= MOST


def cut(value: Any) -> str:
    """A value as a message shows it."""
    said = repr(value)
    return said if len(said) <= SHOWN else f"{said[:SHOWN]}..."
