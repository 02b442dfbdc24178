"""What was claimed beside what was found: integers, equal or not, each at its place."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from ..verdicts import Check, Counts, Difference, NamedNumber


def compare_parameters(claimed: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]) -> Check:
    """Compare the shapes of weights by name."""
    differences = tuple(
        Difference(name, "shape", _text(claimed.get(name)), _text(found.get(name)))
        for name in _union(claimed, found)
        if claimed.get(name) != found.get(name)
    )
    return verdict(differences, len(found), sum(map(math.prod, found.values())))


def compare_in_order(
    wanted: Mapping[str, Sequence[NamedNumber]], found: Mapping[str, Sequence[int]], what: str
) -> Iterator[Difference]:
    """Each number of each part beside its counterpart, equal or not."""
    for part in _union(wanted, found):
        for pair, number in zip_longest(wanted.get(part, ()), found.get(part, ())):
            name, derived = pair or ("one more operation", None)
            yield Difference(f"{part} {name}", what, derived, number)


def compare_tables(wanted: Counts, found: Counts, total: int) -> Check:
    """Compare two tables, place -> what -> number, over every place and what of either."""
    empty: Mapping[str, int] = {}
    cells = [
        (place, what, wanted.get(place, empty).get(what), found.get(place, empty).get(what))
        for place in _union(wanted, found)
        for what in _union(wanted.get(place, empty), found.get(place, empty))
    ]
    differences = tuple(Difference(place or "encoder", what, a, b) for place, what, a, b in cells if a != b)
    return verdict(differences, len(cells), total)


def _union(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[str]:
    yield from one
    yield from (key for key in other if key not in one)


def verdict(differences: tuple[Difference, ...], compared: int, total: int) -> Check:
    """Exact if there are no differences, failed if nothing was compared."""
    if not compared:
        return Check("failed", reason="there was nothing to compare")
    return Check("differs" if differences else "exact", compared, total, differences=differences)


def _text(shape: tuple[int, ...] | None) -> str | None:
    return None if shape is None else "x".join(map(str, shape))
