"""Lists and ranges of whole numbers, such as ``512,1024`` and ``512:4096:64``, as options have them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from math import prod
from typing import TypeVar

from ..encoder.keys import Size
from ..encoder.model import MAX_SIDE
from ..encoder.shorthand import read_size
from ..errors import UsageError
from ..files.load import option_where
from ..units import format_size

RANGE = re.compile(r"(-?\d{1,18})\s*:\s*(-?\d{1,18})(?:\s*:\s*(-?\d{1,18}))?")
NUMBER = re.compile(r"\d{1,18}")
Value = TypeVar("Value", int, Size)


def numbers(option: str, text: str | None, what: str) -> tuple[int, ...]:
    """The numbers that an option lists, in ascending order; `what` names them in messages.

    Raises:
        UsageError: for an item that is not a number or range, is out of bounds, or is given twice.
    """
    return tuple(sorted(_once(option, _numbers(option, text, what)))) if text is not None else ()


def sizes(option: str, text: str | None) -> tuple[Size, ...]:
    """The image sizes in pixels that an option lists, from the fewest pixels to the most.

    Raises:
        UsageError: as `numbers`.
    """
    images = _once(option, _sizes(option, text)) if text is not None else ()
    if len({len(size) for size in images}) > 1:
        message = f"{option_where(option, text or '')}: some sizes have two sides and some have three: give sizes of one kind"
        raise UsageError("axes-differ", message)
    return tuple(sorted(images, key=lambda size: (prod(size), size)))


def one_size(option: str, text: str) -> Size:
    """The image size in pixels that an option is.

    Raises:
        UsageError: if it is not one size.
    """
    item = text.strip()
    sides = read_size(item)
    if not isinstance(sides, tuple) and not NUMBER.fullmatch(item):
        raise UsageError(
            "not-a-size", f"{option_where(option, text)}: must be one size in pixels, such as 640 or 768x1152"
        )
    size: Size = sides if isinstance(sides, tuple) else (int(item), int(item))
    _check_bounds(option_where(option, text), min(size), max(size))
    return size


def span(option: str, text: str) -> range | None:
    """The numbers of ``start:stop:step``, both ends included; None for a text that is not a range.

    Raises:
        UsageError: for a range that is reversed, or whose step is below 1.
    """
    match = RANGE.fullmatch(text.strip())
    if not match:
        return None
    start, stop, step = int(match[1]), int(match[2]), int(match[3] or 1)
    where = option_where(option, text)
    if step < 1:
        raise UsageError("out-of-range", f"{where}: the step must be at least 1, not {step}")
    if stop < start:
        other = f"{stop}:{start}{f':{step}' if match[3] else ''}"
        raise UsageError("reversed-range", f"{where}: the range is reversed; use {other}")
    return range(start, stop + 1, step)


def _numbers(option: str, text: str, what: str) -> Iterator[int]:
    for item in _items(option, text):
        values = span(option, item)
        if values is None and not NUMBER.fullmatch(item):
            raise UsageError(
                "not-a-number",
                f"{option_where(option, item)}: {what} must be numbers or ranges start:stop:step, such as 1,2,4 or "
                "8:64:8",
            )
        values = values if values is not None else range(int(item), int(item) + 1)
        _check_bounds(option_where(option, item), values[0], values[-1])
        yield from values


def _sizes(option: str, text: str) -> Iterator[Size]:
    for item in _items(option, text):
        size, values = read_size(item), span(option, item)
        if isinstance(size, tuple):
            _check_bounds(option_where(option, item), min(size), max(size))
            yield size
        elif values is None and not NUMBER.fullmatch(item):
            raise UsageError(
                "not-a-size",
                f"{option_where(option, item)}: must be sizes or ranges start:stop:step, such as 512,768x1152 or "
                "512:4096:64",
            )
        else:
            yield from ((side, side) for side in _numbers(option, item, "sizes"))


def _items(option: str, text: str) -> list[str]:
    items = [item.strip() for item in text.split(",")]
    if "" in items:
        raise UsageError("empty-item", f"{option_where(option, text)}: the list has an empty item")
    return items


def _check_bounds(where: str, low: int, high: int) -> None:
    if low < 1:
        raise UsageError("out-of-range", f"{where}: must be at least 1, not {low}")
    if high > MAX_SIDE:
        raise UsageError("out-of-range", f"{where}: must be at most {MAX_SIDE:,}, not {high:,}")


def _once(option: str, values: Iterable[Value]) -> list[Value]:
    """The values in their order.

    Raises:
        UsageError: for one that is given twice.
    """
    seen: dict[Value, None] = {}
    for value in values:
        if value in seen:
            shown = format_size(value) if isinstance(value, tuple) else value
            raise UsageError("given-twice", f"{option}: {shown} is given twice")
        seen[value] = None
    return list(seen)
