"""A table of what each layer adds to the cost of a placement, filled by eight real passes, for many placements at once.

The cost and memory of a layer depend on whether it is global and, for memory, on its neighbours: whether the layer before
keeps the layer's input, and how the gradient from the layer after is laid out. So the table has a piece for each layer
and each of the eight combinations of the layer and its two neighbours. The cyclic sequence 00010111 contains each
combination once (it is a de Bruijn sequence), so its eight rotations, laid along the layers, show each layer in each
combination. Parts between two movable layers (transitions, layers without a window) are added to the first of them.

A placement is a bitmask: bit i is the i-th layer that can be windowed or global. Layers form groups, whose tables are
indexed by the bits of the group and of its two neighbours, so each placement takes a few look-ups.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import reduce
from itertools import combinations, pairwise

import numpy as np

from ...device.model import Device
from ...encoder.model import EncoderConfig
from ...encoder.placed import placed
from ...encoder.plan_rules import problems_of_plan
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
"""The largest sum of a field: a few of them added still fit into 64 bits."""
FEW_LAYERS = 4
"""Layers so few that all their placements may be passed over, 16."""
MOST_LAYERS = 60
"""The bits of a mask, with a spare bit at either end."""
MOST_UNREAD = 2
"""A combination shows the neck, which drops what these blocks keep, the last of the layers and the one before it."""


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
class Table:
    """The cost of every placement of an encoder's global layers.

    Attributes:
        layers: the layers that can be windowed or global, in the order of the bits of a mask.
        constants: the numbers that are the same for every placement.
        pieces: for each of those layers, by combination: (the one before is global) + 2 * (it is) + 4 * (the one after).
        groups: the same for groups of layers.
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
        whole = reduce(Piece.then, (_piece_of(group, masks, needed) for group in self.groups))
        shape = masks.shape
        return {name: np.broadcast_to(self.constants.figure(name, whole), shape) for name in names}

    def figures_of(self, mask: int, names: Collection[str]) -> dict[str, int]:
        """Figures of one placement."""
        return {name: int(each[0]) for name, each in self.figures(np.array([mask], np.int64), names).items()}

    def mask(self, chosen: Collection[int]) -> int:
        """The placement with these layers global."""
        return sum(1 << bit for bit, layer in enumerate(self.layers) if layer in chosen)

    def chosen(self, mask: int) -> tuple[int, ...]:
        """The layers that are global in a placement."""
        return tuple(layer for bit, layer in enumerate(self.layers) if mask >> bit & 1)

    def runs(self, masks: Ints) -> Runs:
        """The runs of layers without a global one in each placement."""
        return reduce(Runs.then, (_runs_in(group, masks) for group in self.groups), self.head)

    def least(self, name: str, number: int) -> int:
        """A lower bound of a figure over all placements with this number of global layers; 0 if it is not a sum."""
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
    """Fill the table of an encoder.

    Args:
        config: the encoder.
        layers: the layers that can be windowed or global.
        mixing: the layers that are global in every placement.
        device: the device, if times are needed.
        training: whether the peak of a training step is needed too.

    Raises:
        UsageError: for more layers than a mask has bits, and for figures that do not fit into 64 bits.
    """
    if len(layers) > MOST_LAYERS:
        raise UsageError(
            "too-many-layers",
            f"a search takes at most {MOST_LAYERS} layers that can be windowed or global, and {config.name} has "
            f"{len(layers)}",
        )
    unread = [layer for layer in layers if f"blocks.{layer}" in config.unread]
    if training and len(unread) > MOST_UNREAD:
        raise UsageError(
            "not-derived-yet",
            f"a search by training_bytes is derived for at most {MOST_UNREAD} blocks whose outputs nothing reads, and "
            f"{config.name} has {len(unread)}: remove them (depth), or search by other figures",
        )
    learnt: list[dict[int, Piece]] = [{} for _ in layers]
    for chosen in _shown(config, layers):
        passes = Passes(_allowed(placed(config, chosen)), device)
        for at, piece in enumerate(_joined(passes, layers, training=training)):
            learnt[at][_way(at, layers, chosen)] = piece
    # a combination with a neighbour beyond the ends, or only of placements that are refused, is never looked up
    pieces = tuple(
        tuple(
            ways[next(known for known in (way, way & 6, way & 3, way & 2, *ways) if known in ways)]
            for way in range(WAYS)
        )
        for ways in learnt
    )
    _check_size(config, pieces)
    runs = [_runs_of(own, after, mixing) for own, after in pairwise((*layers, len(config.layers)))]
    head = [Runs.of(int(layer in mixing)) for layer in range(layers[0])]
    # all passes have the same constants; these are of the last one
    constants = constants_of(passes, training=training)
    return Table(
        tuple(layers), constants, pieces, tuple(_groups(pieces, runs)), reduce(Runs.then, head, NO_LAYER)
    )


def _shown(config: EncoderConfig, layers: Sequence[int]) -> list[list[int]]:
    """The placements from whose passes a table is learnt: together they show each layer in each combination.

    Rotations of a cycle do. Of few layers a rotation may be refused, as one without a global layer is by a neck that reads such a
    layer; then all placements that are not refused are taken.
    """
    rotations = [_laid(layers, rotation) for rotation in range(WAYS)]
    if len(layers) > FEW_LAYERS or all(_is_allowed(config, chosen) for chosen in rotations):
        return rotations
    numbers = range(len(layers) + 1)
    every = [list(chosen) for number in numbers for chosen in combinations(layers, number)]
    return [chosen for chosen in every if _is_allowed(config, chosen)] or rotations


def _is_allowed(config: EncoderConfig, chosen: Sequence[int]) -> bool:
    return next(iter(problems_of_plan(placed(config, chosen))), None) is None


def _allowed(config: EncoderConfig) -> EncoderConfig:
    """The encoder, whose placement is one of those that the table is made of.

    Raises:
        UsageError: if the rules of its families refuse it.
    """
    for _, problem in problems_of_plan(config):
        raise UsageError(problem)
    return config


def _laid(layers: Sequence[int], rotation: int) -> list[int]:
    return [layer for at, layer in enumerate(layers) if CYCLE[(at + rotation) % WAYS]]


def _way(at: int, layers: Sequence[int], chosen: Collection[int]) -> int:
    """The combination in which a placement shows a layer; a missing neighbour counts as a windowed one."""
    around = (layers[place] if 0 <= place < len(layers) else None for place in (at - 1, at, at + 1))
    before, own, after = (layer in chosen for layer in around)
    return before + 2 * own + 4 * after


def _joined(passes: Passes, layers: Sequence[int], *, training: bool) -> Iterator[Piece]:
    """The piece of each layer with the parts after it; that of the first also with the parts before it."""
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
            raise UsageError(
                "number-too-large",
                f"{config.name}: a search cannot handle numbers above 64 bits; use a smaller image",
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
