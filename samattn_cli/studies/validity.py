"""Whether a formula is valid at other sizes: its number at other batches and images, compared with passes there."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from ..encoder.model import EncoderConfig
from ..encoder.plan_rules import problems_of_plan
from ..records import replace
from ..tape.encoder import forward
from ..tape.memory import walk
from ..tape.segments import Segment
from ..tape.symbols.formula import Integer, value_at
from ..units import format_size
from .symbolic import values_of

TIMES = ((2, 1, 1), (3, 1, 1), (1, 2, 2), (1, 3, 2))
"""The multiples of batch, rows and columns of patches that are tried."""

FiguresOf = Callable[[Segment, EncoderConfig, int], Collection[int]]
"""A function from a segment, the config and the bytes live before it to figures of the segment or its operations."""


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
    """The encoder at other batches and images, as far as they are valid."""
    return tuple(_elsewhere(config))


def _elsewhere(config: EncoderConfig) -> Iterator[Elsewhere]:
    axes = len(config.image_size)
    for images, *by in TIMES:
        sides = zip(config.image_size, config.dropped, (*(1 for _ in range(axes - 2)), *by), strict=True)
        size = tuple([(side - rest) * times + rest for side, rest, times in sides])
        batch = config.run.batch_size * images
        run = replace(config.run, batch_size=batch)
        other = replace(config, image_size=size, run=run)
        if not any(problems_of_plan(other)):
            yield Elsewhere(other, f"batch {batch}" if images > 1 else f"image {format_size(size)}")


@dataclass(frozen=True)
class Validity:
    """Where a formula is valid.

    Attributes:
        is_here_only: it is wrong at another size although the same operations run there.
        others: sizes at which it is not valid because other operations run there.
    """

    is_here_only: bool = False
    others: tuple[str, ...] = ()


def validity_of(
    formula: Integer, segment: Segment, figures: FiguresOf, places: Sequence[Elsewhere]
) -> Validity:
    """Where the formula of a segment gives one of its figures; sizes without such a figure do not count."""
    others = []
    for place in places:
        there, live = place.segments[segment.name]
        values = figures(there, place.config, live)
        if not values or value_at(formula, place.values(segment.name)) in values:
            continue
        if _operations(there) == _operations(segment):
            return Validity(is_here_only=True)
        others.append(place.name)
    return Validity(others=tuple(others))


def _operations(segment: Segment) -> frozenset[str]:
    return frozenset(op.name for op in segment.recording.ops if op.is_kernel)
