"""What an operation allocates inside, where its sizes are lanes: the rules take numbers, so each encoder is asked by itself."""

from __future__ import annotations

from typing import Any

from ..records import replace
from .inside import Cuda, Steps, steps
from .ops import InputLayout, Op
from .storage import Storage
from .symbols.lanes import Lanes, Lot


def has_lanes(op: Op) -> bool:
    """Whether a size that decides what an operation allocates inside has lanes."""
    return _lot_of(op) is not None


def _lot_of(op: Op) -> Lot | None:
    for size in op.entering:
        if type(size) is Lanes:
            return size.lot
    for storage in op.allocates:
        if type(storage.nbytes) is Lanes:
            return storage.nbytes.lot
    for storage in op.reads:
        if type(storage.nbytes) is Lanes:
            return storage.nbytes.lot
    return next(
        (each.lot for each in (*op.leaving, op.workspace_bytes, op.scores) if type(each) is Lanes), None
    )


def steps_of_each(op: Op, cuda: Cuda) -> Steps:
    """The same as `steps`, in the encoders in which the steps are alike; the pass goes on with those."""
    lot = _lot_of(op)
    assert lot is not None  # noqa: S101 - for the type checker: see `has_lanes`
    found = {int(lane): _steps_at(op, int(lane), cuda) for lane in lot.left}
    forms = {lane: tuple(map(_form, own)) for lane, own in found.items()}
    while len({forms[int(lane)] for lane in lot.left}) > 1:
        first = forms[int(lot.left[0])]
        alike = lot.places < 0
        for lane in lot.left:
            alike[lane] = forms[int(lane)] == first
        lot.holds(alike)
    columns = zip(*(found[int(lane)] for lane in lot.left), strict=True)
    return tuple([_joined(lot, column) for column in columns])


def _joined(lot: Lot, column: tuple[Any, ...]) -> Any:
    """A step of all encoders."""
    if not isinstance(column[0], int) or column[0] <= 0:
        return column[0]
    numbers = lot.places * 0 + column[0]
    numbers[lot.left] = column
    return lot.of(numbers)


def _form(step: Any) -> Any:
    """What of a step is the same in encoders that are alike: all but how many bytes it takes."""
    return True if isinstance(step, int) and step > 0 else step


def _steps_at(op: Op, lane: int, cuda: Cuda) -> Steps:
    """The steps in one encoder, with the storages of all."""
    own = {each: _storage_at(each, lane) for each in (*op.reads, *op.allocates)}
    of_all = {one: each for each, one in own.items()}
    made = steps(_op_at(op, lane).with_storages(own), cuda)
    return tuple([of_all[step] if isinstance(step, Storage) else step for step in made])


def _storage_at(storage: Storage, lane: int) -> Storage:
    nbytes = _at(storage.nbytes, lane)
    return Storage(nbytes, is_weight=storage.is_weight, is_on_host=storage.is_on_host)


def _op_at(op: Op, lane: int) -> Op:
    layout = op.layout
    if layout is not None:
        shape, stride, weight = (_at(each, lane) for each in (layout.shape, layout.stride, layout.weight))
        layout = InputLayout(shape, stride, weight, layout.gives_input, layout.gives_weight)
    return replace(
        op,
        macs=_at(op.macs, lane),
        workspace_bytes=_at(op.workspace_bytes, lane),
        scores=_at(op.scores, lane),
        entering=_at(op.entering, lane),
        leaving=_at(op.leaving, lane),
        strides=_at(op.strides, lane),
        layout=layout,
    )


def _at(value: Any, lane: int) -> Any:
    """A dimension, or dimensions, in one encoder."""
    if isinstance(value, tuple):
        return tuple([_at(each, lane) for each in value])
    return int(value.numbers[lane]) if type(value) is Lanes else value
