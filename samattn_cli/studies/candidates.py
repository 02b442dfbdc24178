"""The encoders among which a fit looks: those of one config that differ in one thing and that can be, the smallest first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from typing import Any, Protocol

import numpy as np

from ..encoder.keys import Pair
from ..encoder.model import MAX_BATCH, MAX_SIDE, EncoderConfig
from ..encoder.placed import placed
from ..encoder.plan import LayerConfig
from ..encoder.registry import BLOCKS, TRANSITIONS
from ..tape.symbols.formula import Integer
from ..tape.symbols.space import Space
from ..units import ITEM_BYTES, format_size
from .passes import Passes
from .placements.placing import movable, problem_of
from .placements.strategies import OF_A_NUMBER
from .points import Array, at, at_all, figures_at, in_lots
from .readers import FIGURES

FIRST = 64
"""Candidates that are looked at first; twice as many as long as the largest may fit."""


class Candidates(Protocol):
    """Encoders, the smallest first."""

    @property
    def end(self) -> str:
        """Why there are no more; "" if the last of them surely does not fit."""

    @property
    def alike(self) -> bool:
        """Whether their passes are worked out all at once; else each has its own."""

    def __len__(self) -> int:
        """How many there are."""

    def __getitem__(self, place: int) -> EncoderConfig:
        """One of them."""

    def label(self, place: int) -> str:
        """One of them in a word."""

    def peaks(self, metrics: Sequence[str]) -> dict[str, Array]:
        """Of all of them, by the names of `Figures`."""


@dataclass(frozen=True)
class Growing:
    """What grows along points: by how much of each of the points' axes at a step, how often at most, in what words."""

    steps: dict[str, int]
    most: int
    label: Callable[[EncoderConfig], str]

    def points(self, first: int, last: int) -> dict[str, Array]:
        """Those from the `first` step to the `last`."""
        return {axis: step * np.arange(first, last + 1) for axis, step in self.steps.items()}


MOST_OF_ASPECT = 16


def resolution(config: EncoderConfig, aspect: Pair) -> Growing:
    """Resolutions of whole patches of an aspect, (width, height)."""
    width, height = (side * config.patch_size for side in aspect)
    return Growing(
        {"height": height, "width": width},
        MAX_SIDE // max(height, width),
        lambda grown: format_size(grown.image_size),
    )


def own_aspect(config: EncoderConfig) -> Pair:
    """The aspect of an encoder's own image, (width, height) in whole patches and lowest terms.

    One of larger numbers, of which there would be few resolutions, is taken as the nearest of which the shorter side is at
    most `MOST_OF_ASPECT`.
    """
    height, width = config.grid
    near = Fraction(max(config.grid), min(config.grid)).limit_denominator(MOST_OF_ASPECT)
    longer, shorter = near.numerator, near.denominator
    return (longer, shorter) if width >= height else (shorter, longer)


def batch_size() -> Growing:
    """Images a pass."""
    return Growing({"batch_size": 1}, MAX_BATCH, lambda grown: f"{grown.run.batch_size:,}")


@dataclass(frozen=True)
class Grown:
    """Candidates along points."""

    config: EncoderConfig
    growing: Growing
    points: dict[str, Array]
    end: str

    @property
    def alike(self) -> bool:
        """Windows without padding are run one by one: each number of them is a pass of its own."""
        return all(BLOCKS[stage.block].pads for stage in self.config.stages)

    def __len__(self) -> int:
        return len(next(iter(self.points.values())))

    def __getitem__(self, place: int) -> EncoderConfig:
        return at(self.config, {axis: int(values[place]) for axis, values in self.points.items()})

    def label(self, place: int) -> str:
        """Pixels, or images."""
        return self.growing.label(self[place])

    def peaks(self, metrics: Sequence[str]) -> dict[str, Array]:
        """Evaluated as formulas."""
        return figures_at(self.config, self.points, metrics)


