"""Immutable dataclasses that are cheap to make: the type checker forbids changes, and nothing is checked at run time.

A pass makes thousands of them. A frozen dataclass sets each field through `object.__setattr__`; that took a quarter of the
time of a `check`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass as immutable
else:
    from dataclasses import dataclass

    def immutable(*, frozen: bool, eq: bool) -> type:
        """`dataclass` with slots; only the type checker reads `frozen`."""
        assert frozen  # noqa: S101 - the only use of this decorator
        return dataclass(eq=eq, unsafe_hash=eq, slots=True)


__all__ = ["immutable"]
