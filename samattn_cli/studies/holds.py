"""Whether a formula holds elsewhere: its number at other batches and images, against passes over the Tape there."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from ..encoder.model import EncoderConfig
from ..encoder.plan_rules import problems_of_plan
from ..tape.encoder import Segment, forward
from ..tape.memory import walk
from ..tape.symbols.formula import Integer, value_at
from ..units import format_size
from .symbolic import values_of

TIMES = ((2, 1, 1), (3, 1, 1), (1, 2, 2), (1, 3, 2))
"""How often batch, rows and columns of patches are taken."""

FiguresOf = Callable[[Segment, EncoderConfig, int], Collection[int]]
"""The figures of operations of a segment, or its own, with the bytes that are live before it."""


@dataclass(frozen=True)
class Elsewhere:
    """The same encoder at another size."""

    config: EncoderConfig
    name: str

    @cached_property
    def segments(self) -> dict[str, tuple[Segment, int]]:
        """Its segments by name, with the bytes that are live before each."""
        passed = forward(self.config)
        used = zip(passed.segments, walk(passed), strict=True)
        return {segment.name: (segment, memory.before) for segment, memory in used}

    def values(self, name: str) -> dict[str, int]:
        """The values of the symbols of a segment."""
        segment, live = self.segments[name]
        return values_of(self.config, segment, live_bytes=live)


def elsewhere(config: EncoderConfig) -> tuple[Elsewhere, ...]:
    """The encoder at other batches and images, as far as it can have them."""
    return tuple(_elsewhere(config))


def _elsewhere(config: EncoderConfig) -> Iterator[Elsewhere]:
    for images, down, across in TIMES:
        sides = zip(config.image_size, config.dropped, (down, across), strict=True)
        height, width = ((side - rest) * times + rest for side, rest, times in sides)
        batch = config.run.batch_size * images
        run = replace(config.run, batch_size=batch)
        other = replace(config, image_size=(height, width), run=run)
        if not any(problems_of_plan(other)):
            yield Elsewhere(
                other, f"batch {batch}" if images > 1 else f"image {format_size((height, width))}"
            )


@dataclass(frozen=True)
class Holding:
    """Where a formula holds: everywhere that was looked, or not in `others`, where other operations run, or here alone."""

    is_here_alone: bool = False
    others: tuple[str, ...] = ()


def holding(formula: Integer, segment: Segment, figures: FiguresOf, places: Sequence[Elsewhere]) -> Holding:
    """Where the formula of a figure of a segment gives one of its figures; where it has none that is no matter."""
    others = []
    for place in places:
        there, live = place.segments[segment.name]
        found = figures(there, place.config, live)
        if not found or value_at(formula, place.values(segment.name)) in found:
            continue
        if _operations(there) == _operations(segment):
            return Holding(is_here_alone=True)
        others.append(place.name)
    return Holding(others=tuple(others))


def _operations(segment: Segment) -> frozenset[str]:
    return frozenset(op.name for op in segment.recording.ops if op.is_kernel)
