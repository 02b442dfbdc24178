"""How far a study is, told while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

Tell = Callable[[int, int], object]
"""Is called with how much is done and how much there is in all."""


def silent(done: int, of: int) -> None:
    """For nobody."""


def telling(items: Iterable[T], tell: Tell, of: int, step: int = 1) -> Iterator[T]:
    """The items, each told when it is there.

    Args:
        items: made one after the other.
        tell: is told so.
        of: how much there is in all.
        step: how much an item is of that.
    """
    tell(0, of)
    for number, item in enumerate(items, 1):
        tell(number * step, of)
        yield item
