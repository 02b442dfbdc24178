"""What a search asks, and the points that it compares: a cost and two facts of how information flows.

Three values are compared: a cost, the first layer after which every token sees the whole image, and the longest run of
layers without global mixing; less is better. The share of layers that see the whole image follows from the second. Layers
after the last global one are shown but not compared: more of them refine more, but also mix less, which the longest run
already counts. A placement is on the front if no other is at least as good in all three values and better in one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import attrgetter

from ...records import dataclass, replace
from .budget import Limit, Metric
from .table import SUMMED, Table


@dataclass(frozen=True)
class Point:
    """Placements with equal compared values, and one of them.

    Attributes:
        cost: in the unit of the metric's figure.
        full: the first layer after which every token sees everything; the encoder's depth if there is none.
        longest: the longest run of layers without global mixing.
        ties: how many placements have these values.
        peak: the lowest peak memory among them, in bytes.
        mask: the one of them with that peak; of several, the smallest mask.
    """

    cost: int
    full: int
    longest: int
    ties: int
    peak: int
    mask: int

    @property
    def compared(self) -> tuple[int, int, int]:
        """The compared values; less is better."""
        return self.cost, self.full, self.longest

    def beats(self, other: Point) -> bool:
        """Whether it is at least as good in all values and better in one."""
        pairs = zip(self.compared, other.compared, strict=True)
        return self.compared != other.compared and all(mine <= theirs for mine, theirs in pairs)


@dataclass(frozen=True)
class Question:
    """The question for a table: the cost to compare, the limits, and the peak that decides between placements that tie."""

    cost: Metric
    limits: tuple[Limit, ...]
    tie_breaker: str

    @property
    def figures(self) -> set[str]:
        """The figures of the table that the question needs."""
        return {self.cost.figure, self.tie_breaker, *(limit.metric.figure for limit in self.limits)}

    @property
    def adds_up(self) -> bool:
        """Whether the cost of a placement is the sum of what its layers cost, as FLOPs are and a peak is not."""
        return self.cost.figure in SUMMED

    def is_within(self, table: Table, mask: int) -> bool:
        """Whether a placement is within the limits."""
        figures = table.figures_of(mask, self.figures)
        return all(figures[limit.metric.figure] <= limit.most for limit in self.limits)

    def is_possible(self, table: Table, number: int) -> bool:
        """Whether a placement of this number of global layers may be within the limits, by a lower bound of sums."""
        return all(table.least(limit.metric.figure, number) <= limit.most for limit in self.limits)

    def is_certain(self, table: Table, number: int) -> bool:
        """Whether all placements of this number of global layers are within the limits, by an upper bound of sums."""
        bounds = ((table.most(limit.metric.figure, number), limit.most) for limit in self.limits)
        return all(bound is not None and bound <= most for bound, most in bounds)

    def point(self, table: Table, mask: int) -> Point:
        """The point of one placement."""
        figures = table.figures_of(mask, {self.cost.figure, self.tie_breaker})
        facts = table.flow.facts(table.chosen(mask))
        full = table.flow.depth if facts.first_full_context is None else facts.first_full_context
        longest = facts.longest_without_global
        return Point(figures[self.cost.figure], full, longest, 1, figures[self.tie_breaker], mask)


def merged(points: Iterable[Point]) -> Iterator[Point]:
    """The points, where those of equal compared values are one."""
    by_compared = attrgetter("compared")
    for _, equal in groupby(sorted(points, key=by_compared), by_compared):
        alike = list(equal)
        shown = min(alike, key=lambda point: (point.peak, point.mask))
        yield replace(shown, ties=sum(point.ties for point in alike))


def front(points: Iterable[Point]) -> tuple[Point, ...]:
    """The Pareto front, from the lowest cost to the highest."""
    every = list(merged(points))
    return tuple(point for point in every if not any(other.beats(point) for other in every))
