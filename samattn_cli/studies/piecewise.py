"""Passes of many encoders at once that differ in their sizes, part by part.

Each part or block is run for all sizes together, on `Lanes`. Where its operations differ between sizes, such as those of a
window that has to be padded, it is run once for each way; the streams that leave are joined again. So the number of passes is the
sum of the ways of each part, and not their product.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..encoder.model import EncoderConfig, StageConfig
from ..encoder.plan import LayerConfig, Stretch
from ..encoder.trained import trains_all
from ..records import dataclass, fields, replace
from ..tape.backward import BackwardRun, Handed, backward_alone
from ..tape.encoder import segment_alone
from ..tape.graph import Node
from ..tape.immutable import immutable
from ..tape.sdpa_call import AMPERE, Target
from ..tape.segments import Segment
from ..tape.storage import Storage
from ..tape.symbols.lanes import Lanes, Lot
from ..tape.tensor import Tensor
from .points import Array
from .points import at as encoder_at

ConfigAt = Callable[[Array, Lot], EncoderConfig]
"""The encoders at some places, with a dimension of the lot for each size that differs."""


def at_points(config: EncoderConfig, points: Mapping[str, Array]) -> ConfigAt:
    """The encoders at some of the points, by their indexes."""

    def config_at(places: Array, lot: Lot) -> EncoderConfig:
        return encoder_at(config, {axis: lot.of(values[places]) for axis, values in points.items()})

    return config_at


class NotPiecewiseError(Exception):
    """The parts of an encoder depend on each other by more than the stream between them."""


@dataclass(frozen=True)
class Stream:
    """A tensor between two parts, of some encoders.

    Attributes:
        places: of the encoders in their lot.
        kind: what is the same in all of them; () of the image.
        numbers: the sides of its shape, its strides and the bytes of its storage, each for all encoders.
    """

    places: Array
    kind: tuple[Any, ...] = ()
    numbers: tuple[Array, ...] = ()

    @property
    def key(self) -> Hashable:
        """Equal for equal streams."""
        return self.kind, self.places.tobytes(), tuple([each.tobytes() for each in self.numbers])

    def at(self, lot: Lot, *, here: Array, there: Array) -> Tensor:
        """The tensor in a pass of some of these encoders.

        Args:
            lot: of the pass.
            here: the encoders among these.
            there: their places in the lot.
        """
        item_bytes, is_view, is_weight, is_on_host, needs_gradient, *_ = self.kind
        *sides, nbytes = [lot.of(_spread(own[here], lot, there)) for own in self.numbers]
        dims = len(sides) // 2
        storage = Storage(nbytes, is_weight=is_weight, is_on_host=is_on_host)
        edge = (Node(None), 0) if needs_gradient else None
        return Tensor(tuple(sides[:dims]), tuple(sides[dims:]), storage, item_bytes, edge, is_view)


def _spread(numbers: Array, lot: Lot, there: Array) -> Array:
    """Numbers at some places of a lot; elsewhere one of them."""
    spread = np.full(lot.size, numbers[0])
    spread[there] = numbers
    return spread


@immutable(frozen=True, eq=False)
class Piece:
    """A part or block of those encoders in which its operations are the same.

    Attributes:
        places: of these encoders.
        lot: of the pass, which may have had more.
        left: the places of these encoders in the lot.
        config: of the encoders.
        segment: the part's forward.
        backward: its backward; None without one.
    """

    places: Array
    lot: Lot
    left: Array
    config: EncoderConfig
    segment: Segment
    backward: BackwardRun | None = None

    def agreed(self, value: Callable[[Piece], Any]) -> Any:
        """What a function makes of this piece.

        Raises:
            NotPiecewiseError: if it goes different ways in its encoders.
        """
        self.lot.only(self.left)
        found = value(self)
        if self.lot.out:
            raise NotPiecewiseError
        return found

    def numbers(self, value: Any) -> Array:
        """A dimension of its pass in its encoders."""
        if isinstance(value, Lanes):
            return value.numbers[self.left]  # type: ignore[no-any-return]
        return np.full(len(self.places), value)

    def stream(self, x: Tensor, *flags: bool) -> Stream:
        """A tensor of its pass."""
        storage = x.storage
        needs_gradient = x.grad_fn is not None
        kind = (x.item_bytes, x.is_view, storage.is_weight, storage.is_on_host, needs_gradient, *flags)
        return Stream(self.left, kind, tuple(map(self.numbers, (*x.shape, *x.stride, storage.nbytes))))


def is_piecewise(config: EncoderConfig, *, training: bool) -> bool:
    """Whether each part of an encoder, by its run, has to know of the others only what enters it."""
    run = config.run
    alone = run.parallel == "none" and not run.ema and run.accumulate == 1 and trains_all(run.trains)
    plain = not config.unread and not config.checkpointed_stages and run.autocast == "none"
    return plain and (alone or not training) and isinstance(run.checkpointing, bool)


def pieces_of(
    config_at: ConfigAt, places: Array, *, training: bool, target: Target = AMPERE
) -> Iterator[list[list[Piece]]]:
    """The pieces of each part of the encoders at some places; once for each group of encoders that have the same parts.

    Raises:
        NotPiecewiseError: if parts of an encoder depend on each other by more than the stream.
    """
    for own in _with_same_parts(config_at, places):
        driver = _Driver(Plans(config_at, own), training=training, target=target)
        found = driver.forward()
        yield driver.backward(found) if training else found


def _with_same_parts(config_at: ConfigAt, places: Array) -> Iterator[list[tuple[Array, EncoderConfig]]]:
    """The encoders that have the same parts, in groups whose plans were made alike."""
    by_names: dict[Hashable, list[tuple[Array, EncoderConfig]]] = {}
    waiting = [places]
    while waiting:
        own = waiting.pop()
        lot = Lot(np.arange(len(own)))
        names = tuple([part.name for part in config_at(own, lot).plan])
        waiting += [own[others] for others in lot.taken()]
        own = own[lot.left]
        lot = Lot(np.arange(len(own)))
        config = config_at(own, lot)
        if any(part.taps or part.holds for part in config.plan) or lot.out:
            raise NotPiecewiseError
        by_names.setdefault(names, []).append((own, config))
    yield from by_names.values()


class Plans:
    """The plans of encoders that have the same parts.

    Attributes:
        places: of the encoders.
        lot: these encoders.
        config: of all of them.
        ways: of each part, the ways in which plans have it, as windows that are clamped to the grid; and in which encoders of the lot.
    """

    def __init__(self, config_at: ConfigAt, alike: Sequence[tuple[Array, EncoderConfig]]) -> None:
        places = np.concatenate([own for own, _ in alike])
        self.places = places[places.argsort()]
        self.lot = Lot(np.arange(len(places)))
        self.config = config_at(self.places, self.lot)
        at = [np.searchsorted(self.places, own) for own, _ in alike]
        plans = zip(*(config.plan for _, config in alike), strict=True)
        self.ways = [self._ways(list(zip(at, parts, strict=True))) for parts in plans]

    def _ways(self, parts: Sequence[tuple[Array, Any]]) -> list[tuple[Array, Any]]:
        """A part of all encoders."""
        found: dict[Hashable, list[tuple[Array, Any]]] = {}
        for at, part in parts:
            own = part if isinstance(part, LayerConfig) else replace(part, config=None)
            found.setdefault(_form(own), []).append((at, own))
        return [
            (np.sort(np.concatenate([at for at, _ in same])), self._one(*zip(*same, strict=True)))
            for same in found.values()
        ]

    def _one(self, at: Sequence[Array], values: Sequence[Any]) -> Any:
        """A value of some encoders, whose forms are equal."""
        first = values[0]
        if _is_number(first):
            return self._lanes(at, values)
        if isinstance(first, tuple):
            return tuple([self._one(at, own) for own in zip(*values, strict=True)])
        if _is_record(first):
            names = [field.name for field in fields(first)]
            return replace(
                first, **{name: self._one(at, [getattr(v, name) for v in values]) for name in names}
            )
        return first

    def _lanes(self, at: Sequence[Array], values: Sequence[Any]) -> Any:
        if all(value is values[0] for value in values) and isinstance(values[0], int):
            return values[0]
        first = values[0].numbers[0] if isinstance(values[0], Lanes) else values[0]
        numbers: Array = np.full(len(self.places), first, np.int64)  # in other ways it is one of these
        for where, value in zip(at, values, strict=True):
            numbers[where] = value.numbers if isinstance(value, Lanes) else value
        return self.lot.of(numbers)

    def fresh(self, number: int, part: Any) -> EncoderConfig:
        """The config with a plan that has this part with nothing cached: what it works out depends on the way that it takes."""
        config = replace(self.config)
        own = replace(part) if isinstance(part, LayerConfig) else replace(part, config=config)
        plan = [own if place == number else ways[0][1] for place, ways in enumerate(self.ways)]
        vars(config).update(plan=tuple(plan), stretches=tuple(map(Stretch, plan)))
        return config

    def kinds(self) -> list[int]:
        """A number for each part, the same for blocks that cost the same on the same stream."""
        known: dict[Hashable, int] = {}
        return [known.setdefault(self._kind(number), len(known)) for number in range(len(self.ways))]

    def _kind(self, number: int) -> Hashable:
        ways = self.ways[number]
        if not isinstance(ways[0][1], LayerConfig):
            return number
        kinds = tuple([(at.tobytes(), part.kind) for at, part in ways])
        return kinds, number == len(self.ways) - 1


def _is_number(value: Any) -> bool:
    return isinstance(value, int | Lanes) and not isinstance(value, bool)


def _is_record(value: Any) -> bool:
    return hasattr(value, "__dataclass_fields__") and not isinstance(value, StageConfig)


def _form(value: Any) -> Hashable:
    """What has to be equal in encoders that have a part in the same way: all but numbers."""
    if _is_number(value):
        return None
    if isinstance(value, tuple):
        return tuple(map(_form, value))
    if _is_record(value):
        return type(value), *(_form(getattr(value, field.name)) for field in fields(value))
    return type(value), value


class _Driver:
    """Runs the parts of encoders that have the same parts."""

    def __init__(self, plans: Plans, *, training: bool, target: Target) -> None:
        self.plans = plans
        self.training = training
        self.target = target

    def forward(self) -> list[list[Piece]]:
        """The pieces of each part."""
        streams = [Stream(np.arange(len(self.plans.places)))]
        known: dict[Hashable, tuple[list[Piece], list[Stream]]] = {}
        found = []
        for number, kind in enumerate(self.plans.kinds()):
            key = kind, tuple([stream.key for stream in streams])
            if key not in known:
                known[key] = self._part(number, streams)
            pieces, streams = known[key]
            found.append(pieces)
        return found

    def _part(self, number: int, streams: Sequence[Stream]) -> tuple[list[Piece], list[Stream]]:
        """The pieces of a part, and what leaves them."""
        pieces, leaving = list[Piece](), list[Stream]()
        for stream in streams:
            for at, part in self.plans.ways[number]:
                waiting = [np.intersect1d(stream.places, at, assume_unique=True)]
                while waiting:
                    if len(left := waiting.pop()):
                        pieces.append(self._piece(number, part, stream, left))
                        waiting += self.plans.lot.taken()
                        leaving.append(_leaving(pieces[-1], is_last=number == len(self.plans.ways) - 1))
        return pieces, _joined(leaving)

    def _piece(self, number: int, part: Any, stream: Stream, left: Array) -> Piece:
        """A part in those of some encoders in which it goes the same way."""
        lot = self.plans.lot
        lot.only(left)
        config = self.plans.fresh(number, part)
        x, is_kept = None, False
        if number:
            x = stream.at(lot, here=np.searchsorted(stream.places, left), there=left)
            is_kept = stream.kind[-1]
        segment = segment_alone(
            config, number, x, training=self.training, target=self.target, is_kept=is_kept
        )
        return Piece(self.plans.places[lot.left], lot, lot.left, config, segment)

    def backward(self, parts: Sequence[list[Piece]]) -> list[list[Piece]]:
        """The pieces of each part, with their backwards."""
        streams: list[Stream] = []
        known: dict[Hashable, tuple[list[Piece], list[Stream]]] = {}
        found = []
        for pieces in reversed(parts):
            key = id(pieces), tuple([stream.key for stream in streams])
            if key not in known:
                known[key] = _backward_of(pieces, streams)
            of_part, streams = known[key]
            found.append(of_part)
            if not streams and len(found) < len(parts):
                raise NotPiecewiseError  # some parts have no gradient
        return found[::-1]


def _leaving(piece: Piece, *, is_last: bool) -> Stream:
    """What leaves a part."""
    segment = piece.segment
    (out, *others), (entry,) = segment.outputs, segment.entries
    is_image = out.storage is entry.storage and not segment.sources[0][0]
    if is_image or (others and not is_last):
        raise NotPiecewiseError
    return piece.stream(out, out.storage in segment.kept)


def _joined(streams: Sequence[Stream]) -> list[Stream]:
    """Streams of which those of one kind are one."""
    by_kind: dict[Hashable, list[Stream]] = {}
    for stream in streams:
        by_kind.setdefault((stream.kind, len(stream.numbers)), []).append(stream)
    return [_one(same) for same in by_kind.values()]


def _one(streams: Sequence[Stream]) -> Stream:
    places = np.concatenate([stream.places for stream in streams])
    order = places.argsort()
    columns = zip(*(stream.numbers for stream in streams), strict=True)
    numbers = tuple([np.concatenate(column)[order] for column in columns])
    return Stream(places[order], streams[0].kind, numbers)


def _backward_of(pieces: Sequence[Piece], streams: Sequence[Stream]) -> tuple[list[Piece], list[Stream]]:
    """The backward of a part, and the gradients that it hands on.

    Args:
        pieces: its forward.
        streams: the gradients of what left it; none of the last part.
    """
    found, handed = list[Piece](), list[Stream]()
    given: Sequence[Stream | None] = streams or [None]
    for piece in pieces:
        for stream in given:
            waiting = [piece.left if stream is None else np.intersect1d(piece.left, stream.places)]
            while waiting:
                left = waiting.pop()
                if len(left):
                    done, gradient, others = _backward_at(piece, stream, left)
                    found.append(done)
                    handed += [] if gradient is None else [gradient]
                    waiting += others
    return found, _joined(handed)


def _backward_at(
    piece: Piece, stream: Stream | None, left: Array
) -> tuple[Piece, Stream | None, list[Array]]:
    """The backward of a piece in some of its encoders; and those in which it goes another way."""
    lot = piece.lot
    lot.only(left)
    handed = None
    if stream is not None:
        here = np.searchsorted(stream.places, left)
        handed = Handed(stream.at(lot, here=here, there=left), *stream.kind[-2:])
    run, on = backward_alone(piece.config, piece.segment, handed)
    kept, others = lot.left, lot.taken()
    places = piece.places[np.searchsorted(piece.left, kept)]
    done = Piece(places, lot, kept, piece.config, piece.segment, run)
    if on is None:
        return done, None, others
    gradient = on.gradient.made_by(None)
    return done, done.stream(gradient, on.is_callers, on.is_kept_by_weights), others
