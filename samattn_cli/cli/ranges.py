"""Lists and ranges of whole numbers, such as ``512,1024`` and ``512:4096:64``, as options have them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TypeVar

from ..encoder.keys import Pair
from ..encoder.model import MAX_SIDE
from ..errors import UsageError
from ..files.load import option_where
from ..units import format_size

RANGE = re.compile(r"(-?\d{1,18})\s*:\s*(-?\d{1,18})(?:\s*:\s*(-?\d{1,18}))?")
NUMBER = re.compile(r"\d{1,18}")
SIZE = re.compile(r"(\d{1,18})x(\d{1,18})")
Value = TypeVar("Value", int, Pair)


def numbers(option: str, given: str | None, what: str) -> tuple[int, ...]:
    """The numbers that an option lists, in ascending order; `what` is what they count.

    Raises:
        UsageError: for what is not a number or range, is out of bounds, or stands there twice.
    """
    return tuple(sorted(_once(option, _numbers(option, given, what)))) if given is not None else ()


def sizes(option: str, given: str | None) -> tuple[Pair, ...]:
    """The images, (height, width) in pixels, that an option lists, the one of fewest pixels first.

    Raises:
        UsageError: as `numbers`.
    """
    found = _once(option, _sizes(option, given)) if given is not None else ()
    return tuple(sorted(found, key=lambda size: (size[0] * size[1], size)))


def span(option: str, text: str) -> range | None:
    """The numbers of ``start:stop:step``, both ends included; None for what is no range.

    Raises:
        UsageError: for a range that is reversed, or whose step is no step.
    """
    found = RANGE.fullmatch(text.strip())
    if not found:
        return None
    start, stop, step = int(found[1]), int(found[2]), int(found[3] or 1)
    where = option_where(option, text)
    if step < 1:
        raise UsageError(f"{where}: the step must be at least 1, not {step}")
    if stop < start:
        raise UsageError(f"{where}: is reversed: use {stop}:{start}{f':{step}' if found[3] else ''}")
    return range(start, stop + 1, step)


def _numbers(option: str, given: str, what: str) -> Iterator[int]:
    for text in _parts(option, given):
        values = span(option, text)
        if values is None and not NUMBER.fullmatch(text):
            example = "must be numbers and ranges start:stop:step, such as 1,2,4 or 8:64:8"
            raise UsageError(f"{option_where(option, text)}: {what} {example}")
        values = values if values is not None else range(int(text), int(text) + 1)
        _check_bounds(option_where(option, text), values[0], values[-1])
        yield from values


def _sizes(option: str, given: str) -> Iterator[Pair]:
    for text in _parts(option, given):
        both, values = SIZE.fullmatch(text), span(option, text)
        if both:
            height, width = int(both[1]), int(both[2])
            _check_bounds(option_where(option, text), min(height, width), max(height, width))
            yield height, width
        elif values is None and not NUMBER.fullmatch(text):
            example = "must be sizes and ranges start:stop:step, such as 512,768x1152 or 512:4096:64"
            raise UsageError(f"{option_where(option, text)}: {example}")
        else:
            yield from ((side, side) for side in _numbers(option, text, "sizes"))


def _parts(option: str, given: str) -> list[str]:
    parts = [part.strip() for part in given.split(",")]
    if "" in parts:
        raise UsageError(f"{option_where(option, given)}: is a list with an empty place")
    return parts


def _check_bounds(where: str, low: int, high: int) -> None:
    if low < 1:
        raise UsageError(f"{where}: must be at least 1, not {low}")
    if high > MAX_SIDE:
        raise UsageError(f"{where}: must be at most {MAX_SIDE:,}, not {high:,}")


def _once(option: str, values: Iterable[Value]) -> list[Value]:
    """The values in their order.

    Raises:
        UsageError: for one that stands there twice.
    """
    seen: dict[Value, None] = {}
    for value in values:
        if value in seen:
            shown = format_size(value) if isinstance(value, tuple) else value
            raise UsageError(f"{option}: {shown} stands there twice: keep one")
        seen[value] = None
    return list(seen)