def grown(config: EncoderConfig, growing: Growing, memory_bytes: int, *, no_padding: bool = False) -> Grown:
    """All that the encoder takes, up to the first whose input alone is more than the memory.

    Args:
        config: the encoder.
        growing: what grows.
        memory_bytes: the memory.
        no_padding: leave out those whose grids patches, windows and strides do not divide.
    """
    lots, first = [], 1
    while True:
        points = growing.points(first, min(max(2 * first - 1, FIRST), growing.most))
        taken, beyond = _look(config, points, memory_bytes, no_padding=no_padding)
        found = np.flatnonzero(taken & beyond)
        taken[found[1:]] = False
        lots.append({axis: values[taken] for axis, values in points.items()})
        first += len(taken)
        if found.size or first > growing.most:
            break
    kept = {axis: np.concatenate([lot[axis] for lot in lots]) for axis in growing.steps}
    return Grown(config, growing, kept, "" if found.size else _end(config, growing, kept))


def _end(config: EncoderConfig, growing: Growing, kept: dict[str, Array]) -> str:
    """Why there is no larger one: the encoder does not take twice as much, or samattn takes no more."""
    twice = {axis: 2 * int(values[-1]) for axis, values in kept.items() if values.size}
    largest = {axis: step * growing.most for axis, step in growing.steps.items()}
    within = bool(twice) and all(twice[axis] <= largest[axis] for axis in twice)
    problem = problem_of(at(config, twice)) if within else ""
    return problem or f"samattn takes at most {growing.label(at(config, largest))}"


def _look(
    config: EncoderConfig, points: dict[str, Array], memory_bytes: int, *, no_padding: bool
) -> tuple[Array, Array]:
    """Of each point, whether the encoder takes it, and whether its input alone is more than the memory."""
    size = len(next(iter(points.values())))
    taken, beyond = np.zeros(size, bool), np.zeros(size, bool)

    def look(space: Space, where: Array) -> None:
        encoder = at_all(config, space)
        if problem_of(encoder):
            return
        padding = sum(_rests(encoder)) if no_padding else 0
        input_bytes = prod(encoder.input_shape) * ITEM_BYTES[config.run.dtype]
        start = 0
        for evaluate in space.chunks():
            places = where[start : start + evaluate.size]
            taken[places] = evaluate(padding) == 0
            beyond[places] = evaluate(input_bytes) > memory_bytes
            start += evaluate.size

    in_lots(points, look)
    return taken, beyond


def _rests(config: EncoderConfig) -> Iterator[Integer]:
    """Tokens, rows and columns, beyond the last whole window of each layer and the last whole stride of each transition."""
    for part in config.plan:
        if isinstance(part, LayerConfig):
            if not part.is_global:
                yield from (side % window for side, window in zip(part.grid, part.windows.size, strict=True))
        elif part.slot == "transitions":
            for sliding in TRANSITIONS[part.word].slides or ():
                yield from (side % sliding.stride for side in part.entering.grid)


@dataclass(frozen=True)
class Placed:
    """Candidates of none, one, two, ... global layers, placed evenly."""

    encoders: tuple[EncoderConfig, ...]
    numbers: tuple[int, ...]
    movable: int
    alike: bool = True

    @property
    def end(self) -> str:
        """With them all global there is no more to place."""
        return f"all {self.movable} layers that have a window are global then"

    def __len__(self) -> int:
        return len(self.encoders)

    def __getitem__(self, place: int) -> EncoderConfig:
        return self.encoders[place]

    def label(self, place: int) -> str:
        """So many, of those that can be."""
        return f"{self.numbers[place]} of {self.movable}"

    def peaks(self, metrics: Sequence[str]) -> dict[str, Array]:
        """A pass each."""
        passes = [Passes(encoder) for encoder in self.encoders]
        return {metric: np.array([FIGURES[metric](each) for each in passes], object) for metric in metrics}


def global_layers(config: EncoderConfig) -> Placed:
    """Every number of global layers, placed evenly (see `strategies`).

    Raises:
        UsageError: for an encoder of which no layer has a window.
    """
    layers = movable(config)
    found: dict[int, Any] = {
        number: placed(config, OF_A_NUMBER["even"](layers, number)) for number in range(len(layers) + 1)
    }
    can_be = {number: encoder for number, encoder in found.items() if not problem_of(encoder)}
    return Placed(tuple(can_be.values()), tuple(can_be), len(layers))
