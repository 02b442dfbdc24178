"""Follows a path into an analysis to a number. Only the number that the path leads to is worked out."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from ..errors import Message, SamattnError, did_you_mean
from ..metric_names import needed_device
from ..records import dataclass

if TYPE_CHECKING:
    from ..reports.recording import Fingerprint

NAMES = ("name", "part", "change", "code")
"""The fields that name the items of lists in an analysis."""

MOST_NAMES = 30
"""The most names that a message lists."""


class MetricError(SamattnError):
    """An encoder does not have such a figure, or one that can be compared."""


@dataclass(frozen=True)
class Reading:
    """A figure.

    Attributes:
        value: as in the analysis.
        at: its layer, if a kind of layer has several.
        made_by: the hardware and software that measured it, if it was measured.
    """

    value: float
    at: str = ""
    made_by: Fingerprint | None = None


@dataclass(frozen=True)
class Keyed:
    """Keys whose values are worked out when they are needed. Any other key is looked up in `rest`."""

    known: Mapping[str, Callable[[], Any]]
    rest: Callable[[], Any]


def deferred(table: Mapping[str, Callable[[Any], Any]], of: Any) -> dict[str, Callable[[], Any]]:
    """The figures of a table for one thing, each worked out when it is called."""
    return {name: partial(figure, of) for name, figure in table.items()}


def walk(value: Any, keys: Sequence[str], metric: str) -> Any:
    """The value at the end of a path.

    Raises:
        MetricError: if the path leads nowhere.
    """
    if not keys:
        return value
    if isinstance(value, Keyed):
        name, others = _longest(keys, value.known)
        return walk(value.known[name]() if name else value.rest(), others, metric)
    entries = _entries(value)
    name, others = _longest(keys, entries)
    if name:
        return walk(entries[name], others, metric)
    what = f"unknown metric {metric!r}"
    raise MetricError("unknown-metric", f"{what}: {_missing(keys[0], list(entries), value)}")


def _longest(keys: Sequence[str], known: Collection[str]) -> tuple[str, Sequence[str]]:
    """The longest known name that the path begins with, and the rest of it; "" and all keys if there is none.

    A name may have dots in it, as that of an operation has.
    """
    names = ((".".join(keys[:length]), keys[length:]) for length in range(len(keys), 0, -1))
    return next((split for split in names if split[0] in known), ("", keys))


def _entries(value: Any) -> dict[str, Any]:
    """The keys of a record; the indexes and names of a list's items."""
    if is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    if not isinstance(value, tuple):
        return {}
    names = {getattr(item, name): item for item in value for name in NAMES if hasattr(item, name)}
    return names | {str(index): item for index, item in enumerate(value)}


def _missing(key: str, known: Sequence[str], value: Any) -> str:
    if value is None:
        return f"{key!r} is a key of a value that is null here"
    if not known:
        return f"no {key!r} here"
    if hint := did_you_mean(key, known):
        return f"no {key!r} here{hint}"
    names = [name for name in known if not name.isdecimal()]
    by_index = len(names) != len(known) and (key.isdecimal() or not 0 < len(names) <= MOST_NAMES)
    choices = f"0 to {known[-1]}" if by_index else ", ".join(names)
    return f"no {key!r} here; choose from {choices}"


def known_number(metric: str, value: Any) -> float:
    """The value, if it can be compared.

    Raises:
        MetricError: if it cannot.
    """
    if message := _incomparable(metric, value):
        raise MetricError(message.code, message)
    return float(value) if isinstance(value, float) else int(value)


def _incomparable(metric: str, value: Any) -> Message | None:
    """Why a value cannot be compared; None if it can."""
    if value is None and (device := needed_device(metric)):
        return Message("needs-device", f"{metric} needs {device}: name one in the profile, or with --device")
    if value is None:
        return Message("no-value", f"{metric} has no value for this encoder")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return Message("not-a-number", f"{metric} is not a number")
    if not math.isfinite(value):
        return Message("not-finite", f"{metric} is {value}, which cannot be compared")
    return None
