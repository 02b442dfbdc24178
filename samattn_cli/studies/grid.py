"""The grid of a sweep: axes that are whole numbers on every encoder, and axes each of whose values is another encoder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

from ..encoder.applicable_keys import mapping_of
from ..encoder.keys import Pair
from ..encoder.model import EncoderConfig
from ..encoder.wording import short
from ..errors import UsageError
from ..files.load import Override, load_config
from ..files.sources import STDIN
from ..reports.sweep import Axis
from ..units import format_side

if TYPE_CHECKING:
    import numpy as np

MOST_POINTS = 10_000_000
MOST_ENCODERS = 1000
"""Each is loaded, and its passes are run, by itself."""


@dataclass(frozen=True)
class Variation:
    """An axis of other encoders: its name, and what each of its values lays over a config."""

    name: str
    overrides: tuple[Override, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """The values in words."""
        values = map(plain, (override.value for override in self.overrides))
        return tuple(value if isinstance(value, str) else short(value) for value in values)


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What is varied; an axis without values is left as configs have it. `where` is the option of an axis, for messages."""

    variations: tuple[Variation, ...] = ()
    batch_sizes: tuple[int, ...] = ()
    windows: tuple[int, ...] = ()
    resolutions: tuple[Pair, ...] = ()

    def axes(self, names: Sequence[str]) -> tuple[Axis, ...]:
        """The axes, the one that varies fastest last, of configs of some names."""
        configs = [Axis("config", tuple(names))] if len(names) > 1 else []
        others = [Axis(variation.name, variation.labels) for variation in self.variations]
        counted = [
            Axis("batch_size", tuple(map(str, self.batch_sizes))),
            Axis("window", tuple(map(str, self.windows))),
            Axis("resolution", tuple(map(format_side, self.resolutions))),
        ]
        return (*configs, *others, *(axis for axis in counted if axis.values))

    @property
    def encoders(self) -> int:
        """How many encoders a config becomes."""
        return prod(len(variation.overrides) for variation in self.variations)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Points of each encoder: (batches, windows, resolutions)."""
        counts = (len(self.batch_sizes), len(self.windows), len(self.resolutions))
        return max(counts[0], 1), max(counts[1], 1), max(counts[2], 1)

    @property
    def points(self) -> int:
        """How many points a config becomes."""
        return self.encoders * prod(self.shape)

    def check_size(self, configs: int) -> None:
        """See that it can be worked out.

        Raises:
            UsageError: if nothing varies, or too much.
        """
        encoders = configs * self.encoders
        if configs * self.points > MOST_POINTS:
            sides = [*(len(v.overrides) for v in self.variations), *self.shape]
            said = " x ".join(f"{side:,}" for side in (configs, *sides) if side > 1)
            raise UsageError(
                f"the grid has {configs * self.points:,} points ({said}): at most {MOST_POINTS:,}; use larger "
                "steps, as in 512:4096:64, shorter ranges, or fewer axes at once"
            )
        if encoders > MOST_ENCODERS:
            raise UsageError(
                f"the grid is of {encoders:,} encoders, each of which is worked out by itself: at most {MOST_ENCODERS:,}; "
                "give fewer configs, or fewer values of what is no resolution, window or batch"
            )


def plain(value: Any) -> Any:
    """The value of an override without its places."""
    return value.plain() if hasattr(value, "plain") else value


def encoders_of(
    references: Sequence[str], laid_over: Sequence[Override], grid: Grid
) -> Iterator[list[EncoderConfig]]:
    """Of each config its encoders, a combination of `grid.variations` each, at the first point of the grid."""
    first = []
    if grid.resolutions:
        where = f"--resolutions {format_side(grid.resolutions[0])}"
        height, width = grid.resolutions[0]
        first.append(Override("image_size", height if height == width else (height, width), where))
    if grid.batch_sizes:
        first.append(Override("run.batch_size", grid.batch_sizes[0], f"--batch-sizes {grid.batch_sizes[0]}"))
    for reference in references:
        source = mapping_of(load_config(STDIN)) if reference == STDIN else reference  # which is read once
        yield [
            load_config(source, [*laid_over, *combination, *first])
            for combination in product(*(variation.overrides for variation in grid.variations))
        ]


def check_axes(config: EncoderConfig, grid: Grid) -> None:
    """See that the axes mean something to a config.

    Raises:
        UsageError: for an image smaller than its patch, or windows where none is.
    """
    for size in grid.resolutions:
        if min(size) < config.patch_size:
            raise UsageError(
                f"--resolutions {format_side(size)}: {config.name} has patches of {config.patch_size}: use at least "
                f"{config.patch_size}"
            )
    if grid.windows and not config.has_windows:
        raise UsageError(f"--windows: {config.name} has no windowed block: a window would change nothing")


def arrays(grid: Grid) -> dict[str, np.ndarray]:
    """The points of one encoder, a flat array for each coordinate that varies; the resolution varies fastest."""
    import numpy as np

    shape, found = grid.shape, {}
    batches, windows = np.array(grid.batch_sizes, np.int64), np.array(grid.windows, np.int64)
    sizes = np.array(grid.resolutions, np.int64).reshape(-1, 2)
    if grid.batch_sizes:
        found["batch_size"] = batches[:, None, None]
    if grid.windows:
        found["window"] = windows[None, :, None]
    if grid.resolutions:
        found["height"], found["width"] = sizes[:, 0], sizes[:, 1]
    return {name: np.broadcast_to(values, shape).ravel() for name, values in found.items()}
