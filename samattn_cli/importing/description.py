"""Reading a model's description, such as a config.json, entry by entry.

An importer reads an entry with a method that checks its type, or says with `expect` which values samattn can express.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..errors import ImportFailedError, Message

Keys = dict[str, Any]
"""The keys of an encoder config, in the order in which a person would write them."""

Size = int | list[int]
"""[height, width] as a person would write it: one number if both are the same."""

SHOWN = 60
"""Characters of a wrong value that a message shows."""
MOST = 1 << 40
"""No number in a model's description is larger."""
SIMILARITY = 0.9
"""Two names of entries that are at least this similar (difflib's ratio) may be one name, misspelt."""
MOST_DIGITS = 9
"""Digits after the decimal point of a ratio that is written exactly."""


class Description:
    """A model's description in the format of another library, such as Hugging Face's config.json.

    Args:
        label: how messages name it.
        entries: its entries; one that is null counts as missing.
        defaults: the library's values for missing entries.

    Attributes:
        notes: sentences for readers of the config.
        warnings: sentences for whoever runs the import. They go to standard error and into the config.
        read: the names of the entries that have been read.
        present: the names of the entries that it has, with those of each inner description that has been read.
        given: the names of its own entries that the file has, without a library's defaults.
        shown: an entry's place ("file.yaml:3:7") and its name in the file, where they are known.
    """

    def __init__(
        self, label: str, entries: Mapping[str, Any], defaults: Mapping[str, Any] | None = None
    ) -> None:
        self.label = label
        present = {key: value for key, value in entries.items() if value is not None}
        self.given = frozenset(present)
        self.entries = {**(defaults or {}), **present}
        self.notes: list[str] = []
        self.warnings: list[str] = []
        self.read: set[str] = set()
        self.present = set(present)
        self.shown: dict[str, tuple[str, str]] = {}

    def inner(self, key: str, *model_types: str) -> Description:
        """The description under `key`, such as that of a vision model in a whole model; empty if it is missing.

        Raises:
            ImportFailedError: if its model_type is not one of `model_types`, where it has one.
        """
        self.read.add(key)
        entries = self.entries.get(key, {})
        if not isinstance(entries, Mapping):
            raise self.wrong(key, "a mapping")
        inner = Description(f"{self.label}: {key}", entries)
        self.present |= inner.present
        inner._share(self)
        if model_types:
            inner.expect("model_type", *model_types, "")  # older files leave it empty
        return inner

    def inner_or(self, key: str, default: Mapping[str, Any]) -> Description:
        """The description under `key`, or `default` if it is missing; its model_type is that of `default` if it has none."""
        is_missing = self.entries.get(key) is None
        self.entries.setdefault(key, dict(default))
        inner = self.inner(key)
        if is_missing:
            inner.given = frozenset()
        if not inner.entries.get("model_type"):
            inner.entries["model_type"] = default.get("model_type")
        return inner

    def with_defaults(self, **defaults: Any) -> Description:
        """The same description, with the library's defaults for missing entries."""
        completed = Description(self.label, self.entries, defaults)
        completed._share(self)
        completed.shown, completed.given = self.shown, self.given
        return completed

    def _share(self, outer: Description) -> None:
        self.notes, self.warnings = outer.notes, outer.warnings
        self.read, self.present = outer.read, outer.present

    def misspelt(self) -> Iterator[str]:
        """A note for each unread entry whose name is very similar to that of a missing entry."""
        for key in sorted(self.present - self.read):
            missing = sorted(self.read - self.present)
            for close in difflib.get_close_matches(key, missing, n=1, cutoff=SIMILARITY):
                yield Message(
                    "misspelt-entry",
                    f"Entry {quoted(key)} was ignored. Did you mean {close!r}? That entry is missing, so its default is "
                    "used.",
                )

    def integer(self, key: str, least: int = 1) -> int:
        """An integer that is at least `least`."""
        value = self._get(key)
        if not _is_integer(value, least):
            raise self.wrong(key, f"a whole number, {least} or more")
        return int(value)

    def integers(self, key: str, length: int | None = None) -> list[int]:
        """A list of integers, none of them negative, of that `length`."""
        values = self._get(key)
        wanted = "a list of whole numbers" if length is None else f"a list of {length} whole numbers"
        if not isinstance(values, (list, tuple)) or not all(map(_is_integer, values)):
            raise self.wrong(key, wanted)
        if length is not None and len(values) != length:
            raise self.wrong(key, wanted)
        return list(values)

    def number(self, key: str) -> float:
        """A number above 0."""
        value = self._get(key)
        if type(value) not in {int, float} or not 0 < value <= MOST:
            raise self.wrong(key, "a number above 0")
        return float(value)

    def flag(self, key: str) -> bool:
        """True or false."""
        value = self._get(key)
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false")
        return value

    def size(self, key: str) -> Size:
        """A number, or [height, width]."""
        value = self._get(key)
        pair = [value, value] if type(value) is int else value
        if not isinstance(pair, (list, tuple)) or len(pair) != len("hw") or not all(map(_is_integer, pair)):
            raise self.wrong(key, "a number or [height, width]")
        return as_size(pair)

    def side(self, key: str) -> int:
        """The side of a square: a number, or [number, number]."""
        size = self.size(key)
        if not isinstance(size, int) or size < 1:
            raise self._unsupported(key, size, "squares only")
        return size

    def word(self, *keys: str) -> str:
        """The text of the first of these entries that is present; "" if all are missing."""
        self.read.update(keys)
        key = next((key for key in keys if key in self.entries), "")
        if not isinstance(value := self.entries.get(key, ""), str):
            raise self.wrong(key, "a word")
        return value

    def choice(self, key: str, words: Mapping[str, Keys]) -> Keys:
        """The keys for the word of an entry, which is one of `words`; a missing entry has the first of them."""
        self.expect(key, *words)
        return dict(words[self.entries.get(key, next(iter(words)))])

    def expect(self, key: str, *supported: Any) -> None:
        """Check that an entry has a value that samattn can express.

        Raises:
            ImportFailedError: if its value is not one of `supported`; a missing entry has the first of them.
        """
        self.read.add(key)
        if (value := self.entries.get(key, supported[0])) not in supported:
            raise self._unsupported(key, value, " or ".join(map(repr, supported)))

    def _unsupported(self, key: str, value: Any, supported: str) -> ImportFailedError:
        place, name = self._shown(key)
        default = "" if key in self.given else ", its default"
        return ImportFailedError(
            "unsupported-model",
            f"{place}: samattn cannot express {name} {quoted(value)}{default}; it supports {supported}",
        )

    def _shown(self, key: str) -> tuple[str, str]:
        """The place and the name of an entry, as messages have them."""
        return self.shown.get(key, (self.label, key))

    def ignore(self, *keys: str) -> None:
        """Note that samattn leaves out these entries, which say what a training step drops at random."""
        self.read.update(keys)
        for key in keys:
            if value := self.entries.get(key):
                self.notes.append(
                    f"{key} ({quoted(value)}) is left out: samattn's training step drops nothing at random."
                )

    def _get(self, key: str) -> Any:
        self.read.add(key)
        if key not in self.entries:
            place, name = self._shown(key)
            raise ImportFailedError("missing-entry", f"{place}: {name} is missing")
        return self.entries[key]

    def wrong(self, key: str, wanted: str) -> ImportFailedError:
        """The error for an entry that is not what is `wanted`."""
        place, name = self._shown(key)
        value = quoted(self._get(key))
        is_wrong = f"must be {wanted}, not {value}"
        if key not in self.given:
            is_wrong = f"is missing, and its default, {value}, cannot be taken: give {wanted}"
        return ImportFailedError("wrong-entry", f"{place}: {name} {is_wrong}")


def as_size(sides: Sequence[int]) -> Size:
    """[height, width] as a person would write it."""
    return sides[0] if sides[0] == sides[1] else list(sides)


def grid_of(image: Size, patch: int) -> Size:
    """Whole patches along an image's sides; the remaining pixels are dropped."""
    return image // patch if isinstance(image, int) else [side // patch for side in image]


def ratio_of(hidden: int, width: int) -> float:
    """`hidden` over `width`, with which `int(width * ratio)` is `hidden` again.

    It is exact if it has few decimals, otherwise it has as few decimals as possible.
    """
    if any(hidden * 10**digits % width == 0 for digits in range(MOST_DIGITS)):
        return hidden / width
    ratios = (-(-hidden * 10**digits // width) / 10**digits for digits in range(2 * MOST_DIGITS))
    return float(next(ratio for ratio in ratios if int(width * ratio) == hidden))


def _is_integer(value: Any, least: int = 0) -> bool:
    return type(value) is int and least <= value <= MOST


def quoted(value: Any) -> str:
    """A value as messages show it: Python's repr, cut to `SHOWN` characters."""
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
