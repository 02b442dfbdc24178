"""The points that formulas stand for: it has the values of their symbols, decides comparisons and evaluates formulas.

Integers stay exact. Interval arithmetic with Python's integers gives bounds for each formula. If the bounds of every term and
sum fit in 63 bits, arrays are int64; otherwise they have Python's integers (dtype object), which are slower.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from math import prod
from typing import Any, ClassVar

from .bounds import Bounds
from .formula import (
    Atom,
    Formula,
    Integer,
    Key,
    Monomial,
    Terms,
    Values,
    common_factor,
    divided,
    key_of,
    larger,
    terms_of,
)

MOST = 2**63 - 1
"""The largest 64-bit integer."""

CHUNK = 1 << 15
"""Points that are evaluated at once: a few arrays of this length fit in a processor's cache."""

MOST_ASIDE = 1 << 16
"""Points of a chunk that is one step along a dimension."""

KEPT = 1 << 21
"""Up to this number of points, the values of atoms are kept for the next formula: most formulas share a few."""

RELATIONS: dict[str, Callable[[Any], Any]] = {
    "==": lambda value: value == 0,
    "<": lambda value: value < 0,
    ">": lambda value: value > 0,
}


LOTS = count()
"""Numbers of lots: each lot of each space has its own."""

Answer = tuple[Formula, Integer, str, bool]
"""A comparison of a formula with another or a number, and whether it holds."""

Kept = tuple[tuple[Answer, ...], Any]
"""The answers that a result depends on, and the result."""


class MixedPointsError(Exception):
    """A comparison, `formula` (relation) 0, holds at some points only, so that the pass differs between points."""

    def __init__(self, formula: Formula, relation: str) -> None:
        super().__init__(f"{formula} {relation} 0 holds at some points only")
        self.formula = formula
        self.relation = relation


Split = Callable[[list[Any], int], Mapping[str, Values]]
"""Is given whether a relation holds at each point, in chunks along a dimension; it returns the symbols' values there."""


