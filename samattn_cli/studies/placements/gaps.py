"""What a placement costs from one global layer to the next: the layer, and the windowed layers up to the next one.

Places are the numbers of the layers that can be windowed or global; START stands before the first, and `end` after the last.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import accumulate

from .peaks import PEAKS, Peak
from .pieces import Piece
from .table import Table

START = -1


class Gaps:
    """The stretches between global layers, of one additive figure and one peak.

    A layer's piece depends on whether the layers before and after it are global: `way` is (before) + 2 * (itself) + 4 * (after).
    """

    def __init__(self, table: Table, cost: str, peak: str) -> None:
        self.table, self.end = table, len(table.layers)
        self.costs: list[list[int]] = [[getattr(piece, cost) for piece in ways] for ways in table.pieces]
        self._peak_of: Callable[[Piece], Peak] = PEAKS[peak].of
        self.nothing = self._peak_of(Piece())
        self._windows: dict[tuple[int, int], Peak] = {}
        self._stretches: dict[tuple[int, int, int], Peak] = {}

    @cached_property
    def remember(self) -> bool:
        """Whether the cost of some global layer depends on the layer before it."""
        return any(costs[2] != costs[3] or costs[6] != costs[7] for costs in self.costs)

    @cached_property
    def windowed(self) -> dict[int, list[int]]:
        """For each place, the costs of the windowed layers from it to each later place, and to the end."""
        alone = [0, *accumulate(costs[0] for costs in self.costs)]
        return {
            place: [self._windowed(alone, place, until) for until in range(place + 1, self.end + 1)]
            for place in range(START, self.end)
        }

    def _windowed(self, alone: list[int], place: int, until: int) -> int:
        """The layers between two places; `alone` are sums over layers without global neighbours."""
        first, last = place + 1, until - 1
        before, after = int(place > START), 4 * (until < self.end)
        if first > last:
            return 0
        if first == last:
            return self.costs[first][before + after]
        return self.costs[first][before] + alone[last] - alone[first + 1] + self.costs[last][after]

    @cached_property
    def runs(self) -> dict[int, list[int]]:
        """For each place, the longest run without a global layer between it and each later place, and the end."""
        return {place: list(self._runs(place)) for place in range(START, self.end)}

    def _runs(self, place: int) -> Iterator[int]:
        flow, layers = self.table.flow, self.table.layers
        start = -1 if place == START else layers[place]
        run = longest = 0
        for layer in range(start + 1, flow.depth + 1):
            if layer in layers or layer == flow.depth:
                yield longest
            run = 0 if layer in flow.mixing else run + 1
            longest = max(longest, run)

    def full(self, first: int) -> int:
        """The first layer after which every token sees the whole image, where the first global layer is at a place."""
        flow = self.table.flow
        by_windows = flow.depth if flow.first_full_context is None else flow.first_full_context
        return min(self.table.layers[first], by_windows)

    def reach(self, place: int, longest: int) -> int:
        """How many of the later places, and the end, may follow a place without a run above `longest`."""
        return bisect_right(self.runs[place], longest)

    def own(self, place: int, before: int, *, after: bool) -> int:
        """The cost of a global layer."""
        return self.costs[place][before + 2 + 4 * after]

    def stretch(self, place: int, before: int, until: int) -> Peak:
        """The memory of a global layer and of the windowed layers up to the next global one, or to the end."""
        key = (place, before, until)
        if key not in self._stretches:
            own = self._piece(place, before + 2 + 4 * (until == place + 1 < self.end))
            self._stretches[key] = own.then(self.between(place, until))
        return self._stretches[key]

    def between(self, place: int, until: int) -> Peak:
        """The memory of the windowed layers between two places."""
        last = until - 1
        if last == place:
            return self.nothing
        piece = self._piece(last, int(last - 1 == place > START) + 4 * (until < self.end))
        return self._windowed_up_to(place, last - 1).then(piece)

    def _windowed_up_to(self, place: int, last: int) -> Peak:
        """The memory of the windowed layers from a place to `last`, which another one follows."""
        if last == place:
            return self.nothing
        key = (place, last)
        if key not in self._windows:
            piece = self._piece(last, int(last - 1 == place > START))
            self._windows[key] = self._windowed_up_to(place, last - 1).then(piece)
        return self._windows[key]

    def _piece(self, place: int, way: int) -> Peak:
        return self._peak_of(self.table.pieces[place][way])
