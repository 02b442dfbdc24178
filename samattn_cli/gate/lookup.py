"""The way to a number of an analysis along a path, on which nothing is worked out that is not asked for."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from ..errors import SamattnError, did_you_mean
from ..metric_names import needs_device

if TYPE_CHECKING:
    from ..reports.recording import Fingerprint

NAMES = ("name", "part", "change", "code")
"""The fields by which the items of an analysis' lists are called."""

MOST_NAMES = 30
"""That a message lists."""


class MetricError(SamattnError):
    """An encoder has no such figure, or none that can be compared."""


@dataclass(frozen=True)
class Reading:
    """A figure.

    Attributes:
        value: as the analysis has it.
        at: the layer that it is of, where there are several of a kind.
        made_by: what measured it, if it was measured.
    """

    value: float
    at: str = ""
    made_by: Fingerprint | None = None


@dataclass(frozen=True)
class Keyed:
    """Keys, each of which is worked out when it is asked for; those that are not known are keys of `rest`."""

    known: Mapping[str, Callable[[], Any]]
    rest: Callable[[], Any]


def deferred(table: Mapping[str, Callable[[Any], Any]], of: Any) -> dict[str, Callable[[], Any]]:
    """A table's figures of one thing, each worked out when it is called."""
    return {name: partial(figure, of) for name, figure in table.items()}


def walk(held: Any, keys: Sequence[str], metric: str) -> Any:
    """What the keys lead to.

    Raises:
        MetricError: if they lead nowhere.
    """
    if not keys:
        return held
    if isinstance(held, Keyed):
        name, others = _longest(keys, held.known)
        return walk(held.known[name]() if name else held.rest(), others, metric)
    entries = _entries(held)
    name, others = _longest(keys, entries)
    if name:
        return walk(entries[name], others, metric)
    raise MetricError(f"there is no metric {metric!r}: {_missing(keys[0], list(entries), held)}")


def _longest(keys: Sequence[str], known: Collection[str]) -> tuple[str, Sequence[str]]:
    """The most of the first keys that are a known name, which may have dots in it, and the others; "" and all if none are."""
    names = ((".".join(keys[:length]), keys[length:]) for length in range(len(keys), 0, -1))
    return next((found for found in names if found[0] in known), ("", keys))


def _entries(held: Any) -> dict[str, Any]:
    """The keys of a record; the indexes and names of a list's items."""
    if is_dataclass(held):
        return {field.name: getattr(held, field.name) for field in fields(held)}
    if not isinstance(held, tuple):
        return {}
    names = {getattr(item, name): item for item in held for name in NAMES if hasattr(item, name)}
    return names | {str(index): item for index, item in enumerate(held)}


def _missing(key: str, known: Sequence[str], held: Any) -> str:
    if held is None:
        return "what it is of is null"
    if not known:
        return f"nothing is called {key!r} here"
    if hint := did_you_mean(key, known):
        return f"nothing is called {key!r} here{hint}"
    names = [name for name in known if not name.isdecimal()]
    by_index = len(names) != len(known) and (key.isdecimal() or not 0 < len(names) <= MOST_NAMES)
    told = f"0 to {known[-1]}" if by_index else ", ".join(names)
    return f"nothing is called {key!r} here, there is {told}"


def known_number(metric: str, value: Any) -> float:
    """The value, if it is one that can be compared.

    Raises:
        MetricError: if it is not.
    """
    if value is None:
        needs = ": it needs a device, of a profile or by --device" if needs_device(metric) else ""
        raise MetricError(f"{metric} is not known here{needs}")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise MetricError(f"{metric} is not a number")
    if not math.isfinite(value):
        raise MetricError(f"{metric} is {value}, which compares with nothing")
    return value
