"""The figures of one encoder at many points: resolutions, batch sizes, windows.

The encoder is passed over the Tape once for each structure - padded or not, positions resized or not - on symbols; the
formulas that come out are evaluated over the points, as NumPy arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from ..device.roofline import op_time
from ..encoder.model import EncoderConfig, OverrideConfig, StageConfig
from ..encoder.placement import Placement
from ..encoder.plan import LayerConfig
from ..encoder.plan_rules import problems_of_plan
from ..errors import UsageError
from ..tape.ops import Op
from ..tape.storage import Dim
from ..tape.symbols.formula import Integer
from ..tape.symbols.space import RELATIONS, MixedPointsError, Space
from ..units import format_size
from .passes import Passes
from .readers import FIGURES

if TYPE_CHECKING:
    from ..device.model import Device

AXES = ("height", "width", "batch_size", "window")
"""What points may differ in: pixels of the image, images a pass, tokens of the square window of windowed blocks."""

NAMES = {"batch_size": "batch_size", "window": "window_size"}
"""The config's words for those that are one number."""

GEOMETRY: dict[str, Callable[[Passes], Dim]] = {
    "windowed_tokens": lambda passes: sum(prod(layer.grid) for layer in _in_windows(passes)),
    "padded_tokens": lambda passes: sum(prod(layer.padded_grid) for layer in _in_windows(passes)),
}
"""Of one image, over all windowed layers: their tokens, and those that their windows cover."""

Array = np.ndarray[Any, np.dtype[Any]]
Points = Mapping[str, Array]
Evaluate = Callable[[Integer], Any]
Figure = Callable[[Evaluate], Any]


def figures_at(
    config: EncoderConfig, points: Points, metrics: Sequence[str], device: Device | None = None
) -> dict[str, Array]:
    """The figures of an encoder at each point.

    Args:
        config: the encoder.
        points: integer arrays of one length, by the names of `AXES`; what is not said is the config's own.
        metrics: names of `Figures` and of `GEOMETRY`.
        device: for "latency_ms".

    Returns:
        By metric, an array of the points' length: int64, or Python's integers (object) where those are too large;
        float64 of latencies.

    Raises:
        UsageError: for a point that the encoder cannot have.
    """
    made = {
        metric: np.empty(_size(points), float if metric == "latency_ms" else np.int64) for metric in metrics
    }

    def put(space: Space, where: Array) -> None:
        _put(made, where, space, _figures(_at_points(config, space), metrics, device))

    in_lots(points, put)
    return made


def in_lots(points: Points, run: Callable[[Space, Array], None]) -> None:
    """Run something over all points at once, or over lots of them where they part ways.

    Args:
        points: integer arrays of one length.
        run: given the space of a lot, and which points it has.
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
            space.forget()  # passes are kept for a while; what they were evaluated at is not


def _size(points: Points) -> int:
    return len(next(iter(points.values())))


def _dimension(space: Space, name: str) -> Integer:
    symbol = space.symbol(name)
    low, high = space.bounds(symbol)
    return low if low == high else symbol


def _windowed(stage: StageConfig, window: Integer) -> StageConfig:
    """The stage with square windows of that side in place of its own."""
    keys = Placement((window, window)).keys

    def own(part: StageConfig | OverrideConfig) -> Any:
        return part if part.placement is None or part.placement.is_global else replace(part, **keys)

    return own(replace(stage, overrides=tuple(map(own, stage.overrides))))  # type: ignore[no-any-return]


def at(config: EncoderConfig, point: Mapping[str, Integer]) -> EncoderConfig:
    """The encoder at a point: of numbers, or of symbols."""
    height, width = config.image_size
    stages = config.stages
    if "window" in point:
        stages = tuple(_windowed(stage, point["window"]) for stage in stages)
    run = replace(config.run, batch_size=point.get("batch_size", config.run.batch_size))
    size = (point.get("height", height), point.get("width", width))
    return replace(config, image_size=size, run=run, stages=stages)


def at_all(config: EncoderConfig, space: Space) -> EncoderConfig:
    """The encoder at all points of a space, which it may not be able to have."""
    return at(config, {name: _dimension(space, name) for name in space.points})


def _at_points(config: EncoderConfig, space: Space) -> EncoderConfig:
    """The encoder at all points of a space.

    Raises:
        UsageError: for one that it cannot have; it says the first.
    """
    placed = at_all(config, space)
    for loc, _ in problems_of_plan(placed):
        first = {name: int(values[0]) for name, values in space.points.items()}
        problem = next(text for where, text in problems_of_plan(at(config, first)) if where == loc)
        raise UsageError(f"at {say_point(first)}: {problem}")
    return placed


def say_point(point: Mapping[str, int]) -> str:
    """A point in words: "image_size 1024x1024, batch_size 4, window_size 14"."""
    said = {name: str(point[axis]) for axis, name in NAMES.items() if axis in point}
    if "height" in point and "width" in point:
        said = {"image_size": format_size((point["height"], point["width"]))} | said
    return ", ".join(f"{name} {value}" for name, value in said.items())


def _figures(config: EncoderConfig, metrics: Sequence[str], device: Device | None) -> dict[str, Figure]:
    passes = Passes(config, device)
    return {
        metric: _latency(passes) if metric == "latency_ms" else _formula((FIGURES | GEOMETRY)[metric](passes))
        for metric in metrics
    }


def _in_windows(passes: Passes) -> Iterator[LayerConfig]:
    return (layer for layer in passes.config.layers if not layer.is_global)


def _formula(formula: Integer) -> Figure:
    return lambda evaluate: evaluate(formula)


def _latency(passes: Passes) -> Figure:
    """The time of a pass, each operation's evaluated once."""
    device, run = passes.device, passes.config.run
    if device is None:
        raise TypeError("latency_ms is on a device")
    ops = [op for section in passes.sections.values() for op in section if op.is_kernel]

    def evaluated(evaluate: Evaluate) -> Any:
        times = {op: op_time(_at(op, evaluate), device, run).time_ms for op in dict.fromkeys(ops)}
        return sum(times[op] for op in ops)

    return evaluated


def _at(op: Op, evaluate: Evaluate) -> Op:
    """An operation at points; only what times are made of."""
    return replace(
        op,
        macs=evaluate(op.macs),
        elementwise_flops=evaluate(op.elementwise_flops),
        bytes_read=evaluate(op.bytes_read),
        bytes_written=evaluate(op.bytes_written),
    )


def _put(made: dict[str, Array], where: Array, space: Space, figures: Mapping[str, Figure]) -> None:
    """Evaluate figures over the points of a space, and put them in their places."""
    start = 0
    for evaluate in space.chunks():
        places = where[start : start + evaluate.size]
        for metric, figure in figures.items():
            values = figure(evaluate)
            if np.asarray(values).dtype.hasobject:
                made[metric] = made[metric].astype(object)
            made[metric][places] = values
        start += evaluate.size


def _holds(space: Space, mixed: MixedPointsError) -> Array:
    """Where what points part ways at holds."""
    return np.concatenate([RELATIONS[mixed.relation](evaluate(mixed.formula)) for evaluate in space.chunks()])
