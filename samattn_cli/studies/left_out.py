"""Values of a grid's counted axes that an encoder does not take: they are left out, and the rest is worked out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from ..encoder.keys import Size
from ..encoder.model import EncoderConfig
from ..encoder.plan_rules import problems_of_plan
from ..errors import Message, UsageError, at_place, code_of
from ..records import dataclass, replace
from ..reports.sweep import LeftOut
from ..tape.symbols.space import Space
from ..units import format_side, format_size
from .grid import Grid, groups_of
from .lots import Lot
from .points import at, at_all, format_point, sides_by_name

Array = np.ndarray[Any, np.dtype[Any]]
AXES = ("batch_size", "window", "resolution")
"""The axes of `Grid.shape`, in its order."""
OPTIONS = {"batch_size": "--batch-sizes", "window": "--windows", "resolution": "--resolutions"}


@dataclass(frozen=True)
class Fault:
    """Points of a grid, by their rows, at which an encoder is not valid, and what is wrong at one of them."""

    config: EncoderConfig
    rows: Array
    reason: Callable[[int], Message]


def without_unfit(encoders: Sequence[EncoderConfig], grid: Grid) -> tuple[Grid, tuple[LeftOut, ...]]:
    """The part of a grid at which all encoders are valid, and the values that are left out.

    Raises:
        UsageError: if an axis has no value left; the message has the first reason.
    """
    left_out: list[LeftOut] = []
    for faults_of in (_smaller_than_patch, _of_plan):  # the plan of an image without a patch cannot be made
        if faults := [fault for encoder in encoders for fault in faults_of(encoder, grid)]:
            grid, gone = _without(grid, faults)
            left_out += gone
    return grid, tuple(left_out)


def _smaller_than_patch(config: EncoderConfig, grid: Grid) -> Iterator[Fault]:
    rows = np.arange(prod(grid.shape)).reshape(grid.shape)
    for place, size in enumerate(grid.resolutions):
        if reason := _refused(config, size):
            yield Fault(config, rows[..., place].ravel(), lambda _, reason=reason: reason)  # type: ignore[misc]


def _refused(config: EncoderConfig, size: Size) -> Message | None:
    """Why an image of a size cannot be cut into patches; None if it can."""
    at, patch = f"at image_size {format_side(size)}", format_side(config.patch)
    if len(size) != len(config.image_size):
        text = f"{at}: {config.name} takes {len(config.image_size)} sides, such as {format_size(config.image_size)}"
        return Message("axes-differ", text)
    if any(side < least for side, least in zip(size, config.patch, strict=True)):
        return Message(
            "image-smaller-than-patch", f"{at}: {config.name} has patches of {patch}; use at least {patch}"
        )
    return None


def _of_plan(config: EncoderConfig, grid: Grid) -> Iterator[Fault]:
    """The points at which the rules of families and of the plan are broken, from symbolic plans."""
    left = [tuple(groups_of(grid))] if groups_of(grid) else []
    while left:
        lot = Lot(left.pop(), left)
        space = Space(lot.points, lot.split)
        try:
            where = next((loc for loc, _ in problems_of_plan(at_all(config, space))), None)
            if where is not None:
                yield Fault(config, lot.rows(space.axis, slice(None)).ravel(), _reason(config, grid, where))
        finally:
            space.forget()


def _reason(config: EncoderConfig, grid: Grid, where: Any) -> Callable[[int], Message]:
    def at_row(row: int) -> Message:
        point = _point(grid, row)
        problem = next(text for loc, text in problems_of_plan(at(config, point)) if loc == where)
        return at_place(f"at {format_point(point)}", problem)

    return at_row


def _point(grid: Grid, row: int) -> Mapping[str, int]:
    batch, window, size = (int(place) for place in np.unravel_index(row, grid.shape))
    point: dict[str, int] = {}
    if grid.resolutions:
        point |= sides_by_name(grid.resolutions[size])
    if grid.batch_sizes:
        point["batch_size"] = grid.batch_sizes[batch]
    if grid.windows:
        point["window"] = grid.windows[window]
    return point


# -- what is kept ----------------------------------------------------------------------------------------------------


def _without(grid: Grid, faults: Sequence[Fault]) -> tuple[Grid, list[LeftOut]]:
    faults = sorted(
        faults, key=lambda fault: int(fault.rows.min())
    )  # the first point is the one that is shown
    invalid = np.zeros(prod(grid.shape), bool)
    for fault in faults:
        invalid[fault.rows] = True
    kept = _kept(invalid.reshape(grid.shape))
    if not all(places.any() for places in kept):
        raise UsageError(_nothing_left(grid, faults[0]))
    gone = [
        each
        for axis, places in enumerate(kept)
        if not places.all()
        for each in _merged(_gone(grid, axis, ~places, faults), _labels(grid)[axis])
    ]
    return _only(grid, kept), gone


def _kept(invalid: Array) -> list[Array]:
    """Which batch sizes, windows and resolutions are kept, so that all their combinations are valid.

    A value that is valid nowhere is left out. Then resolutions that are not valid everywhere are. If none is left, those
    windows and batch sizes are kept that go with the resolution that is valid most often.
    """
    valid: Array = ~invalid
    batches, windows, sizes = (np.asarray(valid.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1)))
    if batches.any() and not valid[np.ix_(batches, windows)].all(axis=(0, 1)).any():
        best = valid.sum(axis=(0, 1)).argmax()
        windows = np.asarray(valid[valid[:, :, best].any(axis=1).argmax(), :, best])
        batches = np.asarray(valid[:, windows, best].all(axis=1))
    if batches.any():
        sizes = np.asarray(valid[np.ix_(batches, windows)].all(axis=(0, 1)))
    return [batches, windows, sizes]


def _only(grid: Grid, kept: Sequence[Array]) -> Grid:
    values = (grid.batch_sizes, grid.windows, grid.resolutions)
    batch_sizes, windows, resolutions = (
        tuple(value for value, keep in zip(own, places, strict=True) if keep) if own else ()
        for own, places in zip(values, kept, strict=True)
    )
    return replace(grid, batch_sizes=batch_sizes, windows=windows, resolutions=resolutions)  # type: ignore[arg-type]


# -- what is said ----------------------------------------------------------------------------------------------------


def _gone(grid: Grid, axis: int, gone: Array, faults: Sequence[Fault]) -> Iterator[LeftOut]:
    """For each fault, the values of an axis that are left out for it."""
    labels = _labels(grid)[axis]
    for fault in faults:
        places = np.unravel_index(fault.rows, grid.shape)[axis]
        of_gone = gone[places]
        if of_gone.any():
            reason = fault.reason(int(fault.rows[of_gone].min()))
            values = tuple(labels[place] for place in np.unique(places[of_gone]))
            yield LeftOut(AXES[axis], values, fault.config.name, str(reason), code_of(reason))


def _merged(each: Iterable[LeftOut], order: Sequence[str]) -> list[LeftOut]:
    """What one config does not take for one kind of reason is one entry, with the reason of the first."""
    found: dict[tuple[str, str], LeftOut] = {}
    for one in each:
        known = found.get(key := (one.config, one.code))
        values = {*(known.values if known else ()), *one.values}
        found[key] = replace(known or one, values=tuple(sorted(values, key=order.index)))
    return list(found.values())


def _labels(grid: Grid) -> tuple[tuple[str, ...], ...]:
    sizes = tuple(format_side(size) for size in grid.resolutions)
    return tuple(map(str, grid.batch_sizes)), tuple(map(str, grid.windows)), sizes


def _nothing_left(grid: Grid, fault: Fault) -> Message:
    reason = at_place(fault.config.name, fault.reason(int(fault.rows[0])))
    values = (grid.batch_sizes, grid.windows, grid.resolutions)
    if prod(grid.shape) == 1:
        return reason
    options = ", ".join(OPTIONS[axis] for axis, own in zip(AXES, values, strict=True) if own)
    return Message(code_of(reason), f"{options}: none of the {prod(grid.shape):,} points is valid: {reason}")
