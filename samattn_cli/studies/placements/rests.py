"""The lowest cost of what follows a global layer, by how many more global layers follow."""

from __future__ import annotations

from math import inf
from operator import add

from .gaps import START, Gaps

Costs = list[float]
"""Whole numbers, or `inf` where there is no placement."""


class Rests:
    """The lowest cost from a global layer on, where no run without a global layer is above `longest`.

    `of[more][before][place]`: the layer at `place` is global, the one before it is (1) or is not (0), and `more` follow.
    """

    def __init__(self, gaps: Gaps, longest: int, most: int) -> None:
        self.gaps, self.longest = gaps, longest
        self.reach = [gaps.reach(place, longest) for place in range(gaps.end)]
        self.of: list[tuple[Costs, Costs]] = []
        for more in range(most):
            each = self._last if more == 0 else self._followed
            plain = [each(more, 0, place) for place in range(gaps.end)]
            remembers = gaps.remember
            self.of.append(
                (plain, [each(more, 1, place) for place in range(gaps.end)] if remembers else plain)
            )

    def _last(self, _: int, before: int, place: int) -> float:
        """No global layer follows."""
        gaps = self.gaps
        if self.reach[place] < gaps.end - place:
            return inf
        return gaps.own(place, before, after=False) + gaps.windowed[place][-1]

    def _followed(self, more: int, before: int, place: int) -> float:
        """The next global layer is at once, or after some windowed layers."""
        gaps, reach = self.gaps, min(self.reach[place], self.gaps.end - place - 1)
        if not reach:
            return inf
        plain, adjacent = self.of[more - 1]
        at_once = gaps.own(place, before, after=True) + adjacent[place + 1]
        later = map(add, gaps.windowed[place][1:reach], plain[place + 2 :])
        return min(at_once, gaps.own(place, before, after=False) + min(later, default=inf))

    def from_first(self, number: int, first: int) -> float:
        """The lowest cost of placements of a number of global layers, of which `first` is the first one."""
        if first >= self.gaps.reach(START, self.longest):
            return inf
        return self.gaps.windowed[START][first] + self.of[number - 1][0][first]
