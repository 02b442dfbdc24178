"""The placements at a corner of the front: how many there are, and the one of the lowest peak memory.

Only paths that reach the corner's cost are followed. Their beginnings are counted, and of their memory only those are kept
that no other is at most as large as in every number (`peaks.least`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from ...records import dataclass
from .gaps import START, Gaps
from .peaks import Peak, least
from .rests import Rests

State = tuple[int, int]
"""The place of the latest global layer, and whether the layer before it is global (1)."""

Step = dict[State, tuple[int, list[Peak]]]
"""How many beginnings lead to a state, and their memory."""


@dataclass(frozen=True)
class Corner:
    """The lowest cost (a sum over layers) of placements whose flow is at least as good as `full` and `longest`."""

    cost: int
    full: int
    longest: int


def placements_at(gaps: Gaps, rests: Rests, numbers: Sequence[int], corner: Corner) -> tuple[int, int, int]:
    """How many placements are at a corner, the lowest peak memory in bytes, and the smallest mask that has it."""
    found = [
        _Paths(gaps, rests, number, corner) for number in numbers if _reaches(gaps, rests, number, corner)
    ]
    ends = [(paths.peak, paths.mask()) for paths in found]
    return (sum(paths.count for paths in found), *min(ends))


def _reaches(gaps: Gaps, rests: Rests, number: int, corner: Corner) -> bool:
    return any(True for _ in _firsts(gaps, rests, number, corner))


def _firsts(gaps: Gaps, rests: Rests, number: int, corner: Corner) -> Iterator[int]:
    """The first global layers from which placements of a number of global layers reach the corner."""
    for first in range(gaps.end):
        if gaps.full(first) <= corner.full and rests.from_first(number, first) == corner.cost:
            yield first


class _Paths:
    """The paths of one number of global layers to a corner; `steps[k]` has their beginnings up to global layer k."""

    def __init__(self, gaps: Gaps, rests: Rests, number: int, corner: Corner) -> None:
        self.gaps, self.rests = gaps, rests
        firsts = _firsts(gaps, rests, number, corner)
        self.steps: list[Step] = [{(first, 0): (1, [gaps.between(START, first).first()]) for first in firsts}]
        for more in range(number - 1, 0, -1):
            self.steps.append(self._next(self.steps[-1], more))
        last = self.steps[-1]
        self.count = sum(count for count, _ in last.values())
        self.peak = min(
            self._peak(memory, gaps.stretch(*state, gaps.end))
            for state, (_, several) in last.items()
            for memory in several
        )

    def _next(self, step: Step, more: int) -> Step:
        """The beginnings with one more global layer; `more` are to follow those of `step`."""
        counts: Counter[State] = Counter()
        memories: dict[State, list[Peak]] = {}
        for state, (count, several) in step.items():
            for place in self._after(*state, more):
                following = (place, int(place == state[0] + 1))
                stretch = self.gaps.stretch(*state, place)
                counts[following] += count
                memories.setdefault(following, []).extend(memory.then(stretch).first() for memory in several)
        return {state: (counts[state], least(several)) for state, several in memories.items()}

    def _after(self, place: int, before: int, more: int) -> Iterator[int]:
        """The next global layers with which the lowest cost is reached, where `more` follow `place`."""
        gaps, lowest = self.gaps, self.rests.of[more][before][place]
        plain, adjacent = self.rests.of[more - 1]
        for until in range(place + 1, min(place + 1 + self.rests.reach[place], gaps.end)):
            at_once = until == place + 1
            rest = (adjacent if at_once else plain)[until]
            between = gaps.windowed[place][until - place - 1]
            if gaps.own(place, before, after=at_once) + between + rest == lowest:
                yield until

    def _peak(self, memory: Peak, rest: Peak) -> int:
        return int(memory.then(rest).peak(self.gaps.table.constants))

    def mask(self) -> int:
        """The smallest mask of the placements with the lowest peak: its highest bit is as low as can be, then the next."""
        mask, rest = 0, self.gaps.nothing
        following: State | None = None
        for more, step in enumerate(reversed(self.steps)):
            place, before = min(state for state in step if self._leads(state, step, more, following, rest))
            until = self.gaps.end if following is None else following[0]
            rest = self.gaps.stretch(place, before, until).then(rest)
            mask, following = mask | 1 << place, (place, before)
        return mask

    def _leads(self, state: State, step: Step, more: int, following: State | None, rest: Peak) -> bool:
        """Whether some beginnings up to `state`, followed by `rest`, have the lowest cost and the lowest peak."""
        if following is None:
            until = self.gaps.end
        else:
            until, at_once = following
            if at_once != (until == state[0] + 1) or until not in self._after(*state, more):
                return False
        whole = self.gaps.stretch(*state, until).then(rest)
        return any(self._peak(memory, whole) == self.peak for memory in step[state][1])
