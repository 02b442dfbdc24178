"""Regular expressions that are compiled when they are first used: a command uses few of those that its modules define."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["pattern"]

if TYPE_CHECKING:
    from re import compile as pattern
else:

    class pattern:  # noqa: N801 - in place of a function, re.compile
        """As `re.compile` would make it, for its methods and attributes."""

        def __init__(self, text: str, flags: int = 0) -> None:
            self._text, self._flags = text, flags

        def __getattr__(self, name: str) -> Any:
            import re

            value = getattr(re.compile(self._text, self._flags), name)
            setattr(self, name, value)  # found without this method from now on
            return value
