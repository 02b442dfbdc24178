"""The candidates of a fit: valid encoders that differ from one config in one thing, from the smallest to the largest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from math import prod
from typing import Any, Protocol

import numpy as np

from ..encoder.keys import Size
from ..encoder.model import MAX_BATCH, MAX_SIDE, EncoderConfig
from ..encoder.placed import placed
from ..encoder.plan import LayerConfig
from ..encoder.registry import BLOCKS, TRANSITIONS
from ..records import dataclass
from ..tape.symbols.formula import Integer
from ..tape.symbols.space import Space
from ..units import ITEM_BYTES, format_size
from .passes import Passes
from .placements.placing import movable, problem_of
from .placements.strategies import OF_A_NUMBER
from .points import Array, at, at_all, figures_at, in_lots, least_peaks_at, to_first_layer
from .readers import FIGURES

FIRST = 64
"""Candidates that are examined first; then twice as many, as long as the largest may fit."""


class Candidates(Protocol):
    """Encoders, from the smallest to the largest."""

    @property
    def end(self) -> str:
        """Why there are no more; "" if the last one certainly does not fit."""

    @property
    def alike(self) -> bool:
        """Whether one symbolic pass gives the figures of all; otherwise each needs its own pass."""

    def __len__(self) -> int:
        """How many there are."""

    def __getitem__(self, place: int) -> EncoderConfig:
        """One of them."""

    def label(self, place: int) -> str:
        """A short name of one of them."""

    def peaks(self, metrics: Sequence[str], limit: int) -> dict[str, Array]:
        """The peaks of all of them, by the names of the figures.

        After the last one whose peak is at most `limit`, they may be lower bounds above it.
        """


@dataclass(frozen=True)
class Growing:
    """What grows.

    Attributes:
        steps: along each axis of the points.
        most: the most steps.
        label: labels a candidate.
        is_of_parts: whether candidates differ in the operations of their parts, each in few ways, but in many ways together.
    """

    steps: dict[str, int]
    most: int
    label: Callable[[EncoderConfig], str]
    is_of_parts: bool = False

    def points(self, first: int, last: int) -> dict[str, Array]:
        """The points from the `first` step to the `last`."""
        return {axis: step * np.arange(first, last + 1) for axis, step in self.steps.items()}


MOST_OF_ASPECT = 16


def resolution(config: EncoderConfig, aspect: Size) -> Growing:
    """Resolutions of an aspect, (width, height), in whole patches, and in whole windows if images are padded to those."""
    width, height = (side * config.whole_side for side in aspect)
    return Growing(
        {"height": height, "width": width},
        MAX_SIDE // max(height, width),
        lambda grown: format_size(grown.image_size),
        is_of_parts=True,
    )


def own_aspect(config: EncoderConfig) -> Size:
    """The aspect of an encoder's own image, (width, height) in whole patches and lowest terms.

    An aspect with large numbers has few resolutions; it is replaced by the nearest one whose shorter side is at most
    `MOST_OF_ASPECT`.
    """
    height, width = config.grid[-2:]
    near = Fraction(max(height, width), min(height, width)).limit_denominator(MOST_OF_ASPECT)
    longer, shorter = near.numerator, near.denominator
    return (longer, shorter) if width >= height else (shorter, longer)


def batch_size() -> Growing:
    """Batch sizes."""
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
        """Blocks that do not pad run their windows one by one, so each number of windows needs its own pass."""
        return all(BLOCKS[stage.block].pads for stage in self.config.stages)

    @property
    def are_like(self) -> bool:
        """Whether many of those near each other have the same operations: each of several stages may pad or not."""
        return self.alike and (not self.growing.is_of_parts or len(self.config.stages) == 1)

    def __len__(self) -> int:
        return len(next(iter(self.points.values())))

    def __getitem__(self, place: int) -> EncoderConfig:
        return at(self.config, {axis: int(values[place]) for axis, values in self.points.items()})

    def label(self, place: int) -> str:
        """The resolution or batch size."""
        return self.growing.label(self[place])

    def peaks(self, metrics: Sequence[str], limit: int) -> dict[str, Array]:
        """The peaks, evaluated from formulas; lower bounds where those show that a candidate is too large.

        Most candidates are far too large, and their passes take branches of their own.
        """
        if self.growing.is_of_parts:
            from .joint_peaks import joint_peaks  # not at start-up: for `fit` only

            if (joint := joint_peaks(self.config, self.points, metrics, limit)) is not None:
                return joint
        peaks = least_peaks_at(self.config, self.points, metrics, first=to_first_layer(self.config))
        known = np.zeros(len(self), bool)

        def work_out(wanted: Array) -> None:
            where = np.flatnonzero(wanted & ~known)
            if where.size:
                points = {axis: values[where] for axis, values in self.points.items()}
                for metric, values in figures_at(self.config, points, metrics).items():
                    peaks[metric] = peaks[metric].astype(np.result_type(peaks[metric], values))
                    peaks[metric][where] = values
                known[where] = True

        def fit_at() -> Array:
            fits = np.zeros(len(self), bool)
            for values in peaks.values():
                fits |= (values <= limit).astype(bool)
            return fits

        work_out(fit_at())
        last = max(np.flatnonzero(fit_at()), default=-1)
        work_out(np.arange(len(self)) < last)  # smaller ones that do not fit
        return peaks


def grown(config: EncoderConfig, growing: Growing, memory_bytes: int, *, no_padding: bool = False) -> Grown:
    """All valid candidates, up to the first one whose input alone exceeds the memory.

    Args:
        config: the encoder.
        growing: what grows.
        memory_bytes: the memory.
        no_padding: leave out candidates that need padding.
    """
    lots, first = [], 1
    while True:
        points = growing.points(first, min(max(2 * first - 1, FIRST), growing.most))
        valid, beyond = _examined(config, points, memory_bytes, no_padding=no_padding)
        too_large = np.flatnonzero(valid & beyond)
        valid[too_large[1:]] = False
        lots.append({axis: values[valid] for axis, values in points.items()})
        first += len(valid)
        if too_large.size or first > growing.most:
            break
    kept = {axis: np.concatenate([lot[axis] for lot in lots]) for axis in growing.steps}
    return Grown(config, growing, kept, "" if too_large.size else _end(config, growing, kept))


def _end(config: EncoderConfig, growing: Growing, kept: dict[str, Array]) -> str:
    """Why there is no larger candidate: the encoder is not valid at twice the size, or at any, or samattn's limit is reached."""
    twice = {axis: 2 * int(values[-1]) for axis, values in kept.items() if values.size}
    largest = {axis: step * growing.most for axis, step in growing.steps.items()}
    within = bool(twice) and all(twice[axis] <= largest[axis] for axis in twice)
    tried = twice if within else {} if twice else largest
    problem = problem_of(at(config, tried)) if tried else ""
    return problem or f"samattn takes at most {growing.label(at(config, largest))}"


