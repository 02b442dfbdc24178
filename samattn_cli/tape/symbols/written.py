"""Formulas as text that Python can evaluate: ``3*B*ceil(H/w)*ceil(W/w)*w**2*C*(C + 1)``.

The common factor of all terms is in front of the bracket. Evaluated with values for its names, with ``max`` and with ``ceil``
and ``floor`` of exact quotients, the text gives the value of the formula.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import gcd

from ...records import dataclass
from .formula import Atom, Integer, terms_of

Factors = dict[str, int]
"""The text of each factor of a product, and its power."""


@dataclass(frozen=True)
class Writer:
    """How to write formulas.

    Attributes:
        order: names in the order of a product; "" is the place of rounded quotients and maxima.
        products: two names whose product has a name of its own: {("h", "d"): "C"}.
    """

    order: Sequence[str] = ("",)
    products: Mapping[tuple[str, str], str] | None = None

    def __call__(self, value: Integer) -> str:
        """The formula as text."""
        terms = [(self._factors(monomial), number) for monomial, number in terms_of(value).items()]
        if not terms:
            return "0"
        shared = {
            name: min(factors.get(name, 0) for factors, _ in terms)
            for name in terms[0][0]
            if all(name in factors for factors, _ in terms)
        }
        number = gcd(*(coefficient for _, coefficient in terms))
        left = [(_without(factors, shared), coefficient // number) for factors, coefficient in terms]
        if len(left) == 1:
            return self._product(terms[0][0], terms[0][1])
        inner = self._sum(left)
        before = self._product(shared, number)
        return inner if before == "1" else f"{before}*({inner})"

    def _factors(self, monomial: tuple[tuple[Atom, int], ...]) -> Factors:
        """The factors of a product; pairs of `products` are replaced by their common name."""
        factors = {self._atom(atom): power for atom, power in monomial}
        for (one, two), name in (self.products or {}).items():
            both = min(factors.get(one, 0), factors.get(two, 0))
            factors = _without(factors, {one: both, two: both}) | ({name: both} if both else {})
        return factors

    def _atom(self, atom: Atom) -> str:
        if atom.kind == "symbol":
            return atom.name
        if atom.kind == "max":
            return f"max({', '.join(map(self, atom.parts))})"
        over, under = map(self, atom.parts)
        return f"{atom.kind}({_bracketed(over, ' ')}/{_bracketed(under, ' *')})"

    def _sum(self, terms: list[tuple[Factors, int]]) -> str:
        ordered = sorted(terms, key=lambda term: (-sum(term[0].values()), self._product(*term)))
        ordered.sort(key=lambda term: term[1] < 0)  # negative terms come last
        text = " + ".join(self._product(*term) for term in ordered)
        return text.replace("+ -", "- ")

    def _product(self, factors: Factors, number: int) -> str:
        ordered = sorted(factors.items(), key=lambda factor: (self._place(factor[0]), factor[0]))
        texts = [f"{name}**{power}" if power > 1 else name for name, power in ordered]
        if abs(number) != 1 or not texts:
            texts.insert(0, str(abs(number)))
        return ("-" if number < 0 else "") + "*".join(texts)

    def _place(self, name: str) -> int:
        return self.order.index(name if name in self.order else "")


def _without(factors: Factors, removed: Mapping[str, int]) -> Factors:
    left = {name: power - removed.get(name, 0) for name, power in factors.items()}
    return {name: power for name, power in left.items() if power}


def _bracketed(text: str, separators: str) -> str:
    return f"({text})" if any(separator in text for separator in separators) else text
