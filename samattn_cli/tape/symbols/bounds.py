"""Bounds of formulas over points, by interval arithmetic with Python's integers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .formula import Atom, Formula, Integer, Monomial, terms_of

Ends = tuple[int, int]
"""A lower and an upper bound. A value need not reach them."""


class Bounds:
    """Bounds over some points.

    Args:
        points: the values of the symbols: a number, or an array of one for each point.
    """

    def __init__(self, points: Mapping[str, Any]) -> None:
        self._symbols = {name: _ends_of(values) for name, values in points.items()}
        self._atoms: dict[Atom, Ends] = {}
        self._products: dict[Monomial, Ends] = {}

    def __call__(self, value: Integer) -> Ends:
        """Those of a formula."""
        if not isinstance(value, Formula):
            return value, value
        low = high = 0
        known = self._products.get
        for monomial, coefficient in value.terms.items():
            least, most = known(monomial) or self.of_product(monomial)
            if coefficient > 0:
                low += coefficient * least
                high += coefficient * most
            else:
                low += coefficient * most
                high += coefficient * least
        return low, high

    def of_difference(self, value: Integer, other: Integer) -> Ends:
        """Those of `value` - `other`, which is not made: the bounds of their difference as a formula."""
        low = high = 0
        known = self._products.get
        terms, others = terms_of(value), terms_of(other)
        for monomial, coefficient in terms.items():
            own = coefficient - others.get(monomial, 0)
            if own:
                least, most = known(monomial) or self.of_product(monomial)
                if own < 0:
                    least, most = most, least
                low += own * least
                high += own * most
        for monomial, coefficient in others.items():
            if monomial not in terms:
                least, most = known(monomial) or self.of_product(monomial)
                if coefficient > 0:
                    least, most = most, least
                low -= coefficient * least
                high -= coefficient * most
        return low, high

    def of_product(self, monomial: Monomial) -> Ends:
        """Those of a product of atoms."""
        if monomial not in self._products:
            low = high = 1
            for atom, power in monomial:
                least, most = self.of_atom(atom)
                for _ in range(power):
                    ends = low * least, low * most, high * least, high * most
                    low, high = min(ends), max(ends)
            self._products[monomial] = low, high
        return self._products[monomial]

    def of_atom(self, atom: Atom) -> Ends:
        """Those of the value of an atom."""
        found = self._atoms.get(atom)
        if found is None:
            found = self._atoms[atom] = self._of(atom)
        return found

    def _of(self, atom: Atom) -> Ends:
        if atom.kind == "symbol":
            return self._symbols[atom.name]
        if atom.kind == "max":
            lows, highs = zip(*map(self, atom.parts), strict=True)
            return max(lows), max(highs)
        (low, high), (least, most) = map(self, atom.parts)
        ends = [
            end // divisor if atom.kind == "floor" else -(-end // divisor)
            for end in (low, high)
            for divisor in (max(least, 1), most)
        ]
        return min(ends), max(ends)


def _ends_of(values: Any) -> Ends:
    return (int(values.min()), int(values.max())) if hasattr(values, "min") else (values, values)
