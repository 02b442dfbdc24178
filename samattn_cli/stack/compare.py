"""Compares derived integers with those found on the real stack, each at its place."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import repeat, zip_longest
from operator import itemgetter
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
    part: str, wanted: Mapping[str, Sequence[NamedNumber]], found: Mapping[str, Sequence[int]]
) -> tuple[int, list[Difference]]:
    """How many numbers of a part were compared, and those that differ, in the order of the operations.

    Args:
        part: name of the part.
        wanted: derived numbers by what they are ("FLOPs"). The first list has the order of the operations.
        found: numbers of the real stack, likewise.
    """
    compared = sum(max(len(steps), len(found[what])) for what, steps in wanted.items())
    if all([number for _, number in steps] == list(found[what]) for what, steps in wanted.items()):
        return compared, []
    order = [name for name, _ in next(iter(wanted.values()))]
    cells = []
    for what, steps in wanted.items():
        places = _places(steps, order)
        for pair, number in zip_longest(steps, found[what]):
            name, derived = pair or ("one more operation", None)
            cells.append((next(places), Difference(f"{part} {name}", what, derived, number)))
    in_order = (each for _, each in sorted(cells, key=itemgetter(0)))
    return compared, [each for each in in_order if each.derived != each.found]


def _places(steps: Sequence[NamedNumber], order: Sequence[str]) -> Iterator[int]:
    """The place of each step in `order`: the next of its name, otherwise that of the step before it; then the end."""
    at = 0
    for name, _ in steps:
        with suppress(ValueError):
            at = order.index(name, at)
        yield at
        at += 1
    yield from repeat(len(order))


def compare_tables(wanted: Counts, found: Counts, total: int) -> Check:
    """Compare all cells of two tables of numbers (place -> what -> number)."""
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
