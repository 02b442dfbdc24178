"""The grid of a sweep: axes that are whole numbers on every encoder, and axes each of whose values is another encoder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

from ..config.keys import Pair
from ..config.load import Override, load_config
from ..config.model import EncoderConfig, OverrideConfig, StageConfig
from ..config.rules import problems_of_plan
from ..config.slots import GLOBAL
from ..config.sources import STDIN
from ..config.wording import short
from ..errors import UsageError
from ..reports.sweep import Axis
from ..units import format_size

if TYPE_CHECKING:
    import numpy as np

MOST_POINTS = 20_000_000
MOST_ENCODERS = 1000
"""Each is loaded, and its passes are run, by itself."""
MOST_CHECKED = 500
"""Points up to which a config's rules are checked at each; beyond it at each value of each axis."""


@dataclass(frozen=True)
class Variation:
    """An axis of other encoders: its name, and what each of its values lays over a config."""

    name: str
    overrides: tuple[Override, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """The values in words."""
        return tuple(short(plain(override.value)) for override in self.overrides)


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
            Axis("resolution", tuple(map(resolution_label, self.resolutions))),
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

    def check_size(self, configs: int) -> None:
        """See that it can be worked out.

        Raises:
            UsageError: if nothing varies, or too much.
        """
        encoders = configs * self.encoders
        if encoders * prod(self.shape) > MOST_POINTS:
            sides = [*(len(v.overrides) for v in self.variations), *self.shape]
            said = " x ".join(f"{side:,}" for side in (configs, *sides) if side > 1)
            raise UsageError(
                f"the grid has {encoders * prod(self.shape):,} points ({said}): at most {MOST_POINTS:,}; use larger "
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


def resolution_label(size: Pair) -> str:
    """Pixels in words: one number for a square."""
    return str(size[0]) if size[0] == size[1] else format_size(size)


def encoders_of(
    references: Sequence[str], laid_over: Sequence[Override], grid: Grid
) -> Iterator[list[EncoderConfig]]:
    """Of each config its encoders, a combination of `grid.variations` each, at the first point of the grid."""
    first = []
    if grid.resolutions:
        where = f"--resolutions {resolution_label(grid.resolutions[0])}"
        first.append(Override("image_size", grid.resolutions[0], where))
    if grid.batch_sizes:
        first.append(Override("run.batch_size", grid.batch_sizes[0], f"--batch-sizes {grid.batch_sizes[0]}"))
    for reference in references:
        source = asdict(load_config(STDIN)) if reference == STDIN else reference  # which is read once
        yield [
            load_config(source, [*laid_over, *combination, *first])
            for combination in product(*(variation.overrides for variation in grid.variations))
        ]


def config_at(config: EncoderConfig, point: Mapping[str, int]) -> EncoderConfig:
    """The encoder at a point: "height" and "width" in pixels, "batch_size", "window" of every windowed block."""
    stages = config.stages
    if "window" in point:
        stages = tuple(_with_window(stage, (point["window"], point["window"])) for stage in stages)
    size = point.get("height", config.image_size[0]), point.get("width", config.image_size[1])
    run = replace(config.run, batch_size=point.get("batch_size", config.run.batch_size))
    return replace(config, image_size=size, stages=stages, run=run)


def _with_window(stage: StageConfig, window: Pair) -> StageConfig:
    own = window if stage.window_size != GLOBAL else GLOBAL
    overrides = tuple(_override_with(override, window) for override in stage.overrides)
    return replace(stage, window_size=own, overrides=overrides)


def _override_with(override: OverrideConfig, window: Pair) -> OverrideConfig:
    has_one = override.window_size not in {None, GLOBAL}
    return replace(override, window_size=window) if has_one else override


def has_windows(config: EncoderConfig) -> bool:
    """Whether a block of it is windowed, or would be if it were not named global."""
    overrides = (override for stage in config.stages for override in stage.overrides)
    return any(part.window_size not in {None, GLOBAL} for part in (*config.stages, *overrides))


def check_points(config: EncoderConfig, label: str, grid: Grid) -> None:
    """See that a config takes the points of a grid: up to `MOST_CHECKED` each, beyond it each value of each axis.

    Raises:
        UsageError: with the first that it refuses, and why.
    """
    if grid.windows and not has_windows(config):
        raise UsageError(f"--windows: {label} has no windowed block: a window would change nothing")
    for point in _points_to_check(grid):
        for _, message in problems_of_plan(config_at(config, point)):
            raise UsageError(f"{label} at {_place(point)}: {message}")


def _points_to_check(grid: Grid) -> Iterable[dict[str, int]]:
    axes = list(_coordinates(grid))
    if prod(grid.shape) <= MOST_CHECKED:
        yield from (_merged(combination) for combination in product(*axes))
        return
    for at, axis in enumerate(axes):
        yield from (_merged([*(other[-1] for other in axes[:at] + axes[at + 1 :]), value]) for value in axis)
    yield from (_merged(combination) for combination in product(*((axis[0], axis[-1]) for axis in axes)))


def _coordinates(grid: Grid) -> Iterator[list[dict[str, int]]]:
    if grid.batch_sizes:
        yield [{"batch_size": batch} for batch in grid.batch_sizes]
    if grid.windows:
        yield [{"window": window} for window in grid.windows]
    if grid.resolutions:
        yield [{"height": height, "width": width} for height, width in grid.resolutions]


def _merged(parts: Iterable[dict[str, int]]) -> dict[str, int]:
    return {key: value for part in parts for key, value in part.items()}


def _place(point: Mapping[str, int]) -> str:
    words = [f"resolution {resolution_label((point['height'], point['width']))}"] if "height" in point else []
    words += [f"window {point['window']}"] if "window" in point else []
    words += [f"batch {point['batch_size']}"] if "batch_size" in point else []
    return ", ".join(words)


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
