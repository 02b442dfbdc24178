"""Dataclasses that nothing changes, of which a pass makes thousands: the type checker sees to it, not each of them.

At run time a frozen dataclass sets its fields one by one around its own lock; that took a quarter of a `check`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass as immutable
else:
    from dataclasses import dataclass

    def immutable(*, frozen: bool, eq: bool) -> type:
        """`dataclass` of that `eq`, with slots; `frozen` is what the type checker reads."""
        assert frozen  # noqa: S101 - what else it is for
        return dataclass(eq=eq, unsafe_hash=eq, slots=True)


__all__ = ["immutable"]
