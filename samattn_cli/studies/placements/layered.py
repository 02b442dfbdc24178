"""The Pareto front of all placements for a cost that adds up over layers, by a dynamic program from global layer to global layer.

For each bound on the longest run without a global layer, `Rests` has the lowest cost of what follows a global layer, by how many
more follow. The first global layer then gives the first layer that sees all. What costs least for some bound and some first
layer is a corner of the front. Only on the paths that reach a corner's cost are placements counted, and their peaks compared
(`corner.py`). The time grows with the square of the layers times the number of global ones, not with the placements.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import accumulate
from math import inf

from .corner import Corner, placements_at
from .gaps import Gaps
from .pieces import Piece
from .points import Point, Question
from .rests import Costs, Rests
from .table import Table


def points_of_layers(table: Table, numbers: Sequence[int], question: Question) -> Iterator[Point]:
    """The Pareto front of all placements of these numbers (at least 1) of global layers; the cost has to add up over layers."""
    if not numbers:
        return
    figure = question.cost.figure
    gaps = Gaps(table, figure, question.tie_breaker)
    rests = cache(lambda longest: Rests(gaps, longest, max(numbers)))
    for corner in _corners(gaps, numbers, rests):
        ties, peak, mask = placements_at(gaps, rests(corner.longest), numbers, corner)
        cost = int(table.constants.figure(figure, Piece(**{figure: corner.cost})))
        yield Point(cost, corner.full, corner.longest, ties, peak, mask)


def _corners(gaps: Gaps, numbers: Sequence[int], rests: Callable[[int], Rests]) -> Iterator[Corner]:
    """The corners of the front: placements of flow at least as good cost more."""
    fulls = sorted({gaps.full(first) for first in range(gaps.end)})
    lowest: Costs = [inf] * len(fulls)
    for longest, costs in _rows(gaps, numbers, rests):
        by_full = [
            min(cost for first, cost in enumerate(costs) if gaps.full(first) == full) for full in fulls
        ]
        earlier, lowest = lowest, list(accumulate(by_full, min))
        for at, full in enumerate(fulls):
            if lowest[at] < earlier[at] and (at == 0 or lowest[at] < lowest[at - 1]):
                yield Corner(int(lowest[at]), full, longest)


def _rows(gaps: Gaps, numbers: Sequence[int], rests: Callable[[int], Rests]) -> Iterator[tuple[int, Costs]]:
    """Each bound on the longest run that lowers some cost, with the lowest cost by the first global layer.

    A higher bound never raises a cost. So between two bounds of equal costs all are equal.
    """

    @cache
    def row(longest: int) -> Costs:
        of = rests(longest)
        return [min(of.from_first(number, first) for number in numbers) for first in range(gaps.end)]

    def between(low: int, high: int) -> Iterator[tuple[int, Costs]]:
        """The bounds above `low` and up to `high` that lower a cost."""
        if row(low) == row(high):
            return
        if high == low + 1:
            yield high, row(high)
            return
        middle = (low + high) // 2
        yield from between(low, middle)
        yield from between(middle, high)

    yield from between(-1, gaps.table.flow.depth)