class Space:
    """Symbols and their values: numbers for one point, or NumPy arrays for many.

    Arrays have one length, or as many dimensions as there are groups of symbols: the points are then the product of the
    groups, and the array of a symbol has the length 1 in the dimensions of other groups.

    Args:
        points: the values of the symbols.
        split: is called for a relation that holds at some points only. The space then goes on with those points.
    """

    def __init__(self, points: Mapping[str, Values], split: Split | None = None) -> None:
        self._atoms: dict[Any, Atom] = {}
        self.products: dict[tuple[Monomial, Monomial], Monomial] = {}
        self._quotients: dict[tuple[Key | int, Key | int], Integer] = {}
        self._decided: dict[tuple[Key, str], bool] = {}
        self._rounded_at: dict[int, dict[tuple[Atom, bool], Values]] = {}
        self._noted: list[Answer] | None = None
        self._kept: dict[Hashable, list[Kept]] = {}
        self.always = Bounds(points)
        self.take(points, split)

    def take(self, points: Mapping[str, Values], split: Split | None = None) -> None:
        """Begin anew with a lot: some of the points that the space was made with."""
        self.lot = next(LOTS)
        self._split = split
        self._decided.clear()
        self._set(points)

    def _set(self, points: Mapping[str, Values]) -> None:
        self._rounded_at.clear()
        self.points = dict(points)
        self.bounds = Bounds(points)
        shapes = [values.shape for values in points.values() if hasattr(values, "shape")]
        self.shape: tuple[int, ...] = tuple(map(max, zip(*shapes, strict=True))) or (1,)
        self.size = prod(self.shape)
        self.axis = self._axis_of_chunks()
        self._varying: dict[Atom, bool] = {}

    def _axis_of_chunks(self) -> int:
        """The dimension along which the points are taken in chunks: the first after which few enough are left."""
        sides = [*enumerate(self.shape)]
        enough = (axis for axis, side in sides if side > 1 and self.size // side <= MOST_ASIDE)
        return next(enough, max(sides, key=lambda each: each[1])[0])

    def varies(self, atom: Atom) -> bool:
        """Whether an atom has other values in each chunk; the values of one that has not are fewer."""
        if atom not in self._varying:
            values = self.points.get(atom.name)
            of_parts = (own for part in atom.parts for product in terms_of(part) for own, _ in product)
            self._varying[atom] = (
                any(map(self.varies, of_parts)) if atom.kind != "symbol" else _side(values, self.axis) > 1
            )
        return self._varying[atom]

    def symbol(self, name: str) -> Formula:
        """The symbol of that name, as a dimension."""
        return self._of_atom("symbol", name, ())

    def formula(self, terms: Terms) -> Integer:
        """The formula of some terms, which it may keep; a plain int if no symbol is left."""
        if 0 in terms.values():
            terms = {monomial: coefficient for monomial, coefficient in terms.items() if coefficient}
        if not terms:
            return 0
        if len(terms) == 1 and () in terms:
            return terms[()]
        return Formula(self, terms)

    def product(self, one: Monomial, two: Monomial) -> Monomial:
        """The product of two products of atoms."""
        if not one or not two:
            return one or two
        found = self.products.get((one, two))
        if found is None:
            powers = dict(one)
            for atom, power in two:
                powers[atom] = powers.get(atom, 0) + power
            found = tuple(sorted(powers.items(), key=lambda factor: factor[0].number))
            self.products[one, two] = found
        return found

    def quotient(self, value: Integer, by: Integer) -> Integer:
        """`value` // `by`, for `by` above 0: terms that divide exactly, plus the remaining terms rounded down together.

        If the remaining terms are negative at all points, their negative is rounded up and subtracted.
        """
        key = key_of(value), key_of(by)
        if key not in self._quotients:
            self._quotients[key] = self._quotient(value, by)
        return self._quotients[key]

    def _quotient(self, value: Integer, by: Integer) -> Integer:
        if (exact := self._exact(value, by)) is not None:
            return exact
        divisor = terms_of(by)
        if len(divisor) > 1:
            return self._rounded("floor", value, by)
        ((under, factor),) = divisor.items()
        whole, rest = {}, {}
        for monomial, coefficient in terms_of(value).items():
            left = divided(monomial, under)
            if left is None or coefficient % factor:
                rest[monomial] = coefficient
            else:
                whole[left] = coefficient // factor
        if not rest:
            return self.formula(whole)
        remainder = self.formula(rest)
        if self.bounds(remainder)[1] <= 0:
            return self.formula(whole) - self._rounded("ceil", -remainder, by)
        return self.formula(whole) + self._rounded("floor", remainder, by)

    def _exact(self, value: Integer, by: Integer) -> Integer | None:
        """The quotient, if `by` times one term or formula is `value`."""
        if isinstance(by, int) and by == 1:
            return value
        over, under = terms_of(value), terms_of(by)
        if not over:
            return 0
        lead = divided(next(iter(over)), next(iter(under)))
        numbers = divmod(next(iter(over.values())), next(iter(under.values())))
        if lead is None or numbers[1] or len(over) != len(under):
            return None
        candidate = self.formula({lead: numbers[0]})
        return candidate if terms_of(candidate * by) == over else None

    def _rounded(self, kind: str, value: Integer, by: Integer) -> Integer:
        """The atom of a rounded quotient, in lowest terms."""
        number, monomial = common_factor([value, by])
        if number > 1 or monomial:
            value, by = (
                self.formula(
                    {
                        divided(m, monomial) or (): coefficient // number
                        for m, coefficient in terms_of(x).items()
                    }
                )
                for x in (value, by)
            )
        if not isinstance(value, Formula) and not isinstance(by, Formula):
            return value // by if kind == "floor" else -(-value // by)
        return self._of_atom(kind, "", (value, by))

    def maximum(self, values: Iterable[Integer]) -> Integer:
        """The largest value at each point, without operands that can never be larger than another by their bounds.

        If a formula and a number are always equal, it is the formula.
        """
        left = _largest_ones(values, self.bounds if self._noted is None else self.always)
        return left[0] if len(left) == 1 else self._of_atom("max", "", tuple(left))

    def largest_ones(self, values: Iterable[Integer]) -> list[Integer]:
        """The values without those that are never larger than another, by bounds over all points of the space."""
        return _largest_ones(values, self.always)

    def compare(self, one: Formula, other: Integer, relation: str) -> bool:
        """Whether `one` is ==, < or > `other` at all points of the lot.

        Raises:
            MixedPointsError: if they do not agree.
        """
        low, high = self.bounds.of_difference(one, other)
        if low > 0 or high < 0:
            holds = relation == (">" if low > 0 else "<")
        else:
            holds = self.decide(one - other, relation)
        if self._noted is not None:
            self._noted.append((one, other, relation, holds))
        return holds

    # -- results that several lots share -----------------------------------------------------------------------------

    @contextmanager
    def keeping(self, key: Hashable) -> Iterator[Callable[[Any], None]]:
        """Keep what is worked out in this context, with the answers that it depends on: see `recalled`.

        What is worked out may depend on the key and on comparisons alone.
        """
        before, self._noted = self._noted, []
        try:
            yield lambda result: self._kept.setdefault(key, []).append((self._conditions(), result))
        finally:
            if before is not None:
                before += self._noted
            self._noted = before

    def recalled(self, key: Hashable) -> Any:
        """What was kept for a key in another lot, if the same answers hold in this one; else None.

        As in a pass, the lot may be split where an answer holds at some points only.
        """
        for conditions, result in self._kept.get(key, ()):
            if all(self.compare(one, other, relation) == holds for one, other, relation, holds in conditions):
                return result
        return None

    def _conditions(self) -> tuple[Answer, ...]:
        """The answers that were noted, each once, without those that hold at all points of the space by their bounds."""
        found: dict[Hashable, Answer] = {}
        for answer in self._noted or ():
            one, other, relation, _ = answer
            low, high = self.always.of_difference(one, other)
            if low <= 0 <= high:
                found.setdefault((one.key, key_of(other), relation), answer)
        return tuple(found.values())

    def magnitude(self, value: Integer) -> int:
        """A bound for the absolute value of each term of a formula, and of each sum of its terms."""
        return sum(
            abs(coefficient) * max(map(abs, self.bounds.of_product(monomial)))
            for monomial, coefficient in terms_of(value).items()
        )

    def decide(self, difference: Integer, relation: str) -> bool:
        """Whether `difference` is ==, < or > 0, at all points.

        Raises:
            MixedPointsError: if they do not agree.
        """
        holds = RELATIONS[relation]
        if not isinstance(difference, Formula):
            return bool(holds(difference))
        low, high = self.bounds(difference)
        if low > 0 or high < 0 or low == high:
            return bool(holds(low))
        key = difference.key, relation
        if key not in self._decided:
            self._decided[key] = self._agreed(difference, relation)
        return self._decided[key]

    def _agreed(self, difference: Formula, relation: str) -> bool:
        found: list[Any] = []
        formula = self._without_factors(difference)
        for evaluate in self.chunks():
            true = RELATIONS[relation](evaluate(formula))
            found.append(true)
            if not any(self.varies(atom) for product in terms_of(formula) for atom, _ in product):
                break
        agreed = {bool(end) for true in found for end in _ends(true)}
        if len(agreed) == 1:
            return agreed.pop()
        if self._split is None:
            raise MixedPointsError(difference, relation)
        self._go_on(found)
        return True

    def _without_factors(self, difference: Formula) -> Integer:
        """The formula without its factors that are above 0 at all points: they do not change its sign."""
        _, monomial = common_factor([difference])
        above = tuple((atom, power) for atom, power in monomial if self.bounds.of_atom(atom)[0] > 0)
        if not above:
            return difference
        return self.formula({divided(own, above) or (): value for own, value in difference.terms.items()})

    def _go_on(self, holds: list[Any]) -> None:
        """Go on with the points at which a relation holds, given for each chunk."""
        assert self._split is not None  # noqa: S101 - for the type checker
        self._set(self._split(holds, self.axis))

    def one_number(self, formula: Formula) -> int:
        """The value of a formula that is the same at all points, such as the length of a list.

        Raises:
            MixedPointsError: if it is not the same at all points.
        """
        first = next(iter(self.chunks()))(formula)
        number = int(first if isinstance(first, int) else first.flat[0])
        if self.compare(formula, number, "=="):
            return number
        raise AssertionError("the first point has its own number")

    def chunks(self) -> Iterator[Evaluation]:
        """Evaluations of formulas at all points, about `CHUNK` points at a time."""
        side = self.shape[self.axis]
        step = max(CHUNK * side // self.size, 1)
        same = self._rounded_at.setdefault(-1, {})
        for start in range(0, side, step):
            known = self._rounded_at.setdefault(start, {}) if self.size <= KEPT else {}
            yield Evaluation(self, slice(start, min(start + step, side)), known, same)

    def forget(self) -> None:
        """Free the points, and the values at them."""
        self.points.clear()
        self._rounded_at.clear()

    def close(self) -> None:
        """Free all that only further lots would need."""
        self.forget()
        self._kept.clear()

    def _of_atom(self, kind: str, name: str, parts: tuple[Integer, ...]) -> Formula:
        key = (kind, name, tuple(map(key_of, parts)))
        if key not in self._atoms:
            self._atoms[key] = Atom(len(self._atoms), kind, name, parts)
        return Formula(self, {((self._atoms[key], 1),): 1})


def _largest_ones(values: Iterable[Integer], bounds: Bounds) -> list[Integer]:
    """The values without those that are never larger than another, by bounds."""
    left: list[Integer] = []
    for value in sorted(dict.fromkeys(values), key=lambda value: isinstance(value, int)):
        larger_than_some = []
        for other in left:
            low, high = bounds.of_difference(other, value)
            if low >= 0:
                break
            if high > 0:
                larger_than_some.append(other)
        else:
            left = [*larger_than_some, value]
    return left


def _side(values: Values, axis: int) -> int:
    return values.shape[axis] if hasattr(values, "shape") else 1


def _ends(true: Any) -> tuple[Any, ...]:
    return (true,) if isinstance(true, bool) else (true.any(), true.all())


class Evaluation:
    """Evaluates formulas at some of the points. Each atom is evaluated once.

    Args:
        space: has the points.
        where: the places along the dimension of chunks.
        known: what is known of atoms at these points.
        same: what is known of atoms that are the same in every chunk.
    """

    def __init__(
        self,
        space: Space,
        where: slice,
        known: dict[tuple[Atom, bool], Values],
        same: dict[tuple[Atom, bool], Values],
    ) -> None:
        self.space = space
        self.where = where
        self.size = where.stop - where.start
        self.atoms = known
        self.same = same
        self.formulas: dict[tuple[Key, bool], Values] = {}

    def __call__(self, value: Integer) -> Values:
        """An int, or an array with an int for each point: int64, or dtype object if that might overflow."""
        large = self.space.magnitude(value) > MOST and not self._fits(value)
        return self._value(value, large=large)

    def _fits(self, value: Integer) -> bool:
        """Whether all terms, products and sums of a formula fit in 63 bits at these points; by floats, with a bit for rounding.

        Bounds say no too often: those of the windows of an image combine the smallest window with the largest.
        """
        total: Any = 0.0
        for monomial, coefficient in terms_of(value).items():
            if abs(coefficient) > MOST:
                return False
            product: Any = float(abs(coefficient))
            for atom, power in monomial:
                sizes = abs(self._atom(atom, large=False))
                sizes = sizes + (sizes == 0)  # of a product with a 0, parts may be large
                for _ in range(power):
                    product = product * sizes
            total = total + product
        return bool((total.max() if hasattr(total, "max") else total) < MOST // 2)

    def _value(self, value: Integer, *, large: bool) -> Values:
        if not isinstance(value, Formula):
            return value
        key = value.key, large
        if key not in self.formulas:
            self.formulas[key] = self._polynomial(value, large=large)
        return self.formulas[key]

    def _polynomial(self, value: Formula, *, large: bool) -> Values:
        sums: dict[Monomial, Values] = {}
        for monomial, coefficient in value.terms.items():
            product: Values = coefficient
            outer = []
            for atom, power in monomial:
                if self.space.varies(atom):
                    outer.append((atom, power))
                    continue
                values = self._atom(atom, large=large)
                for _ in range(power):
                    product = product * values
            key = tuple(outer)
            sums[key] = sums[key] + product if key in sums else product
        total: Values = 0
        for key, product in sums.items():
            for atom, power in key:
                values = self._atom(atom, large=large)
                for _ in range(power):
                    product = product * values  # noqa: PLW2901 - a sum times its atoms
            total = total + product
        return total

    def _atom(self, atom: Atom, *, large: bool) -> Values:
        key = atom, large
        known = self.atoms if self.space.varies(atom) else self.same
        if key not in known:
            most = (
                MOST // 2 if atom.kind == "max" else MOST
            )  # operands of a maximum are subtracted from each other
            large = large or any(self.space.magnitude(part) > most for part in atom.parts)
            known[key] = self._of_kind[atom.kind](self, atom, large)
        return known[key]

    def _symbol(self, atom: Atom, large: bool) -> Values:
        values = self.space.points[atom.name]
        if isinstance(values, int):
            return values
        axis = self.space.axis
        if values.shape[axis] > 1:
            values = values[(slice(None),) * axis + (self.where,)]
        return values.astype(object if large else "int64", copy=False)

    def _floor(self, atom: Atom, large: bool) -> Values:
        value, by = (self._value(part, large=large) for part in atom.parts)
        return value // by

    def _ceil(self, atom: Atom, large: bool) -> Values:
        value, by = (self._value(part, large=large) for part in atom.parts)
        return -(-value // by)

    def _maximum(self, atom: Atom, large: bool) -> Values:
        """Each operand by its difference from the one before: layers of one kind have the same, already known one."""
        before, *_ = atom.parts
        most = now = self._value(before, large=large)
        for part in atom.parts[1:]:
            now = now + self._value(part - before, large=large)
            most, before = larger(most, now), part
        return most

    _of_kind: ClassVar = {"symbol": _symbol, "floor": _floor, "ceil": _ceil, "max": _maximum}
