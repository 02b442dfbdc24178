"""The table of a search for many placements at once, as NumPy arrays.

A placement is a bitmask of 64 bits: bit i is the i-th layer that can be windowed or global. Layers form groups, whose tables
are indexed by the bits of the group and of its two neighbours, so each placement takes a few look-ups.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import reduce
from itertools import pairwise

import numpy as np

from ...errors import UsageError
from .masks import Ints
from .pieces import NEEDED, SUMS, Constants, Piece
from .runs import NO_LAYER, Runs
from .table import WAYS, Table

GROUP = 8
LARGEST = 2**58
"""The largest sum of a field: a few of them added still fit into 64 bits."""
MOST_LAYERS = 60
"""The bits of a mask, with a spare bit at either end."""


@dataclass(frozen=True)
class Group:
    """Consecutive layers: their first bit, their number, and their pieces and runs by `codes`."""

    first: int
    size: int
    piece: Piece
    runs: Runs

    def codes(self, masks: Ints) -> Ints:
        """The bits of the group, with the bit before it (the lowest) and the bit after it."""
        return ((masks << 1) >> self.first) & ((1 << (self.size + 2)) - 1)


@dataclass(frozen=True)
class Grouped:
    """A table by groups of layers; `head` are the layers before the first that can be windowed or global."""

    constants: Constants
    groups: tuple[Group, ...]
    head: Runs

    @classmethod
    def of(cls, table: Table, name: str) -> Grouped:
        """The groups of a table; `name` is the encoder's, for errors.

        Raises:
            UsageError: for more layers than a mask has bits, and for figures that do not fit into 64 bits.
        """
        layers = table.layers
        if len(layers) > MOST_LAYERS:
            raise UsageError(
                "too-many-layers",
                f"a search that looks at each placement takes at most {MOST_LAYERS} layers that can be windowed or global, "
                f"and {name} has {len(layers)}; a cost that adds up over layers, such as flops, has no such limit",
            )
        _check_size(name, table.pieces)
        runs = [
            _runs_of(own, after, table.flow.mixing) for own, after in pairwise((*layers, table.flow.depth))
        ]
        head = [Runs.of(int(layer in table.flow.mixing)) for layer in range(layers[0])]
        return cls(table.constants, tuple(_groups(table.pieces, runs)), reduce(Runs.then, head, NO_LAYER))

    def figures(self, masks: Ints, names: Collection[str]) -> dict[str, Ints]:
        """Figures of whole passes (see `NEEDED`) for each placement."""
        needed = frozenset[str]().union(*(NEEDED[name] for name in names))
        whole = reduce(Piece.then, (_piece_of(group, masks, needed) for group in self.groups))
        shape = masks.shape
        return {name: np.broadcast_to(self.constants.figure(name, whole), shape) for name in names}

    def runs(self, masks: Ints) -> Runs:
        """The runs of layers without a global one in each placement."""
        return reduce(Runs.then, (_runs_in(group, masks) for group in self.groups), self.head)


def _check_size(name: str, pieces: Sequence[Sequence[Piece]]) -> None:
    for field in SUMS:
        if sum(max(abs(getattr(piece, field)) for piece in ways) for ways in pieces) > LARGEST:
            raise UsageError(
                "number-too-large",
                f"{name}: a search cannot handle numbers above 64 bits; use a smaller image",
            )


def _runs_of(own: int, following: int, mixing: Collection[int]) -> tuple[Runs, Runs]:
    """The runs of a layer when it is windowed, and when it is global, with the layers before the `following` movable one."""
    rest = [Runs.of(int(layer in mixing)) for layer in range(own + 1, following)]
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
    """The pieces of a layer as arrays over codes; a field that is the same in all combinations stays a number."""
    arrays = {}
    for field in fields(Piece):
        values = [getattr(piece, field.name) for piece in pieces]
        arrays[field.name] = values[0] if len(set(values)) == 1 else np.array(values, np.int64)[ways]
    return Piece(**arrays)


def _by_own(runs: tuple[Runs, Runs], own: Ints) -> Runs:
    windowed, as_global = runs
    return Runs(
        windowed.length,
        *(
            np.array([getattr(windowed, name), getattr(as_global, name)], np.int64)[own]
            for name in ("before", "after", "longest")
        ),
    )


def _piece_of(group: Group, masks: Ints, needed: frozenset[str]) -> Piece:
    codes = group.codes(masks)
    fields_ = {name: getattr(group.piece, name) for name in needed}
    return Piece(
        **{name: each[codes] if isinstance(each, np.ndarray) else each for name, each in fields_.items()}
    )


def _runs_in(group: Group, masks: Ints) -> Runs:
    codes, runs = group.codes(masks), group.runs
    return Runs(runs.length, runs.before[codes], runs.after[codes], runs.longest[codes])