def _examined(
    config: EncoderConfig, points: dict[str, Array], memory_bytes: int, *, no_padding: bool
) -> tuple[Array, Array]:
    """For each point: whether the encoder is valid there, and whether its input alone exceeds the memory."""
    size = len(next(iter(points.values())))
    valid, beyond = np.zeros(size, bool), np.zeros(size, bool)

    def look(space: Space, where: Array) -> None:
        encoder = at_all(config, space)
        if problem_of(encoder):
            return
        padding = sum(_rests(encoder)) if no_padding else 0
        input_bytes = prod(encoder.input_shape) * ITEM_BYTES[config.run.dtype]
        start = 0
        for evaluate in space.chunks():
            places = where[start : start + evaluate.size]
            valid[places] = evaluate(padding) == 0
            beyond[places] = evaluate(input_bytes) > memory_bytes
            start += evaluate.size

    in_lots(points, look)
    return valid, beyond


def _rests(config: EncoderConfig) -> Iterator[Integer]:
    """The remainders of each grid by the window of its layer, and by the stride of its transition."""
    for part in config.plan:
        if isinstance(part, LayerConfig):
            if part.is_windowed:
                yield from (side % window for side, window in zip(part.grid, part.windows.size, strict=True))
        elif part.slot == "transitions":
            for sliding in TRANSITIONS[part.word].slides or ():
                yield from (side % sliding.stride for side in part.entering.grid)


@dataclass(frozen=True)
class Placed:
    """Candidates with 0, 1, 2, ... global layers, placed evenly."""

    encoders: tuple[EncoderConfig, ...]
    numbers: tuple[int, ...]
    movable: int
    alike: bool = True

    @property
    def end(self) -> str:
        """The last candidate has all layers global."""
        return f"all {self.movable} layers with a window are then global"

    def __len__(self) -> int:
        return len(self.encoders)

    def __getitem__(self, place: int) -> EncoderConfig:
        return self.encoders[place]

    def label(self, place: int) -> str:
        """The number of global layers, out of those that can be global."""
        return f"{self.numbers[place]} of {self.movable}"

    def peaks(self, metrics: Sequence[str], limit: int) -> dict[str, Array]:  # noqa: ARG002 - all are exact
        """The peaks of all of them, from a pass of each."""
        passes = [Passes(encoder) for encoder in self.encoders]
        return {metric: np.array([FIGURES[metric](each) for each in passes], object) for metric in metrics}


def global_layers(config: EncoderConfig) -> Placed:
    """Every number of global layers, placed evenly (see `strategies`).

    Raises:
        UsageError: if no layer of the encoder has a window.
    """
    layers = movable(config)
    by_number: dict[int, Any] = {
        number: placed(config, OF_A_NUMBER["even"](layers, number)) for number in range(len(layers) + 1)
    }
    valid = {number: encoder for number, encoder in by_number.items() if not problem_of(encoder)}
    return Placed(tuple(valid.values()), tuple(valid), len(layers))
