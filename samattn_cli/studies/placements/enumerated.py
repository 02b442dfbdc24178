"""A search that looks at each placement, in arrays: for costs and limits that do not add up over layers, such as peaks."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import numpy as np

from ..progress import Tell
from .groups import Grouped
from .masks import Ints, masks
from .points import Point, Question
from .runs import Runs
from .table import Table

NONE = np.iinfo(np.int64).max
"""Above any cost, and any mask."""


def points_of_each(
    table: Table,
    name: str,
    numbers: Sequence[int],
    question: Question,
    refused: Collection[int],
    tell: Tell,
    all_: int,
) -> tuple[list[Point], int]:
    """The best point of each pair of flow values over all placements of these numbers, and how many keep the limits.

    `tell` is called with how many of `all_` were looked at; `name` is the encoder's, for errors.
    """
    grouped = Grouped.of(table, name)
    best, within, done = _Best(table.flow.depth), 0, 0
    for number in numbers:
        for chunk in masks(len(table.layers), number):
            kept = chunk[~np.isin(chunk, list(refused))] if refused else chunk
            within += _examine(table, grouped, kept, question, best)
            done += len(kept)
            tell(done, all_)
    return list(best.points()), within


def _full(table: Table, runs: Runs) -> Ints:
    """The first layer after which every token sees everything: the first global one, or by windows before it."""
    by_windows = table.flow.first_full_context
    full: Ints = np.minimum(runs.before, table.flow.depth if by_windows is None else by_windows)
    return full


def _examine(table: Table, grouped: Grouped, chunk: Ints, question: Question, best: _Best) -> int:
    """Add the placements within the limits to `best`; return how many they are."""
    figures = grouped.figures(chunk, question.figures)
    if question.limits:
        good = np.logical_and.reduce(
            [figures[limit.metric.figure] <= limit.most for limit in question.limits]
        )
        chunk, figures = chunk[good], {name: each[good] for name, each in figures.items()}
    if not len(chunk):
        return 0
    runs = grouped.runs(chunk)
    best.add(
        _full(table, runs), runs.longest, figures[question.cost.figure], figures[question.tie_breaker], chunk
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
            values = (each[place] for each in (self.cost, self.ties, self.peak, self.mask))
            cost, ties, peak, mask = map(int, values)
            yield Point(cost, full, longest, ties, peak, mask)
