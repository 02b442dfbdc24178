"""Figures of encoders over a grid of resolutions, windows, batch sizes and any key of a config."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..encoder.model import EncoderConfig
from ..encoder.plan_rules import is_valid
from ..encoder.registry import PATCH_EMBEDS
from ..encoder.wording import cut
from ..errors import UsageError, at_place
from ..figures import IN_MEMORY, OF_ENCODER, PEAKS, figure_for_option
from ..files.load import Loadable, Override
from ..reports.sweep import Fitting, MemoryFitting, Sweep, default_metrics
from .arguments import check_device
from .cliffs import cliffs_of, with_jumps
from .grid import Grid, arrays, check_windows, encoders_of, groups_of, plain
from .left_out import without_unfit
from .lots import Group
from .points import GEOMETRY, SIDES, Points, at, figures_over, sides_by_name, space_of
from .progress import Tell, silent, telling
from .repeated import Array, Computed, Repeated, Where, rows_at
from .replayed import fits_at, fits_in_bytes, in_memory_at
from .sweep_lines import along_of, growth, lines_of

if TYPE_CHECKING:
    from ..device.model import Device
    from ..tape.symbols.space import Space

Columns = dict[str, Any]


def sweep(
    references: Sequence[Loadable],
    grid: Grid,
    metrics: Sequence[str] | None = None,
    *,
    laid_over: Sequence[Override] = (),
    device: Device | None = None,
    memory: int | None = None,
    tell: Tell = silent,
) -> Sweep:
    """Compute metrics over a grid.

    A resolution, window or batch size that one of the encoders does not take is left out: see `Sweep.left_out`.

    Args:
        references: what `load_config` takes.
        grid: what is varied.
        metrics: names or aliases of `figures.OF_ENCODER`; None: those of `default_metrics`.
        laid_over: overrides of each config, applied before those of the grid.
        device: for times, and whether points fit.
        memory: the bytes that a run may take, for whether points fit; of a device, its own memory counts.
        tell: is called with the number of finished points.

    Raises:
        ConfigError, UsageError: if an encoder is not valid at any point of the grid, or the grid is too large.
    """
    if isinstance(references, str | EncoderConfig):
        raise TypeError(f"sweep takes a list of configs, such as ['sam_vit_b'], not {cut(repr(references))}")
    if device is not None:
        check_device("sweep", device)
    grid.check_size(len(references))
    by_config = list(encoders_of(references, laid_over, grid))
    names = _names(references, [encoders[0] for encoders in by_config])
    encoders = [encoder for group in by_config for encoder in group]
    for encoder in encoders:
        check_windows(encoder, grid)
    grid, left_out = without_unfit(encoders, grid)
    encoders = [_at_first_point(encoder, grid) for encoder in encoders]
    if metrics is None:
        metrics = default_metrics({encoder.run.mode for encoder in encoders}, timed=device is not None)
    metrics = [figure_for_option("metrics", metric, OF_ENCODER) for metric in metrics]
    axes = grid.axes(names)
    columns = _coordinates(grid, names, encoders)
    each = prod(grid.shape)
    figures = (_figures(encoder, grid, metrics, device, memory) for encoder in encoders)
    columns |= _joined(list(telling(figures, tell, len(encoders) * each, each)))
    along = along_of(axes)
    columns |= growth(axes, along, columns, metrics)
    lines, count = lines_of(axes, along, columns, metrics, [config.has_windows for config in encoders])
    lines = with_jumps(lines, columns, along)
    cliffs, cliff_count = cliffs_of(columns, axes, lines, encoders)
    del columns["padded_tokens"]
    return Sweep(
        configs=tuple(encoders),
        axes=axes,
        along=along,
        metrics=tuple(metrics),
        points=len(encoders) * each,
        columns=columns,
        lines=lines,
        line_count=count,
        cliffs=cliffs,
        cliff_count=cliff_count,
        device=None if device is None else _fitting(device, columns),
        memory=None if memory is None or device else MemoryFitting(memory, int(columns["fits"].sum())),
        left_out=left_out,
    )


def _at_first_point(config: EncoderConfig, grid: Grid) -> EncoderConfig:
    sizes = sides_by_name(grid.resolutions[0]) if grid.resolutions else {}
    batch = {"batch_size": grid.batch_sizes[0]} if grid.batch_sizes else {}
    return at(config, sizes | batch)


def _fitting(device: Device, columns: Columns) -> Fitting:
    fitting = int(columns["fits"].sum())
    return Fitting(device.name, device.description, device.memory_size, device.usable_bytes, fitting)


def _names(references: Sequence[Loadable], configs: Sequence[EncoderConfig]) -> list[str]:
    """The configs' own names if they differ, else the references.

    Raises:
        UsageError: if a reference is given twice.
    """
    labels = [
        str(reference) if isinstance(reference, str | Path) else config.name
        for reference, config in zip(references, configs, strict=True)
    ]
    if len(set(labels)) < len(labels):
        twice = next(name for name in labels if labels.count(name) > 1)
        raise UsageError("given-twice", f"{twice}: the config is given twice, or two configs have this name")
    names = [config.name for config in configs]
    return names if len(set(names)) == len(names) else labels


def _coordinates(grid: Grid, names: Sequence[str], encoders: Sequence[EncoderConfig]) -> Columns:
    """A column for each coordinate of the points."""
    each = prod(grid.shape)
    length = len(encoders) * each
    of_grid = {
        name: Repeated(values, int(group.rows[-1]) // max(len(values) - 1, 1) or 1, length)
        for group in groups_of(grid)
        for name, values in group.values.items()
    }
    own = [_own(encoder) for encoder in encoders]
    columns: Columns = {"config": Repeated(np.array(names, object), grid.encoders * each, length)}
    sides = [side for side in SIDES if any(side in values for values in own)]
    for name in (*sides, "batch_size"):
        columns[name] = of_grid.get(name) or Repeated(
            np.array([values.get(name, 1) for values in own]), each, length
        )
    if "window" in of_grid:
        columns["window"] = of_grid["window"]
    repeats = grid.encoders * each
    for variation in grid.variations:
        repeats //= len(variation.overrides)
        values = np.empty(len(variation.overrides), object)
        values[:] = [
            label if isinstance(value := plain(override.value), tuple | dict) else value
            for label, override in zip(variation.labels, variation.overrides, strict=True)
        ]
        columns[variation.name] = Repeated(values, repeats, length)
    return columns


def _own(config: EncoderConfig) -> Mapping[str, int]:
    return sides_by_name(config.image_size) | {"batch_size": config.run.batch_size}


def _figures(
    config: EncoderConfig, grid: Grid, metrics: Sequence[str], device: Device | None, memory: int | None
) -> Columns:
    """The columns of one encoder."""
    try:
        return dict(_computed(config, grid, metrics, device, memory))
    except UsageError as error:
        raise UsageError(at_place(config.name, error.message)) from None


def _computed(
    config: EncoderConfig, grid: Grid, metrics: Sequence[str], device: Device | None, memory: int | None
) -> Iterator[tuple[str, Any]]:
    peak = PEAKS[config.run.mode]
    needed = list(dict.fromkeys([*metrics, *([peak] if device or memory is not None else [])]))
    shared = space_of(_groups_of(config, grid))
    own = _at_grid(config, grid, needed, device, shared)
    yield from _geometry(config, grid)
    if device:
        yield "fits", fits_at(config, _points_of(config, grid), own[peak], device)
    elif memory is not None:
        yield "fits", fits_in_bytes(config, _points_of(config, grid), own[peak], memory)
    twins = {"all_global": config.all_global()}
    if config.has_windows and is_valid(windowed := config.all_windowed()):
        twins["all_windowed"] = windowed
    figures = {
        name: own if twin == config else _at_grid(twin, grid, metrics, device, shared, hypothetical=True)
        for name, twin in twins.items()
    }
    shared.close()
    for metric in metrics:
        yield metric, own[metric]
        for name, others in figures.items():
            yield f"{metric}_{name}", others[metric]
            yield f"{metric}_vs_{name}", _ratios(others[metric], own[metric])


def _geometry(config: EncoderConfig, grid: Grid) -> Iterator[tuple[str, Repeated]]:
    """What does not depend on the batch size: the tokens that windows cover, and how many more they are."""
    of_image = Grid(resolutions=grid.resolutions, windows=grid.windows)
    found = figures_over(config, _groups_of(config, of_image), [*GEOMETRY])
    tokens, padded = found["windowed_tokens"], found["padded_tokens"]
    yield "padded_tokens", Repeated(padded, 1, prod(grid.shape))
    yield "padding", Repeated(padded / np.maximum(tokens, 1) - (tokens > 0), 1, prod(grid.shape))


def _ratios(others: Any, own: Array) -> Computed:
    return Computed(lambda where: _ratio(others[where], own[where]), np.dtype(float), len(own))


def _ratio(others: Any, own: Any) -> Any:
    """NaN where this encoder has nothing of it, such as gradients in inference."""
    is_none = own == 0
    return np.where(is_none, np.nan, (others / np.where(is_none, 1, own)).astype(float))


def _groups_of(config: EncoderConfig, grid: Grid) -> Sequence[Group]:
    return groups_of(grid) or [Group.of(_points_of(config, grid))]


def _points_of(config: EncoderConfig, grid: Grid) -> Points:
    return arrays(grid) or {"batch_size": np.array([config.run.batch_size])}


def _at_grid(
    config: EncoderConfig,
    grid: Grid,
    metrics: Sequence[str],
    device: Device | None,
    shared: Space,
    *,
    hypothetical: bool = False,
) -> dict[str, Any]:
    """Figures at the points of a grid, of which there is a space; an encoder without windows is computed once for all window sizes."""
    used = (
        grid
        if _depends_on_window(config, grid)
        else Grid(batch_sizes=grid.batch_sizes, resolutions=grid.resolutions)
    )
    points = _points_of(config, used)
    of_passes = [metric for metric in metrics if metric not in IN_MEMORY]
    of_memory = [metric for metric in metrics if metric in IN_MEMORY]
    groups = _groups_of(config, used)
    space = shared if used is grid else None
    figures = figures_over(config, groups, of_passes, device, hypothetical=hypothetical, shared=space)
    if of_memory and device:
        figures |= in_memory_at(config, points, of_memory, device)
    if used.shape == grid.shape:
        return figures
    return {name: _at_all_windows(values, grid) for name, values in figures.items()}


def _depends_on_window(config: EncoderConfig, grid: Grid) -> bool:
    """Whether figures of an encoder may differ between the windows of a grid: blocks attend in them, or images are padded to them."""
    multiple = PATCH_EMBEDS[config.patch_embed].multiple
    padded = {multiple(at(config, {"window": window})) for window in grid.windows}
    return not padded <= {multiple(config)} or any(layer.is_windowed for layer in config.layers)


def _at_all_windows(values: Array, grid: Grid) -> Computed:
    """Figures that do not depend on the window, for each window of a grid."""
    _, windows, resolutions = grid.shape
    length = prod(grid.shape)

    def at(where: Where) -> Array:
        batches, rest = np.divmod(rows_at(where, length), windows * resolutions)
        return np.asarray(values[batches * resolutions + rest % resolutions])

    return Computed(at, values.dtype, length)


def _joined(columns: Sequence[Columns]) -> Columns:
    """The columns of encoders one after the other."""
    if len(columns) == 1:
        return dict(columns[0])
    lengths = [len(each["padding"]) for each in columns]
    names = dict.fromkeys(name for each in columns for name in each)
    return {
        name: np.concatenate(
            [
                each.get(name, np.broadcast_to(np.array(None), length))
                for each, length in zip(columns, lengths, strict=True)
            ]
        )
        for name in names
    }
