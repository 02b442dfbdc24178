"""The points that formulas stand for: it has the values of their symbols, decides comparisons and evaluates formulas.

Integers stay exact. Interval arithmetic with Python's integers gives bounds for each formula. If the bounds of every term and
sum fit in 63 bits, arrays are int64; otherwise they have Python's integers (dtype object), which are slower.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar

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

KEPT = 1 << 21
"""Up to this number of points, the values of atoms are kept for the next formula: most formulas share a few."""

RELATIONS: dict[str, Callable[[Any], Any]] = {
    "==": lambda value: value == 0,
    "<": lambda value: value < 0,
    ">": lambda value: value > 0,
}


class MixedPointsError(Exception):
    """A comparison, `formula` (relation) 0, holds at some points only, so that the pass differs between points."""

    def __init__(self, formula: Formula, relation: str) -> None:
        super().__init__(f"{formula} {relation} 0 holds at some points only")
        self.formula = formula
        self.relation = relation


class Space:
    """Symbols and their values: numbers for one point, or NumPy arrays of one length for many."""

    def __init__(self, points: Mapping[str, Values]) -> None:
        self.points = dict(points)
        self.size = next((len(values) for values in points.values() if hasattr(values, "__len__")), 1)
        self._atoms: dict[Any, Atom] = {}
        self._products: dict[tuple[Monomial, Monomial], Monomial] = {}
        self._known_ends: dict[Monomial, tuple[int, int]] = {}
        self._quotients: dict[tuple[Key | int, Key | int], Integer] = {}
        self._decided: dict[tuple[Key, str], bool] = {}
        self._rounded_at: dict[int, dict[tuple[Atom, bool], Values]] = {}

    def symbol(self, name: str) -> Formula:
        """The symbol of that name, as a dimension."""
        values = self.points[name]
        low, high = (int(values.min()), int(values.max())) if hasattr(values, "min") else (values, values)
        return self._of_atom("symbol", name, (), low, high)

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
        found = self._products.get((one, two))
        if found is None:
            powers = dict(one)
            for atom, power in two:
                powers[atom] = powers.get(atom, 0) + power
            found = tuple(sorted(powers.items(), key=lambda factor: factor[0].number))
            self._products[one, two] = found
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
        (low, high), (least, most) = self.bounds(value), self.bounds(by)
        ends = [
            end // divisor if kind == "floor" else -(-end // divisor)
            for end in (low, high)
            for divisor in (max(least, 1), most)
        ]
        return self._of_atom(kind, "", (value, by), min(ends), max(ends))

    def maximum(self, values: Iterable[Integer]) -> Integer:
        """The largest value at each point, without operands that can never be larger than another by their bounds.

        If a formula and a number are always equal, it is the formula.
        """
        left: list[Integer] = []
        for value in sorted(dict.fromkeys(values), key=lambda value: isinstance(value, int)):
            if not any(self.bounds(other - value)[0] >= 0 for other in left):
                left = [other for other in left if self.bounds(value - other)[0] < 0]
                left.append(value)
        if len(left) == 1:
            return left[0]
        low, high = (max(ends) for ends in zip(*map(self.bounds, left), strict=True))
        return self._of_atom("max", "", tuple(left), low, high)

    def bounds(self, value: Integer) -> tuple[int, int]:
        """Lower and upper bound of a formula; it need not reach them."""
        low = high = 0
        known = self._known_ends
        for monomial, coefficient in terms_of(value).items():
            ends = known.get(monomial) or self._ends(monomial)
            least, most = ends if coefficient > 0 else ends[::-1]
            low += coefficient * least
            high += coefficient * most
        return low, high

    def _ends(self, monomial: Monomial) -> tuple[int, int]:
        """Lower and upper bound of a product of atoms."""
        if monomial not in self._known_ends:
            low = high = 1
            for atom, power in monomial:
                for _ in range(power):
                    ends = [one * two for one in (low, high) for two in (atom.low, atom.high)]
                    low, high = min(ends), max(ends)
            self._known_ends[monomial] = low, high
        return self._known_ends[monomial]

    def magnitude(self, value: Integer) -> int:
        """A bound for the absolute value of each term of a formula, and of each sum of its terms."""
        return sum(
            abs(coefficient) * max(map(abs, self._ends(monomial)))
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
        found: set[bool] = set()
        for evaluate in self.chunks():
            true = RELATIONS[relation](evaluate(difference))
            found |= {bool(true)} if isinstance(true, bool) else {bool(true.any()), bool(true.all())}
            if len(found) > 1:
                raise MixedPointsError(difference, relation)
        return found.pop()

    def one_number(self, formula: Formula) -> int:
        """The value of a formula that is the same at all points, such as the length of a list.

        Raises:
            MixedPointsError: if it is not the same at all points.
        """
        first = next(iter(self.chunks()))(formula)
        number = int(first if isinstance(first, int) else first[0])
        if self.decide(formula - number, "=="):
            return number
        raise AssertionError("the first point has its own number")

    def chunks(self) -> Iterator[Evaluation]:
        """Evaluations of formulas at all points, `CHUNK` points at a time."""
        for start in range(0, self.size, CHUNK):
            known = self._rounded_at.setdefault(start, {}) if self.size <= KEPT else {}
            yield Evaluation(self, slice(start, min(start + CHUNK, self.size)), known)

    def forget(self) -> None:
        """Free the points, and the values at them."""
        self.points.clear()
        self._rounded_at.clear()

    def _of_atom(self, kind: str, name: str, parts: tuple[Integer, ...], low: int, high: int) -> Formula:
        key = (kind, name, tuple(map(key_of, parts)))
        if key not in self._atoms:
            self._atoms[key] = Atom(len(self._atoms), kind, name, parts, low, high)
        return Formula(self, {((self._atoms[key], 1),): 1})


class Evaluation:
    """Evaluates formulas at some of the points. Each atom is evaluated once."""

    def __init__(self, space: Space, where: slice, known: dict[tuple[Atom, bool], Values]) -> None:
        self.space = space
        self.where = where
        self.size = where.stop - where.start
        self.atoms = known
        self.formulas: dict[tuple[Key, bool], Values] = {}

    def __call__(self, value: Integer) -> Values:
        """An int, or an array with an int for each point: int64, or dtype object if that might overflow."""
        return self._value(value, large=self.space.magnitude(value) > MOST)

    def _value(self, value: Integer, *, large: bool) -> Values:
        if not isinstance(value, Formula):
            return value
        key = value.key, large
        if key not in self.formulas:
            self.formulas[key] = self._polynomial(value, large=large)
        return self.formulas[key]

    def _polynomial(self, value: Formula, *, large: bool) -> Values:
        total: Values = 0
        for monomial, coefficient in value.terms.items():
            product: Values = coefficient
            for atom, power in monomial:
                values = self._atom(atom, large=large)
                for _ in range(power):
                    product = product * values
            total = total + product
        return total

    def _atom(self, atom: Atom, *, large: bool) -> Values:
        key = atom, large
        if key not in self.atoms:
            most = (
                MOST // 2 if atom.kind == "max" else MOST
            )  # operands of a maximum are subtracted from each other
            large = large or any(self.space.magnitude(part) > most for part in atom.parts)
            self.atoms[key] = self._of_kind[atom.kind](self, atom, large)
        return self.atoms[key]

    def _symbol(self, atom: Atom, large: bool) -> Values:
        values = self.space.points[atom.name]
        if isinstance(values, int):
            return values
        return values[self.where].astype(object if large else "int64", copy=False)

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
