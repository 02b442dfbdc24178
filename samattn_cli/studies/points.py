"""The figures of one encoder at many points: resolutions, batch sizes, windows.

The encoder is passed over the Tape on symbols, once for each structure (padded or not, positions resized or not). Structures
share the blocks that are the same in both. The resulting formulas are evaluated over the points, as NumPy arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import figures
from ..device.roofline import op_time
from ..encoder.keys import Size
from ..encoder.model import EncoderConfig, OverrideConfig, StageConfig
from ..encoder.placement import Placement
from ..encoder.plan import LayerConfig
from ..encoder.plan_rules import problems_of_plan
from ..errors import UsageError, at_place
from ..records import replace
from ..tape.encoder import forward
from ..tape.memory import walk
from ..tape.ops import Op
from ..tape.storage import Dim
from ..tape.symbols.formula import Integer, greatest
from ..tape.symbols.space import RELATIONS, MixedPointsError, Space
from ..units import format_size
from .lots import Group, Lot
from .passes import Passes
from .readers import FIGURES

if TYPE_CHECKING:
    from ..device.model import Device

SIDES = ("frames", "height", "width")
"""The coordinates of a point that are sides of the image: of an image the last two."""
AXES = (*SIDES, "batch_size", "window")
"""The coordinates of a point: the image's sides in pixels, batch size, side of the square windows in tokens."""

NAMES = {"batch_size": "batch_size", "window": "window_size"}
"""The config's keys for the coordinates that are one number."""

GEOMETRY: dict[str, Callable[[Passes], Dim]] = {
    "windowed_tokens": lambda passes: sum(prod(layer.grid) for layer in _in_windows(passes)),
    "padded_tokens": lambda passes: sum(prod(layer.padded_grid) for layer in _in_windows(passes)),
}
"""For one image, over all windowed layers: their tokens, and the tokens that their windows cover."""

FEW = 3
"""So many passes on numbers take less time than one on symbols."""

Array = np.ndarray[Any, np.dtype[Any]]
Points = Mapping[str, Array]
Evaluate = Callable[[Integer], Any]
Figure = Callable[[Evaluate], Any]


def figures_at(
    config: EncoderConfig,
    points: Points,
    metrics: Sequence[str],
    device: Device | None = None,
    *,
    hypothetical: bool = False,
) -> dict[str, Array]:
    """The figures of an encoder at each point.

    Args:
        config: the encoder.
        points: integer arrays of one length, by the names of `AXES`; a missing axis has the config's own value.
        metrics: names of figures of the encoder and of `GEOMETRY`.
        device: for times.
        hypothetical: whether the encoder is another one placed otherwise, such as with all layers global, for a
            comparison: an implementation that could not run it is then no reason to refuse it.

    Returns:
        By metric, an array of the points' length: int64, or Python integers (object) if those are too large; float64
        for times.

    Raises:
        UsageError: for a point at which the encoder is not valid.
    """
    return figures_over(config, [Group.of(points)], metrics, device, hypothetical=hypothetical)


def figures_over(
    config: EncoderConfig,
    groups: Sequence[Group],
    metrics: Sequence[str],
    device: Device | None = None,
    *,
    hypothetical: bool = False,
    shared: Space | None = None,
) -> dict[str, Array]:
    """The figures of an encoder at each point of a product of groups: see `figures_at`; `shared` as for `lots_of`."""
    size = prod(len(group.rows) for group in groups)
    values = {metric: np.empty(size, float if _is_time(metric) else np.int64) for metric in metrics}
    for lot, space in lots_of(groups, shared):
        placed = at_all(config, space) if hypothetical else _at_points(config, space)
        _put(values, lot, space, _figures(placed, metrics, device))
    return values


def space_of(groups: Sequence[Group]) -> Space:
    """A space of all points of a product of groups, for `lots_of`; `Space.close` frees what it keeps."""
    return Space(Lot(groups, []).points)


def lots_of(groups: Sequence[Group], shared: Space | None = None) -> Iterator[tuple[Lot, Space]]:
    """The lots of a product of groups, each while it is passed over, and its space: all but those of few points share one.

    Encoders that differ in their placement share blocks if they are given the same `shared` space, of these groups.
    """
    left = [tuple(groups)]
    own, shared = shared is None, shared or space_of(groups)
    try:
        while left:
            lot = Lot(left.pop(), left)
            if 1 < lot.size <= FEW:
                left += lot.one_by_one()
                continue
            space = shared if lot.size > 1 else Space(lot.points)
            space.take(lot.points, lot.split)
            yield lot, space
            space.forget()
    finally:
        shared.forget()  # passes stay cached for a while; their points must not
        if own:
            shared.close()


def least_peaks_at(
    config: EncoderConfig, points: Points, metrics: Sequence[str], *, first: int
) -> dict[str, Array]:
    """Lower bounds of peaks of memory (see `PEAKS`) at each point, which take a part of the time of the peaks.

    A peak is at least that of the `first` parts and blocks of a forward, with their own weights alone. In a training step,
    they keep what autograd saves.
    """
    values = {metric: np.empty(_size(points), np.int64) for metric in metrics}

    def put(space: Space, where: Array) -> None:
        placed = _at_points(config, space)
        formulas = {}
        for metric in metrics:
            trains = metric == figures.PEAKS["training"]
            begun = walk(forward(placed, training=trains, makes_graph=True, first=first), trains=trains)
            formulas[metric] = _formula(greatest(part.peak_bytes for part in begun))
        _put(values, Lot((Group(space.points, where),), []), space, formulas)

    in_lots(points, put)
    return values


