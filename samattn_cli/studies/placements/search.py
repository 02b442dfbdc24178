"""A search of all placements of some numbers of global layers for the Pareto front of cost against information flow.

Three values are compared: a cost, the first layer after which every token sees the whole image, and the longest run of
layers without global mixing; less is better. The share of layers that see the whole image follows from the second. Layers
after the last global one are shown but not compared: more of them refine more, but also mix less, which the longest run
already counts. A placement is on the front if no other is at least as good in all three values and better in one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import comb

import numpy as np

from ..progress import Tell, silent
from .budget import Limit, Metric
from .masks import Ints, masks
from .runs import Runs
from .table import Table

NONE = np.iinfo(np.int64).max
"""Above any cost, and any mask."""


@dataclass(frozen=True)
class Point:
    """Placements with equal compared values, and one of them.

    Attributes:
        cost: in the unit of the metric's figure.
        full: the first layer after which every token sees everything; the encoder's depth if there is none.
        longest: the longest run of layers without global mixing.
        ties: how many placements have these values.
        mask: the one of them with the lowest peak memory, then the smallest mask.
    """

    cost: int
    full: int
    longest: int
    ties: int
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
class Result:
    """The result of a search: how many placements were examined, how many are within the budget, and the front."""

    searched: int
    within: int
    front: tuple[Point, ...]


@dataclass(frozen=True)
class Question:
    """The question for a table: the cost to compare, the limits, and the flow without any global layer.

    Attributes:
        cost: the metric that is compared.
        limits: the upper bounds of a placement's metrics.
        tie_breaker: the peak that decides between placements that tie.
        depth: the number of layers of the encoder.
        windowed_full: the first layer after which every token sees everything by windows alone; None: there is none.
    """

    cost: Metric
    limits: tuple[Limit, ...]
    tie_breaker: str
    depth: int
    windowed_full: int | None

    @property
    def figures(self) -> set[str]:
        """The figures of the table that the question needs."""
        return {self.cost.figure, self.tie_breaker, *(limit.metric.figure for limit in self.limits)}

    def full(self, runs: Runs) -> Ints:
        """The first layer after which every token sees everything: the first global one, or by windows before it."""
        full: Ints = np.minimum(runs.before, self.depth if self.windowed_full is None else self.windowed_full)
        return full

    def is_within(self, table: Table, mask: int) -> bool:
        """Whether a placement is within the limits."""
        figures = table.figures_of(mask, self.figures)
        return all(figures[limit.metric.figure] <= limit.most for limit in self.limits)

    def point(self, table: Table, mask: int) -> Point:
        """The point of one placement."""
        one = np.array([mask], np.int64)
        runs, cost = table.runs(one), table.figures_of(mask, {self.cost.figure})[self.cost.figure]
        return Point(cost, int(self.full(runs)[0]), int(runs.longest[0]), 1, mask)


def possible(table: Table, numbers: Iterable[int], limits: Sequence[Limit]) -> list[int]:
    """The numbers of global layers for which some placement may be within the limits, by a lower bound of sums."""
    return [
        number
        for number in numbers
        if all(table.least(limit.metric.figure, number) <= limit.most for limit in limits)
    ]


def size(table: Table, numbers: Iterable[int]) -> int:
    """How many placements of these numbers of global layers there are."""
    return sum(comb(len(table.layers), number) for number in numbers)


def search(
    table: Table,
    numbers: Sequence[int],
    question: Question,
    tell: Tell = silent,
    refused: Collection[int] = (),
) -> Result:
    """Examine all placements of these numbers of global layers but those that are refused.

    `tell` is called with how many were examined.
    """
    best, within, done, all_ = _Best(question.depth), 0, 0, size(table, numbers) - len(refused)
    tell(0, all_)
    for number in numbers:
        for chunk in masks(len(table.layers), number):
            kept = chunk[~np.isin(chunk, list(refused))] if refused else chunk
            within += _examine(table, kept, question, best)
            done += len(kept)
            tell(done, all_)
    return Result(all_, within, tuple(_front(list(best.points()))))


def _examine(table: Table, chunk: Ints, question: Question, best: _Best) -> int:
    """Add the placements within the limits to `best`; return how many they are."""
    figures = table.figures(chunk, question.figures)
    if question.limits:
        good = np.logical_and.reduce(
            [figures[limit.metric.figure] <= limit.most for limit in question.limits]
        )
        chunk, figures = chunk[good], {name: each[good] for name, each in figures.items()}
    if not len(chunk):
        return 0
    runs = table.runs(chunk)
    best.add(
        question.full(runs), runs.longest, figures[question.cost.figure], figures[question.tie_breaker], chunk
    )
    return len(chunk)


class _Best:
    """The lowest cost for each pair of flow values, how many placements have it, and one of them."""

    def __init__(self, depth: int) -> None:
        self.side = depth + 1
        self.cost, self.peak, self.mask = (np.full(self.side**2, NONE) for _ in range(3))
        self.ties = np.zeros(self.side**2, np.int64)

    def add(self, full: Ints, longest: Ints, cost: Ints, peak: Ints, mask: Ints) -> None:
        """Add some placements."""
        place = full * self.side + longest
        lowest = self._lowest(place, cost)
        at_lowest = cost == lowest[place]
        place, peak, mask = place[at_lowest], peak[at_lowest], mask[at_lowest]
        ties = np.bincount(place, minlength=self.side**2)
        lowest_peak = self._lowest(place, peak)
        at_peak = peak == lowest_peak[place]
        lowest_mask = self._lowest(place[at_peak], mask[at_peak])
        self._merge(lowest, lowest_peak, lowest_mask, ties)

    def _lowest(self, place: Ints, values: Ints) -> Ints:
        lowest = np.full(self.side**2, NONE)
        np.minimum.at(lowest, place, values)
        return lowest

    def _merge(self, cost: Ints, peak: Ints, mask: Ints, ties: Ints) -> None:
        better, same = cost < self.cost, cost == self.cost
        self.ties = np.where(better, ties, np.where(same, self.ties + ties, self.ties))
        first = better | (same & ((peak < self.peak) | ((peak == self.peak) & (mask < self.mask))))
        self.cost, self.peak, self.mask = (
            np.where(first, new, old)
            for new, old in ((cost, self.cost), (peak, self.peak), (mask, self.mask))
        )

    def points(self) -> Iterator[Point]:
        """The best point of each pair of flow values that occurs."""
        for place in np.flatnonzero(self.ties).tolist():
            full, longest = divmod(place, self.side)
            yield Point(int(self.cost[place]), full, longest, int(self.ties[place]), int(self.mask[place]))


def _front(points: list[Point]) -> Iterator[Point]:
    """The Pareto front, from the lowest cost to the highest."""
    for point in sorted(points, key=lambda point: point.compared):
        if not any(other.beats(point) for other in points):
            yield point
