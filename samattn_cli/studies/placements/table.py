"""What each layer adds to the cost of a placement, learnt from eight real passes, and chained for many placements at once.

What a layer costs, allocates and keeps depends on whether it is global and, for memory, on its neighbours: on whether the
one before keeps what enters it, and on how the gradient lies that the one behind hands back. So the table has a piece for
each layer and each of the eight ways that it and the two beside it can be. The cyclic sequence 00010111 has each of them
once (de Bruijn), so its eight rotations, laid along the layers, show each layer in each of its ways. What stands between two
layers that can be either (transitions, layers without a window) goes with the first of them.

A placement is a bitmask: bit i is the i-th layer that can be either. Layers are taken in groups, whose tables are indexed by
the bits of the group and of the two layers beside it, so that a million placements take a few look-ups each.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import reduce
from itertools import pairwise

import numpy as np

from ...device.model import Device
from ...encoder.model import EncoderConfig
from ...encoder.placed import placed
from ...errors import UsageError
from ...figures import names
from ..passes import Passes
from .masks import Ints
from .pieces import ADDED, NEEDED, SUMS, Constants, Piece, constants_of, pieces_of
from .runs import NO_LAYER, Runs

CYCLE = (0, 0, 0, 1, 0, 1, 1, 1)
WAYS = len(CYCLE)
GROUP = 8
LARGEST = 2**58
"""Of the sum of a field: several are added, and 64 bits hold them."""
MOST_LAYERS = 60
"""Bits of a mask, with one to spare on either side."""


@dataclass(frozen=True)
class Group:
    """Some layers in a row: from which bit they are, how many, and their pieces and runs by `codes`."""

    first: int
    size: int
    piece: Piece
    runs: Runs

    def codes(self, masks: Ints) -> Ints:
        """The bits of the group with that before it (lowest) and that behind it."""
        return ((masks << 1) >> self.first) & ((1 << (self.size + 2)) - 1)


@dataclass(frozen=True)
class Table:
    """The cost of every placement of an encoder's global layers.

    Attributes:
        layers: those that can be windowed or global, whose bits masks have.
        constants: what every placement has.
        pieces: of each of those layers, by way: (is the one before global) + 2 * (is it) + 4 * (is the one behind).
        groups: the same by groups of layers.
        head: the layers before the first of them.
    """

    layers: tuple[int, ...]
    constants: Constants
    pieces: tuple[tuple[Piece, ...], ...]
    groups: tuple[Group, ...]
    head: Runs

    def figures(self, masks: Ints, names: Collection[str]) -> dict[str, Ints]:
        """Figures of whole passes (see `NEEDED`) for each placement."""
        needed = frozenset[str]().union(*(NEEDED[name] for name in names))
        whole = reduce(Piece.then, (_taken(group, masks, needed) for group in self.groups))
        shape = masks.shape
        return {name: np.broadcast_to(self.constants.figure(name, whole), shape) for name in names}

    def figures_of(self, mask: int, names: Collection[str]) -> dict[str, int]:
        """Figures of one placement."""
        return {name: int(each[0]) for name, each in self.figures(np.array([mask], np.int64), names).items()}

    def mask(self, chosen: Collection[int]) -> int:
        """The placement that makes layers global."""
        return sum(1 << bit for bit, layer in enumerate(self.layers) if layer in chosen)

    def chosen(self, mask: int) -> tuple[int, ...]:
        """The layers that a placement makes global."""
        return tuple(layer for bit, layer in enumerate(self.layers) if mask >> bit & 1)

    def runs(self, masks: Ints) -> Runs:
        """The runs of layers without a global one in each placement."""
        return reduce(Runs.then, (_runs_taken(group, masks) for group in self.groups), self.head)

    def least(self, name: str, number: int) -> int:
        """A bound: no placement of so many global layers has less of a figure that is a sum (0 for other figures)."""
        if name not in SUMMED:
            return 0
        least = [
            [min(getattr(ways[way], name) for way in range(WAYS) if (way >> 1) & 1 == own) for own in (0, 1)]
            for ways in self.pieces
        ]
        more = sorted(as_global - windowed for windowed, as_global in least)
        total = sum(windowed for windowed, _ in least) + sum(more[:number])
        return int(self.constants.figure(name, Piece(**{name: total})))


SUMMED = frozenset({*names(ADDED), "latency_ps"})


def table_of(
    config: EncoderConfig,
    layers: Sequence[int],
    mixing: Collection[int],
    *,
    device: Device | None = None,
    training: bool = False,
) -> Table:
    """Learn the table of an encoder.

    Args:
        config: the encoder.
        layers: those that can be windowed or global.
        mixing: those that are global in every placement.
        device: where times are asked for.
        training: whether the peak of a training step is asked for too.

    Raises:
        UsageError: for more layers than a mask has bits, and for figures beyond what 64 bits hold exactly.
    """
    if len(layers) > MOST_LAYERS:
        raise UsageError(
            f"a search takes at most {MOST_LAYERS} layers that can be windowed or global: {config.name} has {len(layers)}"
        )
    learnt: list[dict[int, Piece]] = [{} for _ in layers]
    for rotation in range(WAYS):
        passes = Passes(placed(config, _laid(layers, rotation)), device)
        for at, piece in enumerate(_joined(passes, layers, training=training)):
            learnt[at][_way(at, len(layers), rotation)] = piece
    # a way that needs a neighbour beyond the ends is never looked up: it has the piece of the one without
    pieces = tuple(
        tuple(
            ways[next(known for known in (way, way & 6, way & 3, way & 2) if known in ways)]
            for way in range(WAYS)
        )
        for ways in learnt
    )
    _check_size(config, pieces)
    runs = [_runs_of(own, behind, mixing) for own, behind in pairwise((*layers, len(config.layers)))]
    head = [Runs.of(int(layer in mixing)) for layer in range(layers[0])]
    # the constants are those of any pass: this is the last one
    constants = constants_of(passes, training=training)
    return Table(
        tuple(layers), constants, pieces, tuple(_groups(pieces, runs)), reduce(Runs.then, head, NO_LAYER)
    )


def _laid(layers: Sequence[int], rotation: int) -> list[int]:
    return [layer for at, layer in enumerate(layers) if CYCLE[(at + rotation) % WAYS]]


def _way(at: int, number: int, rotation: int) -> int:
    """The way that a rotation shows a layer in; beyond the ends is none, which counts as a windowed one."""
    before, own, behind = (CYCLE[(at + rotation + step) % WAYS] for step in (-1, 0, 1))
    return (before if at else 0) + 2 * own + 4 * (behind if at < number - 1 else 0)


def _joined(passes: Passes, layers: Sequence[int], *, training: bool) -> Iterator[Piece]:
    """The piece of each layer with what stands behind it, of the first with what stands before it."""
    firsts = {f"blocks.{layer}" for layer in layers[1:]}
    names = [segment.name for segment in passes.forward.segments]
    joined: Piece | None = None
    for name, piece in zip(names, pieces_of(passes, training=training), strict=True):
        if joined is not None and name in firsts:
            yield joined
            joined = piece
        else:
            joined = piece if joined is None else joined.then(piece)
    if joined is not None:
        yield joined


def _check_size(config: EncoderConfig, pieces: Sequence[Sequence[Piece]]) -> None:
    for name in SUMS:
        if sum(max(abs(getattr(piece, name)) for piece in ways) for ways in pieces) > LARGEST:
            raise UsageError(f"{config.name}: figures beyond 64 bits cannot be searched: use a smaller image")


def _runs_of(own: int, behind: int, mixing: Collection[int]) -> tuple[Runs, Runs]:
    """A layer windowed, and global, each with those behind it that cannot be either."""
    rest = [Runs.of(int(layer in mixing)) for layer in range(own + 1, behind)]
    windowed, as_global = (
        reduce(Runs.then, rest, Runs.of(is_global)) for is_global in (int(own in mixing), 1)
    )
    return windowed, as_global


def _groups(pieces: Sequence[Sequence[Piece]], runs: Sequence[tuple[Runs, Runs]]) -> Iterator[Group]:
    for first in range(0, len(pieces), GROUP):
        size = min(GROUP, len(pieces) - first)
        codes = np.arange(1 << (size + 2))
        ways = [(codes >> at) & (WAYS - 1) for at in range(size)]
        own = [(codes >> (at + 1)) & 1 for at in range(size)]
        yield Group(
            first,
            size,
            reduce(Piece.then, (_by_way(pieces[first + at], ways[at]) for at in range(size))),
            reduce(Runs.then, (_by_own(runs[first + at], own[at]) for at in range(size))),
        )


def _by_way(pieces: Sequence[Piece], ways: Ints) -> Piece:
    """The pieces of a layer as arrays over codes; a field that is the same in all ways stays a number."""
    found = {}
    for field in fields(Piece):
        values = [getattr(piece, field.name) for piece in pieces]
        found[field.name] = values[0] if len(set(values)) == 1 else np.array(values, np.int64)[ways]
    return Piece(**found)


def _by_own(runs: tuple[Runs, Runs], own: Ints) -> Runs:
    windowed, as_global = runs
    return Runs(
        windowed.length,
        *(
            np.array([getattr(windowed, name), getattr(as_global, name)], np.int64)[own]
            for name in ("before", "behind", "longest")
        ),
    )


def _taken(group: Group, masks: Ints, needed: frozenset[str]) -> Piece:
    codes = group.codes(masks)
    held = {name: getattr(group.piece, name) for name in needed}
    return Piece(
        **{name: each[codes] if isinstance(each, np.ndarray) else each for name, each in held.items()}
    )


def _runs_taken(group: Group, masks: Ints) -> Runs:
    codes, runs = group.codes(masks), group.runs
    return Runs(runs.length, runs.before[codes], runs.behind[codes], runs.longest[codes])
