"""What a foreign description says: each of its entries is read, or said to be what samattn takes for granted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import ImportFailedError

Keys = dict[str, Any]
"""The keys of an encoder config, in the order in which a person would write them."""


class Given:
    """A foreign description, such as Hugging Face's config.json.

    Args:
        label: what messages call it.
        entries: what it says.
        defaults: what it leaves unsaid.
    """

    def __init__(
        self, label: str, entries: Mapping[str, Any], defaults: Mapping[str, Any] | None = None
    ) -> None:
        self.label = label
        self.entries = {**(defaults or {}), **entries}

    def inner(self, key: str) -> Given:
        """The description within it, as a vision model's in that of a whole model."""
        found = self.entries.get(key)
        if not isinstance(found, Mapping):
            raise ImportFailedError(f"{self.label}: {key} is missing")
        return Given(f"{self.label}: {key}", found)

    def with_defaults(self, **defaults: Any) -> Given:
        """The same, with what its library takes where it says nothing."""
        return Given(self.label, self.entries, defaults)

    def whole(self, key: str) -> int:
        """A whole number above 0."""
        found = self._get(key)
        if isinstance(found, bool) or not isinstance(found, int) or found < 1:
            raise self._wrong(key, "a whole number above 0")
        return found

    def wholes(self, key: str) -> list[int]:
        """A list of whole numbers."""
        found = self._get(key)
        if not isinstance(found, (list, tuple)) or not all(type(item) is int for item in found):
            raise self._wrong(key, "a list of whole numbers")
        return list(found)

    def number(self, key: str) -> float:
        """A number."""
        found = self._get(key)
        if isinstance(found, bool) or not isinstance(found, (int, float)):
            raise self._wrong(key, "a number")
        return found

    def flag(self, key: str) -> bool:
        """True or false."""
        found = self._get(key)
        if not isinstance(found, bool):
            raise self._wrong(key, "true or false")
        return found

    def sides(self, key: str) -> int | list[int]:
        """A number, or [height, width]; one number where both are the same."""
        found = self._get(key)
        pair = [found, found] if type(found) is int else found
        if (
            not isinstance(pair, (list, tuple))
            or len(pair) != len("hw")
            or not all(type(side) is int for side in pair)
        ):
            raise self._wrong(key, "a number or [height, width]")
        return pair[0] if pair[0] == pair[1] else list(pair)

    def expect(self, key: str, *taken: Any) -> None:
        """Refuse what samattn cannot express.

        Raises:
            ImportFailedError: if it says anything but what is `taken` (the first stands for what is left unsaid).
        """
        if (found := self.entries.get(key, taken[0])) not in taken:
            known = " or ".join(repr(word) for word in taken)
            raise ImportFailedError(
                f"{self.label}: {key} is {found!r}, which samattn cannot express: it has {known}"
            )

    def _get(self, key: str) -> Any:
        if key not in self.entries:
            raise ImportFailedError(f"{self.label}: {key} is missing")
        return self.entries[key]

    def _wrong(self, key: str, wanted: str) -> ImportFailedError:
        return ImportFailedError(f"{self.label}: {key} must be {wanted}, not {self._get(key)!r}")