def to_first_layer(config: EncoderConfig) -> int:
    """The number of parts up to the first block, and that."""
    return next(n for n, part in enumerate(config.plan, 1) if isinstance(part, LayerConfig))


def _is_time(metric: str) -> bool:
    return metric in figures.FIGURES and figures.FIGURES[metric].is_time


def in_lots(points: Points, run: Callable[[Space, Array], None]) -> None:
    """Call a function for all points at once, or for groups of points whose passes take different branches.

    Args:
        points: integer arrays of one length.
        run: is called with the space of a group, and the indexes of its points.
    """
    left = [np.arange(_size(points), dtype=np.int32)]
    while left:
        where = left.pop()
        space = Space({name: values[where] for name, values in points.items()})
        try:
            run(space, where)
        except MixedPointsError as mixed:
            holds = _holds(space, mixed)
            left += [where[~holds], where[holds]]
        finally:
            space.forget()  # passes stay cached for a while; their points must not


def _size(points: Points) -> int:
    return len(next(iter(points.values())))


def _dimension(space: Space, name: str) -> Integer:
    symbol = space.symbol(name)
    low, high = space.always(symbol)  # in each lot the same formulas, so that lots share what is passed
    return low if low == high else symbol


def _windowed(stage: StageConfig, window: Integer) -> StageConfig:
    """The stage with its windows replaced by square ones of that side, or cubes."""
    keys = Placement((window,) * len(stage.window_size)).keys

    def own(part: StageConfig | OverrideConfig) -> Any:
        return part if part.placement is None or part.placement.is_global else replace(part, **keys)

    return own(replace(stage, overrides=tuple(map(own, stage.overrides))))  # type: ignore[no-any-return]


def sides_by_name(size: Size) -> dict[str, int]:
    """The sides of an image by the names of `SIDES`."""
    return dict(zip(SIDES[-len(size) :], size, strict=True))


def at(config: EncoderConfig, point: Mapping[str, Integer]) -> EncoderConfig:
    """The encoder at a point, which has numbers or symbols."""
    stages = config.stages
    if "window" in point:
        stages = tuple(_windowed(stage, point["window"]) for stage in stages)
    run = replace(config.run, batch_size=point.get("batch_size", config.run.batch_size))
    size = tuple([point.get(axis, own) for axis, own in sides_by_name(config.image_size).items()])
    return replace(config, image_size=size, run=run, stages=stages)


def at_all(config: EncoderConfig, space: Space) -> EncoderConfig:
    """The encoder at all points of a space, which may not be valid."""
    return at(config, {name: _dimension(space, name) for name in space.points})


def _at_points(config: EncoderConfig, space: Space) -> EncoderConfig:
    """The encoder at all points of a space.

    Raises:
        UsageError: if it is not valid at some point; the message names the first.
    """
    placed = at_all(config, space)
    for loc, _ in problems_of_plan(placed):
        first = {name: int(values.flat[0]) for name, values in space.points.items()}
        problem = next(text for where, text in problems_of_plan(at(config, first)) if where == loc)
        raise UsageError(at_place(f"at {format_point(first)}", problem))
    return placed


def format_point(point: Mapping[str, int]) -> str:
    """A point in words: "image_size 1024x1024, batch_size 4, window_size 14"."""
    words = {name: str(point[axis]) for axis, name in NAMES.items() if axis in point}
    if sides := [point[axis] for axis in SIDES if axis in point]:
        words = {"image_size": format_size(sides)} | words
    return ", ".join(f"{name} {value}" for name, value in words.items())


def _figures(config: EncoderConfig, metrics: Sequence[str], device: Device | None) -> dict[str, Figure]:
    passes = Passes(config, device)
    return {
        metric: _time(metric, passes) if _is_time(metric) else _formula((FIGURES | GEOMETRY)[metric](passes))
        for metric in metrics
    }


def _in_windows(passes: Passes) -> Iterator[LayerConfig]:
    return (layer for layer in passes.config.layers if layer.is_windowed)


def _formula(formula: Integer) -> Figure:
    return lambda evaluate: evaluate(formula)


def _time(metric: str, passes: Passes) -> Figure:
    """The time of a pass; the time of equal operations is evaluated once."""
    device, run = passes.device, passes.config.run
    if device is None:
        raise TypeError(f"{metric} needs a device")
    ops = [op for section in passes.sections for op in passes.repeated(section) if op.is_kernel]

    def evaluated(evaluate: Evaluate) -> Any:
        times = {op: op_time(_at(op, evaluate), device, run).time_ms for op in dict.fromkeys(ops)}
        return sum(times[op] for op in ops)

    return evaluated


def _at(op: Op, evaluate: Evaluate) -> Op:
    """An operation at points; only the numbers that its time depends on."""
    return replace(
        op,
        macs=evaluate(op.macs),
        elementwise_flops=evaluate(op.elementwise_flops),
        bytes_read=evaluate(op.bytes_read),
        bytes_written=evaluate(op.bytes_written),
    )


def _put(values: dict[str, Array], lot: Lot, space: Space, formulas: Mapping[str, Figure]) -> None:
    """Evaluate formulas over the points of a space, and store the values at the rows of the points."""
    for evaluate in space.chunks():
        rows = lot.rows(space.axis, evaluate.where)
        for metric, formula in formulas.items():
            evaluated = formula(evaluate)
            if np.asarray(evaluated).dtype.hasobject and not values[metric].dtype.hasobject:
                values[metric] = values[metric].astype(object)
            values[metric][rows] = evaluated


def _holds(space: Space, mixed: MixedPointsError) -> Array:
    """At which points the relation holds on which the branch depends."""
    return np.concatenate([RELATIONS[mixed.relation](evaluate(mixed.formula)) for evaluate in space.chunks()])
