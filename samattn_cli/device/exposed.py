"""How long the collectives of a training step take, and how much of that no compute hides.

Conventions:

- There is one link, on which collectives run one after another, in the order in which they begin. Compute is not slowed by them.
- DDP's broadcasts of buffers are waited for before the forward. The all-reduce of a bucket begins when its last gradient is
  complete, and the backward's end waits for all of them.
- FSDP2 gathers the weights outside of blocks before the forward, and waits. The weights of a block are gathered while the block
  before it runs, in the forward and in the backward. The gradients of a block are reduced while the next one's backward runs;
  the end of the backward waits for all of them.
- ZeroRedundancyOptimizer's broadcasts are waited for after the optimizer's step.
- Each micro-batch does so anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ..encoder.model import Phase, Section
from ..records import dataclass
from ..tape.communication import ALL_REDUCE, Collective, Collectives, Sent
from ..tape.sharded import ALL_GATHER, REDUCE_SCATTER
from .collectives import collective_ms, link_between
from .model import Interconnect

REDUCTIONS = frozenset({ALL_REDUCE, REDUCE_SCATTER})


@dataclass(frozen=True)
class Exposure:
    """The time of collectives.

    Attributes:
        ms: the sum of their times.
        exposed_ms: by how much a step takes longer than its compute.
    """

    ms: float
    exposed_ms: float


def exposure(
    sent: Sent,
    segments: Sequence[str],
    compute_ms: Mapping[Section, float],
    interconnect: Interconnect,
) -> Exposure | None:
    """The time of the collectives of a step; None if a bandwidth that they need is not known.

    Args:
        sent: the collectives.
        segments: the parts and blocks, in the order of the forward.
        compute_ms: the time of each of them in the forward and backward of a micro-batch.
        interconnect: what connects the GPUs.
    """
    times: dict[Collective, float] = {}
    for each in dict.fromkeys((*sent.first, *sent.later, *sent.after)):
        link = link_between(each.ranks, interconnect)
        if link is None:
            return None
        times[each] = collective_ms(each.kind, each.nbytes, link)

    def of(collectives: Collectives) -> Exposure:
        clock = _Clock(times, segments, compute_ms)
        clock.forward([each for each in collectives if each.phase == "forward"])
        clock.backward([each for each in collectives if each.phase == "backward"])
        clock.wait_for(each for each in collectives if each.phase == "step")
        return Exposure(sum(times[each] for each in collectives), clock.waited_ms)

    first = of(sent.first)
    later = first if sent.later == sent.first else of(sent.later)
    parts = (first, *[later] * (sent.micro_batches - 1), of(sent.after))
    return Exposure(sum(part.ms for part in parts), sum(part.exposed_ms for part in parts))


class _Clock:
    """The time at which compute and link are free."""

    def __init__(
        self,
        times: Mapping[Collective, float],
        segments: Sequence[str],
        compute_ms: Mapping[Section, float],
    ) -> None:
        self.times = times
        self.segments = segments
        self.compute_ms = compute_ms
        self.now_ms = self.link_ms = self.waited_ms = 0.0

    def forward(self, collectives: Sequence[Collective]) -> None:
        """The forward of a micro-batch."""
        self.wait_for(each for each in collectives if not each.segment)
        self._run("forward", self.segments, [each for each in collectives if each.segment])

    def backward(self, collectives: Sequence[Collective]) -> None:
        """The backward of a micro-batch, whose end waits for all reductions."""
        self._run("backward", self.segments[::-1], [each for each in collectives if each.segment])
        for each in collectives:
            if not each.segment:
                self._begin(each)
        self._wait_until(self.link_ms)

    def wait_for(self, collectives: Iterable[Collective]) -> None:
        """Collectives that compute waits for."""
        for each in collectives:
            self._wait_until(self._begin(each))

    def _run(self, phase: Phase, segments: Iterable[str], collectives: Sequence[Collective]) -> None:
        """Compute, in which each block is gathered while the one before it runs."""
        ahead = [each for each in collectives if each.kind == ALL_GATHER]
        reduced: dict[str, list[Collective]] = {}
        for each in collectives:
            if each.kind in REDUCTIONS:
                reduced.setdefault(each.segment, []).append(each)
        there: dict[str, float] = {}
        self._gather_next(ahead, there)
        for segment in segments:
            if segment in there:
                self._wait_until(there[segment])
                self._gather_next(ahead, there)
            self.now_ms += self.compute_ms.get((segment, phase), 0.0)
            for each in reduced.get(segment, ()):
                self._begin(each)

    def _gather_next(self, ahead: list[Collective], there: dict[str, float]) -> None:
        if ahead:
            each = ahead.pop(0)
            there[each.segment] = self._begin(each)

    def _begin(self, collective: Collective) -> float:
        """The link takes a collective as soon as it is free; when it is done."""
        self.link_ms = max(self.link_ms, self.now_ms) + self.times[collective]
        return self.link_ms

    def _wait_until(self, done_ms: float) -> None:
        self.waited_ms += max(0.0, done_ms - self.now_ms)
        self.now_ms = max(self.now_ms, done_ms)
