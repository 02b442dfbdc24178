"""Progress of a study while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

Tell = Callable[[int, int], object]
"""A function that is called with the amount done and the total."""


def silent(done: int, of: int) -> None:
    """Ignore progress."""


def telling(items: Iterable[T], tell: Tell, of: int, step: int = 1) -> Iterator[T]:
    """The items; report progress after each.

    Args:
        items: created one after another.
        tell: receives the progress.
        of: the total.
        step: how much of the total an item is.
    """
    tell(0, of)
    for number, item in enumerate(items, 1):
        tell(number * step, of)
        yield item
