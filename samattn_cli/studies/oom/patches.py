"""The number of patches, solved for: of encoders whose weights do not depend on the size of the image.

A request of a part that takes all patches at once is a polynomial of their number, of degree two at most. Three sizes give it,
and a fourth checks it; requests that are not such a polynomial are left out. What is found is passed again by its own numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from math import inf, isqrt, prod
from typing import TYPE_CHECKING

import numpy as np

from ...encoder.keys import Size
from ...encoder.model import MAX_SIDE, EncoderConfig
from ...encoder.slots import sides_of
from ...records import dataclass, replace
from ...reports.oom import OomMessage
from ...tape.allocator import OWN_STEP, UNIT, segment_for
from ...units import format_size
from ..passes import Passes
from ..placements.placing import problem_of
from ..points import Array
from .by_pass import requests_of
from .places import asks_for, run_of
from .solve import ROOM, Setting, can_be, settings_of

if TYPE_CHECKING:
    from ...tape.inside import Cuda
    from ...tape.timeline import Asked
    from .chance import Chance

SIDES = (2, 3, 4, 5)
"""The grids that are replayed, in multiples of the smallest one."""
MOST_PATCHES = 1 << 20
MOST_TRIED = 64
"""Numbers of patches that one request is tried with."""
MOST_NUMBERS = 3
"""Those that are passed exactly."""
WIDEST = 4
"""Images are at most so much wider than high."""
Polynomial = tuple[Fraction, Fraction, Fraction]


@dataclass(frozen=True)
class OfPatches:
    """A request that fits a message at a number of patches.

    Attributes:
        setting: how the encoder is run, with an image of that many patches.
        asked: the request, with its bytes at that number.
        patches: the number.
    """

    setting: Setting
    asked: Asked
    patches: int


def takes_any_size(config: EncoderConfig) -> bool:
    """Whether its weights are the same for images twice as large."""
    twice = _of_grid(config, tuple([2 * side for side in config.grid]))
    return not problem_of(twice) and Passes(twice).forward.params == Passes(config).forward.params


def solve_patches(
    config: EncoderConfig, given: frozenset[str], message: OomMessage, cuda: Cuda, chance: Chance
) -> Iterator[OfPatches]:
    """The requests that ask for the tried size at some number of patches."""
    base = _base(config)
    if not base or not takes_any_size(config):
        return
    unit, found = _unit(config, base), None
    for setting in settings_of(config, given):
        mode = setting.config.run.mode
        if not can_be(setting, message) or found not in (None, mode):
            continue
        sizes = set(_sizes(setting.config, base, cuda))
        for size in sizes:
            chance.add(_every(size, unit))
        numbers = sorted({number for size in sizes for number in _numbers(size, message, unit)})
        for number in numbers[:MOST_NUMBERS]:
            for place in _exact(setting, number, unit, message):
                found = mode
                yield place


def _every(size: Polynomial, unit: int) -> Array:
    """The sizes of a request at every number of patches."""
    constant, linear, square = map(float, size)
    numbers = np.arange(unit * unit, MOST_PATCHES, unit * unit, dtype=np.float64)
    nbytes: Array = (constant + linear * numbers + square * numbers**2).astype(np.int64)
    return nbytes


def _exact(setting: Setting, number: int, unit: int, message: OomMessage) -> Iterator[OfPatches]:
    """The requests that ask for the tried size, of a pass with so many patches."""
    grid = _grid_of(number, unit)
    if grid is None:
        return
    at = _of_grid(setting.config, grid)
    keys = (*setting.keys, ("patches", number), ("image_size", format_size(at.image_size)))
    most = message.allocated.high_bytes * (1 + ROOM) if message.allocated else inf
    for asked in requests_of(Passes(at)):
        likely = asked.is_record or message.allocated is not None
        if likely and asks_for(asked, message.tried) and asked.live_bytes <= most:
            yield OfPatches(Setting(at, keys), asked, number)


def _of_grid(config: EncoderConfig, grid: Size) -> EncoderConfig:
    sides = zip(grid, sides_of(config.patch_size, len(grid)), strict=True)
    return replace(config, image_size=tuple([number * side for number, side in sides]))


def _base(config: EncoderConfig) -> int:
    """The side of the smallest square grid that no layer pads; 0 if there is none, or if the grid is not of an image."""
    if len(config.grid) > 2:  # noqa: PLR2004 - a height and a width
        return 0
    side = min(config.grid)
    return next((each for each in range(2, side + 1) if side % each == 0 and _is_whole(config, each)), 0)


def _is_whole(config: EncoderConfig, side: int) -> bool:
    square = _of_grid(config, (side, side))
    return not problem_of(square) and all(layer.padded_grid == layer.grid for layer in square.layers)


def _unit(config: EncoderConfig, base: int) -> int:
    """What both sides of a grid are multiples of, in patches, at least."""
    sides = (each for each in range(1, base + 1) if base % each == 0)
    return next(each for each in sides if not problem_of(_of_grid(config, (SIDES[0] * base + each,) * 2)))


def _sizes(config: EncoderConfig, base: int, cuda: Cuda) -> Iterator[Polynomial]:
    """The sizes of requests that are polynomials of the number of patches."""
    grids = [side * base for side in SIDES]
    runs = [_requests(_of_grid(config, (side, side)), cuda) for side in grids]
    numbers = [side * side for side in grids]
    for values in {tuple(run.get(key) for run in runs) for key in runs[0]}:
        if None not in values:
            size = _through(numbers, values)  # type: ignore[arg-type]
            if size is not None and any(size[1:]):
                yield size


def _requests(config: EncoderConfig, cuda: Cuda) -> dict[tuple[object, ...], int]:
    """The size of the first request of each operation, of those that take all patches."""
    windowed = {layer.name for layer in config.layers if layer.is_windowed}
    run = run_of(config, cuda)
    found: dict[tuple[object, ...], int] = {}
    for asked in run.asked(run.notes):
        if asked.section[0] not in windowed:
            found.setdefault((asked.section, asked.op, asked.kind, asked.round), asked.nbytes)
    return found


def _through(numbers: list[int], values: tuple[int, ...]) -> Polynomial | None:
    """The polynomial of degree two through the first three points, if the last lies on it, up to rounding and rests."""
    (x, y, z), (u, v, w) = numbers[:3], values[:3]
    slope, next_slope = Fraction(v - u, y - x), Fraction(w - v, z - y)
    square = (next_slope - slope) / (z - x)
    linear = slope - square * (x + y)
    found = u - linear * x - square * x * x, linear, square
    return found if abs(_at(found, numbers[3]) - values[3]) <= UNIT else None


def _at(polynomial: Polynomial, number: int) -> int:
    constant, linear, square = polynomial
    return int(constant + linear * number + square * number * number)


def _numbers(size: Polynomial, message: OomMessage, unit: int) -> Iterator[int]:
    """The numbers of patches at which a request has the tried size."""
    step, tried = unit * unit, message.tried
    first = _first(lambda number: _at(size, number) >= tried.low_bytes - OWN_STEP, step)
    for number in range(first, first + step * MOST_TRIED, step):
        nbytes = _at(size, number)
        if nbytes > tried.high_bytes:
            return
        if nbytes > 0 and tried.low_bytes <= segment_for(nbytes) <= tried.high_bytes:
            yield number


def _first(reached: Callable[[int], bool], step: int) -> int:
    """The first multiple of `step` at which something that grows is reached."""
    low, high = 1, MOST_PATCHES // step
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle * step) else (middle + 1, high)
    return low * step


def _grid_of(number: int, unit: int) -> Size | None:
    """The grid of so many patches nearest to a square, (height, width); None if there is none that is not too wide."""
    units = number // (unit * unit)
    for height in range(isqrt(units), 0, -1):
        if units % height == 0:
            grid = height * unit, units // height * unit
            too_large = max(grid) > MAX_SIDE or prod(grid) > MOST_PATCHES
            return None if grid[1] > WIDEST * grid[0] or too_large else grid
    return None
