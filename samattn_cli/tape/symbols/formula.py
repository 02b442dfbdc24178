"""Integer formulas in a normal form: polynomials over symbols, rounded quotients and maxima, with exact coefficients.

Two formulas that are equal as polynomials are the same dictionary. So the most frequent question of a pass, whether a stride
equals a product, is answered without a number. A value without symbols is a plain int.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import reduce
from math import gcd
from typing import TYPE_CHECKING, Any

from .lanes import Lanes, greatest_of

if TYPE_CHECKING:
    from .space import Space

Integer = Any
"""An int or a Formula."""

Values = Any
"""A number, or an array of one for each point."""


class Atom:
    """A variable of the polynomial: a symbol, a rounded quotient or a maximum. A space makes each atom only once.

    Attributes:
        number: its place in the order of a product.
        kind: "symbol", "floor" (a quotient rounded down), "ceil" (rounded up) or "max".
        name: the name of a symbol.
        parts: for a quotient, dividend and divisor; for a maximum, its operands.
    """

    __slots__ = ("kind", "name", "number", "parts")

    def __init__(self, number: int, kind: str, name: str, parts: tuple[Integer, ...]) -> None:
        self.number = number
        self.kind = kind
        self.name = name
        self.parts = parts


Monomial = tuple[tuple[Atom, int], ...]
"""A product of atoms, each with its power, in their order; () is 1."""

Terms = dict[Monomial, int]

Key = frozenset[tuple[Monomial, int]]


class Formula:
    """A polynomial with integer coefficients and at least one symbol; see `Space.formula`.

    Comparisons are decided over all points of the space. In arithmetic with a float it is converted by `int`.

    Raises:
        MixedPointsError: from a comparison that holds at some points only, and from `int` or `range` of a formula that is
            not the same number at all points.
    """

    __slots__ = ("_key", "space", "terms")

    def __init__(self, space: Space, terms: Terms) -> None:
        self.space = space
        self.terms = terms
        self._key: Key | None = None

    def __add__(self, other: Integer) -> Integer:
        terms = dict(self.terms)
        if isinstance(other, Formula):
            so_far = terms.get
            for monomial, coefficient in other.terms.items():
                terms[monomial] = so_far(monomial, 0) + coefficient
        elif isinstance(other, int):
            terms[()] = terms.get((), 0) + other
        else:
            return int(self) + other
        return self.space.formula(terms)

    __radd__ = __add__

    def __neg__(self) -> Formula:
        return Formula(self.space, {monomial: -value for monomial, value in self.terms.items()})

    def __sub__(self, other: Integer) -> Integer:
        if not isinstance(other, Formula):
            return self + -other
        terms = dict(self.terms)
        so_far = terms.get
        for monomial, coefficient in other.terms.items():
            terms[monomial] = so_far(monomial, 0) - coefficient
        return self.space.formula(terms)

    def __rsub__(self, other: Integer) -> Integer:
        if not isinstance(other, int):
            return -self + other
        terms = {monomial: -value for monomial, value in self.terms.items()}
        terms[()] = terms.get((), 0) + other
        return self.space.formula(terms)

    def __mul__(self, other: Integer) -> Integer:
        if isinstance(other, Formula):
            terms: Terms = {}
            space = self.space
            known, so_far = space.products.get, terms.get
            for one, its in self.terms.items():
                for two, theirs in other.terms.items():
                    product = known((one, two)) or space.product(one, two)
                    terms[product] = so_far(product, 0) + its * theirs
            return space.formula(terms)
        if isinstance(other, int):
            if other == 1:
                return self
            return other and Formula(self.space, {m: other * value for m, value in self.terms.items()})
        return int(self) * other

    __rmul__ = __mul__

    def __pow__(self, power: int) -> Integer:
        return reduce(lambda so_far, _: so_far * self, range(power), 1)

    def __floordiv__(self, other: Integer) -> Integer:
        return self.space.quotient(self, other)

    def __rfloordiv__(self, other: Integer) -> Integer:
        return self.space.quotient(other, self)

    def __mod__(self, other: Integer) -> Integer:
        return self - (self // other) * other

    def __rmod__(self, other: Integer) -> Integer:
        return other - (other // self) * self

    def __divmod__(self, other: Integer) -> tuple[Integer, Integer]:
        whole = self // other
        return whole, self - whole * other

    def __rdivmod__(self, other: Integer) -> tuple[Integer, Integer]:
        whole = other // self
        return whole, other - whole * self

    def __eq__(self, other: object) -> bool:
        return self._compare(other, "==")

    def __ne__(self, other: object) -> bool:
        return not self._compare(other, "==")

    def __lt__(self, other: Integer) -> bool:
        return self._compare(other, "<")

    def __ge__(self, other: Integer) -> bool:
        return not self._compare(other, "<")

    def __gt__(self, other: Integer) -> bool:
        return self._compare(other, ">")

    def __le__(self, other: Integer) -> bool:
        return not self._compare(other, ">")

    def __bool__(self) -> bool:
        return not self._compare(0, "==")

    def __hash__(self) -> int:
        return hash(self.key)

    @property
    def key(self) -> Key:
        """Equal for equal polynomials only, so that a dictionary finds one without a comparison over the points."""
        if self._key is None:
            self._key = frozenset(self.terms.items())
        return self._key

    def __int__(self) -> int:
        return self.space.one_number(self)

    __index__ = __int__

    def __repr__(self) -> str:
        return plain(self)

    def __format__(self, spec: str) -> str:
        """As `plain`. Messages for users are made with numbers, not with formulas."""
        return plain(self)

    def _compare(self, other: object, relation: str) -> bool:
        if not isinstance(other, (int, Formula)):
            if relation == "==":
                return False
            raise TypeError(f"cannot compare {self} {relation} {other!r}: it is not an integer")
        if self is other or (isinstance(other, Formula) and self.terms == other.terms):
            return relation == "=="
        return self.space.compare(self, other, relation)


def greatest(values: Iterable[Integer]) -> Integer:
    """The largest value. For formulas it is the maximum as a formula, without a comparison."""
    values = list(values)
    types = {*map(type, values)}
    if Lanes in types:
        return greatest_of(values)
    if Formula not in types:
        return max(values)
    space = next((value.space for value in values if isinstance(value, Formula)), None)
    return max(values) if space is None else space.maximum(values)


def largest_ones(values: Iterable[Integer]) -> tuple[Integer, ...]:
    """The values that may be the largest at some point of any lot of their space; of numbers the largest."""
    values = list(values)
    if Lanes in {*map(type, values)}:
        return (greatest_of(values),)
    space = next((value.space for value in values if isinstance(value, Formula)), None)
    return (max(values),) if space is None else tuple(space.largest_ones(values))


def larger(one: Values, two: Values) -> Values:
    """The larger at each point: of two numbers, or of arrays and numbers."""
    if hasattr(one, "clip"):
        return one.clip(two)
    return two.clip(one) if hasattr(two, "clip") else max(one, two)


def terms_of(value: Integer) -> Terms:
    """The terms of a formula or a number."""
    return value.terms if isinstance(value, Formula) else {(): value} if value else {}


def key_of(value: Integer) -> Key | int:
    """A key of dictionaries; see `Formula.key`."""
    return value.key if isinstance(value, Formula) else value


def common_factor(values: Iterable[Integer]) -> tuple[int, Monomial]:
    """The largest number and product of atoms that divides every term of formulas."""
    terms = [term for value in values for term in terms_of(value).items()]
    shared = dict(terms[0][0])
    for monomial, _ in terms[1:]:
        powers = dict(monomial)
        shared = {atom: min(power, powers[atom]) for atom, power in shared.items() if atom in powers}
    ordered = sorted(shared.items(), key=lambda factor: factor[0].number)
    return gcd(*(coefficient for _, coefficient in terms)), tuple(ordered)


def divided(monomial: Monomial, by: Monomial) -> Monomial | None:
    """The product divided by another; None if it does not have all of its factors."""
    powers = dict(monomial)
    for atom, power in by:
        if powers.get(atom, 0) < power:
            return None
        powers[atom] -= power
    return tuple((atom, power) for atom, power in powers.items() if power)


def plain(value: Integer) -> str:
    """A formula as a line of text, in the order of its terms."""
    return " + ".join(_term(*term) for term in terms_of(value).items()) or "0"


def _term(monomial: Monomial, coefficient: int) -> str:
    factors = [f"{_atom(atom)}**{power}" if power > 1 else _atom(atom) for atom, power in monomial]
    if coefficient != 1 or not factors:
        factors.insert(0, str(coefficient))
    return "*".join(factors)


def _atom(atom: Atom) -> str:
    return atom.name or f"{atom.kind}({', '.join(map(plain, atom.parts))})"


def atoms_of(value: Integer) -> Iterator[Atom]:
    """The atoms of a formula, each once, after the atoms in its parts."""
    seen: set[Atom] = set()

    def walk(part: Integer) -> Iterator[Atom]:
        for monomial in terms_of(part):
            for atom, _ in monomial:
                if atom not in seen:
                    seen.add(atom)
                    for inner in atom.parts:
                        yield from walk(inner)
                    yield atom

    return walk(value)


def value_at(value: Integer, points: Mapping[str, int]) -> int:
    """The value of a formula for values of its symbols, which need not be points of its space."""
    total = 0
    for monomial, coefficient in terms_of(value).items():
        product = coefficient
        for atom, power in monomial:
            product *= _atom_at(atom, points) ** power
        total += product
    return total


def _atom_at(atom: Atom, points: Mapping[str, int]) -> int:
    if atom.kind == "symbol":
        return points[atom.name]
    parts: list[int] = [value_at(part, points) for part in atom.parts]
    if atom.kind == "max":
        return max(parts)
    return parts[0] // parts[1] if atom.kind == "floor" else -(-parts[0] // parts[1])
