"""JSON whose numbers are numbers: 1e999, which Python reads as an infinity, and NaN are refused."""

from __future__ import annotations

import json
from typing import Any, NoReturn

MOST_SHOWN = 20


def finite_json(text: str) -> Any:
    """The data that a JSON text holds.

    Raises:
        ValueError: for text that is not JSON, and for a number that is not finite as a float.
    """
    return json.loads(text, parse_float=_float, parse_int=_int, parse_constant=_refuse)


def is_finite(value: float) -> bool:
    """Whether a number has a float: an int may be too large for any."""
    try:
        return float(value) - float(value) == 0
    except OverflowError:
        return False


def _float(digits: str) -> float:
    return float(digits) if is_finite(float(digits)) else _refuse(digits)


def _int(digits: str) -> int:
    return int(digits) if is_finite(int(digits)) else _refuse(digits)


def _refuse(word: str) -> NoReturn:
    shown = word if len(word) <= MOST_SHOWN else f"{word[:MOST_SHOWN]}..."
    raise ValueError(f"{shown} is not a finite number")
