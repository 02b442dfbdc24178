"""A dimension that stands for one number in each of several encoders: a pass with these is a pass of all of them.

A `Formula` keeps how a number follows from the sizes; `Lanes` have the numbers alone, so that a pass takes less time. A comparison
is decided over the lanes that are left. If it holds in some of them only, the pass goes on with those, and the others wait
for a pass of their own.
"""

from __future__ import annotations

from functools import reduce
from typing import Any

Numbers = Any
"""An array of int64, with a number for each lane."""


class Lot:
    """The lanes of a pass.

    Attributes:
        size: how many there are.
        left: the places of those for which the pass goes on; all, until one is left out.
        out: the places of those that were left out, as many at a time as took another branch.
    """

    __slots__ = ("_left", "out", "places", "size")

    def __init__(self, places: Numbers) -> None:
        self.places = places
        self.size = len(places)
        self._left: Numbers | None = None
        self.out: list[Numbers] = []

    @property
    def left(self) -> Numbers:
        """The places of the lanes for which the pass goes on."""
        return self.places if self._left is None else self._left

    def only(self, places: Numbers) -> None:
        """Go on with some lanes."""
        self._left = places

    def taken(self) -> list[Numbers]:
        """Those that were left out, which the lot forgets."""
        out, self.out = self.out, []
        return out

    def of(self, numbers: Numbers) -> Any:
        """A dimension with these numbers; a plain int if they are the same in all lanes."""
        first = int(numbers[0])
        return first if (numbers == first).all() else Lanes(self, numbers)

    def holds(self, true: Numbers) -> bool:
        """Whether a relation holds in the lanes that are left; if in some only, go on with those or with the others: with more."""
        found = true.tobytes()
        if 0 not in found:
            return True
        if 1 not in found:
            return False
        if self._left is not None:
            true = true[self._left]
        number = int(true.sum())
        if number == len(true) or not number:
            return bool(number)
        goes_on = 2 * number >= len(true)
        kept = true if goes_on else ~true
        self.out.append(self.left[~kept])
        self._left = self.left[kept]
        return goes_on


class Lanes:
    """A number for each lane."""

    __slots__ = ("lot", "numbers")

    def __init__(self, lot: Lot, numbers: Numbers) -> None:
        self.lot = lot
        self.numbers = numbers

    def __add__(self, other: Any) -> Any:
        return Lanes(self.lot, self.numbers + _numbers(other))

    __radd__ = __add__

    def __neg__(self) -> Any:
        return Lanes(self.lot, -self.numbers)

    def __sub__(self, other: Any) -> Any:
        return Lanes(self.lot, self.numbers - _numbers(other))

    def __rsub__(self, other: Any) -> Any:
        return Lanes(self.lot, other - self.numbers)

    def __mul__(self, other: Any) -> Any:
        if isinstance(other, int) and not other:
            return 0
        return Lanes(self.lot, self.numbers * _numbers(other))

    __rmul__ = __mul__

    def __pow__(self, power: int) -> Any:
        return reduce(lambda so_far, _: so_far * self, range(power), 1)

    def __floordiv__(self, other: Any) -> Any:
        return Lanes(self.lot, self.numbers // _numbers(other))

    def __rfloordiv__(self, other: Any) -> Any:
        return Lanes(self.lot, other // self.numbers)

    def __mod__(self, other: Any) -> Any:
        return Lanes(self.lot, self.numbers % _numbers(other))

    def __rmod__(self, other: Any) -> Any:
        return Lanes(self.lot, other % self.numbers)

    def __divmod__(self, other: Any) -> tuple[Any, Any]:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> tuple[Any, Any]:
        return other // self, other % self

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if isinstance(other, Lanes) and other.lot is not self.lot:
            return False  # as the key of a cache
        return isinstance(other, int | Lanes) and self.lot.holds(self.numbers == _numbers(other))

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __lt__(self, other: Any) -> bool:
        return self.lot.holds(self.numbers < _numbers(other))

    def __le__(self, other: Any) -> bool:
        return self.lot.holds(self.numbers <= _numbers(other))

    def __gt__(self, other: Any) -> bool:
        return self.lot.holds(self.numbers > _numbers(other))

    def __ge__(self, other: Any) -> bool:
        return self.lot.holds(self.numbers >= _numbers(other))

    def __bool__(self) -> bool:
        return self.lot.holds(self.numbers != 0)

    def __hash__(self) -> int:
        return hash(self.numbers.tobytes())

    def __int__(self) -> int:
        while not self.lot.holds(self.numbers == self.numbers[self.lot.left[0]]):
            pass  # goes on with those that have other numbers, until they have one
        return int(self.numbers[self.lot.left[0]])

    __index__ = __int__

    def __repr__(self) -> str:
        return f"Lanes({self.numbers[self.lot.left].tolist()})"

    def __format__(self, spec: str) -> str:
        """As `repr`. Messages for users are made with numbers, not with lanes."""
        return repr(self)

    def larger(self, other: Any) -> Lanes:
        """The larger number in each lane."""
        return Lanes(self.lot, self.numbers.clip(_numbers(other)))


class NotANumberError(TypeError):
    """A calculation with lanes and something else than integers."""


def _numbers(value: Any) -> Any:
    """What NumPy calculates with."""
    if type(value) is Lanes:
        return value.numbers
    if isinstance(value, int):
        return value
    raise NotANumberError(f"{value!r} is not an integer")


def greatest_of(values: list[Any]) -> Any:
    """The largest value in each lane, of lanes and ints."""
    lanes = [value for value in values if isinstance(value, Lanes)]
    others = [value for value in values if not isinstance(value, Lanes)]
    most = reduce(Lanes.larger, lanes)
    return most.larger(max(others)) if others else most
