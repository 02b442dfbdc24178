"""The grid of a sweep: numeric axes that apply to one encoder, and axes whose values are different encoders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

from ..encoder.applicable_keys import mapping_of
from ..encoder.keys import Size
from ..encoder.model import EncoderConfig
from ..encoder.wording import short
from ..errors import ConfigError, UsageError
from ..files.load import Loadable, Override, load_config
from ..files.sources import STDIN
from ..records import dataclass
from ..reports.sweep import Axis
from ..units import format_side, is_square
from .points import SIDES

if TYPE_CHECKING:
    import numpy as np

    from .lots import Group

MOST_POINTS = 10_000_000
MOST_ENCODERS = 1000
"""Each is loaded, and its passes are run, separately."""
TRIES = 20
"""Sizes at which a config is loaded at most, until it is valid at one."""


@dataclass(frozen=True)
class Variation:
    """An axis whose values are different encoders: its name, and the override of a config for each value."""

    name: str
    overrides: tuple[Override, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """The values in words."""
        values = map(plain, (override.value for override in self.overrides))
        return tuple(value if isinstance(value, str) else short(value) for value in values)


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What is varied; an axis without values stays as the configs have it."""

    variations: tuple[Variation, ...] = ()
    batch_sizes: tuple[int, ...] = ()
    windows: tuple[int, ...] = ()
    resolutions: tuple[Size, ...] = ()

    def __post_init__(self) -> None:
        """Check what a type checker would: a resolution given as one number would fail far from here."""
        for resolution in self.resolutions:
            if not isinstance(resolution, tuple):
                message = f"a resolution has a side for each axis, such as (512, 512), not {resolution!r}"
                raise TypeError(message)

    def axes(self, names: Sequence[str]) -> tuple[Axis, ...]:
        """The axes for configs with some names; the last one varies fastest."""
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
        """The number of encoders per config."""
        return prod(len(variation.overrides) for variation in self.variations)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Points per encoder: (batches, windows, resolutions)."""
        counts = (len(self.batch_sizes), len(self.windows), len(self.resolutions))
        return max(counts[0], 1), max(counts[1], 1), max(counts[2], 1)

    @property
    def points(self) -> int:
        """The number of points per config."""
        return self.encoders * prod(self.shape)

    def check_size(self, configs: int) -> None:
        """Check that the grid is not too large.

        Raises:
            UsageError: if it is.
        """
        encoders = configs * self.encoders
        if configs * self.points > MOST_POINTS:
            sides = [*(len(v.overrides) for v in self.variations), *self.shape]
            product = " x ".join(f"{side:,}" for side in (configs, *sides) if side > 1)
            raise UsageError(
                "too-many-points",
                f"the grid has {configs * self.points:,} points ({product}), and at most {MOST_POINTS:,} are allowed; use "
                "larger steps, as in 512:4096:64, shorter ranges, or fewer axes at once",
            )
        if encoders > MOST_ENCODERS:
            raise UsageError(
                "too-many-encoders",
                f"the grid has {encoders:,} different encoders, and at most {MOST_ENCODERS:,} are allowed; give fewer "
                "configs, or fewer values of keys other than resolution, window and batch size",
            )


def plain(value: Any) -> Any:
    """The value of an override, without its place in a file."""
    return value.plain() if hasattr(value, "plain") else value


def encoders_of(
    references: Sequence[Loadable], laid_over: Sequence[Override], grid: Grid
) -> Iterator[list[EncoderConfig]]:
    """The encoders of each config, one for each combination of `grid.variations`, at the first point of the grid.

    An encoder that is not valid there is as the config has it, or at another size at which it is valid.

    Raises:
        ConfigError: for an encoder that is not valid at any; the problems are those at the first point.
    """
    for reference in references:
        source = (
            mapping_of(load_config(STDIN)) if reference == STDIN else reference
        )  # stdin can be read only once
        yield [
            _loaded(source, [*laid_over, *combination], grid)
            for combination in product(*(variation.overrides for variation in grid.variations))
        ]


def _loaded(source: Any, overrides: Sequence[Override], grid: Grid) -> EncoderConfig:
    first, *others = _coordinates_to_try(grid)
    try:
        return load_config(source, [*overrides, *first])
    except ConfigError as error:
        found = (_if_valid(source, [*overrides, *other], error) for other in others)
        if (valid := next(filter(None, found), None)) is None:
            raise
        return valid


def _if_valid(source: Any, overrides: Sequence[Override], error: ConfigError) -> EncoderConfig | None:
    """The encoder; None if it is not valid.

    Raises:
        ConfigError: if the same is wrong as in `error`: it does not depend on the size.
    """
    try:
        return load_config(source, overrides)
    except ConfigError as another:
        if another.problems == error.problems:
            raise
        return None


def _coordinates_to_try(grid: Grid) -> Iterator[list[Override]]:
    """The first point; then the config's own batch and size; then its own batch at other sizes."""
    first, *others = map(_size, grid.resolutions[:TRIES]) if grid.resolutions else ([],)
    batch = [Override("run.batch_size", each, f"--batch-sizes {each}") for each in grid.batch_sizes[:1]]
    yield [*first, *batch]
    if len(grid.resolutions) > 1 or len(grid.batch_sizes) > 1:
        yield []
        yield from others


def _size(size: Size) -> list[Override]:
    where = f"--resolutions {format_side(size)}"
    return [Override("image_size", size[0] if is_square(size) else size, where)]


def check_windows(config: EncoderConfig, grid: Grid) -> None:
    """Check that the axis of windows applies to a config.

    Raises:
        UsageError: for windows of an encoder without any.
    """
    if grid.windows and not config.has_windows:
        raise UsageError(
            "no-windows", f"--windows: {config.name} has no windowed block, so no window size applies to it"
        )


def arrays(grid: Grid) -> dict[str, np.ndarray]:
    """The points of one encoder: a flat array for each coordinate that varies; the resolution varies fastest."""
    import numpy as np

    shape, columns = grid.shape, {}
    batches, windows = np.array(grid.batch_sizes, np.int64), np.array(grid.windows, np.int64)
    if grid.batch_sizes:
        columns["batch_size"] = batches[:, None, None]
    if grid.windows:
        columns["window"] = windows[None, :, None]
    if grid.resolutions:
        sizes = np.array(grid.resolutions, np.int64)
        columns |= dict(zip(SIDES[-sizes.shape[1] :], sizes.T, strict=True))
    return {name: np.broadcast_to(values, shape).ravel() for name, values in columns.items()}


def groups_of(grid: Grid) -> list[Group]:
    """The same points as a product of groups: batch sizes, windows and resolutions."""
    from .lots import Group

    _, windows, resolutions = grid.shape
    parts = [
        (arrays(Grid(batch_sizes=grid.batch_sizes)), windows * resolutions),
        (arrays(Grid(windows=grid.windows)), resolutions),
        (arrays(Grid(resolutions=grid.resolutions)), 1),
    ]
    return [Group.of(values, stride) for values, stride in parts if values]
