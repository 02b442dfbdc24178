"""A table of what each layer adds to the cost of a placement, filled by eight real passes.

The cost and memory of a layer depend on whether it is global and, for memory, on its neighbours: whether the layer before
keeps the layer's input, and how the gradient from the layer after is laid out. So the table has a piece for each layer
and each of the eight combinations of the layer and its two neighbours. The cyclic sequence 00010111 contains each
combination once (it is a de Bruijn sequence), so its eight rotations, laid along the layers, show each layer in each
combination. Parts between two movable layers (transitions, layers without a window) are added to the first of them.

A placement is a bitmask: bit i is the i-th layer that can be windowed or global.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import combinations

from ...device.model import Device
from ...encoder.model import EncoderConfig
from ...encoder.placed import placed
from ...encoder.plan_rules import problems_of_plan
from ...errors import UsageError
from ...figures import names
from ..flow import WindowedFlow
from ..passes import Passes
from .pieces import ADDED, Constants, Piece, constants_of, pieces_of

CYCLE = (0, 0, 0, 1, 0, 1, 1, 1)
WAYS = len(CYCLE)
FEW_LAYERS = 4
"""Layers so few that all their placements may be passed over, 16."""
MOST_UNREAD = 2
"""A combination shows the neck, which drops what these blocks keep, the last of the layers and the one before it."""


@dataclass(frozen=True)
class Table:
    """The cost of every placement of an encoder's global layers.

    Attributes:
        layers: the layers that can be windowed or global, in the order of the bits of a mask.
        constants: the numbers that are the same for every placement.
        pieces: for each of those layers, by combination: (the one before is global) + 2 * (it is) + 4 * (the one after).
        flow: how information flows without any global layer that can be windowed.
    """

    layers: tuple[int, ...]
    constants: Constants
    pieces: tuple[tuple[Piece, ...], ...]
    flow: WindowedFlow

    def figures_of(self, mask: int, names: Collection[str]) -> dict[str, int]:
        """Figures of the whole pass (see `NEEDED`) of one placement."""
        ways = (mask << 1 >> at & WAYS - 1 for at in range(len(self.layers)))
        whole = reduce(Piece.then, (pieces[way] for pieces, way in zip(self.pieces, ways, strict=True)))
        return {name: int(self.constants.figure(name, whole)) for name in names}

    def mask(self, chosen: Collection[int]) -> int:
        """The placement with these layers global."""
        return sum(1 << bit for bit, layer in enumerate(self.layers) if layer in chosen)

    def chosen(self, mask: int) -> tuple[int, ...]:
        """The layers that are global in a placement."""
        return tuple(layer for bit, layer in enumerate(self.layers) if mask >> bit & 1)

    def least(self, name: str, number: int) -> int:
        """A lower bound of a figure over all placements with this number of global layers; 0 if it is not a sum."""
        return self._bound(name, number, 1) if name in SUMMED else 0

    def most(self, name: str, number: int) -> int | None:
        """An upper bound of a figure over all placements with this number of global layers; None if it is not a sum."""
        return self._bound(name, number, -1) if name in SUMMED else None

    def _bound(self, name: str, number: int, sign: int) -> int:
        """The bound from below (sign 1) or from above (-1): each layer at its best combination."""
        best = [
            [
                min(sign * getattr(ways[way], name) for way in range(WAYS) if way >> 1 & 1 == own)
                for own in (0, 1)
            ]
            for ways in self.pieces
        ]
        more = sorted(as_global - windowed for windowed, as_global in best)
        total = sum(windowed for windowed, _ in best) + sum(more[:number])
        return int(self.constants.figure(name, Piece(**{name: sign * total})))


SUMMED = frozenset({*names(ADDED), "latency_ps"})


def table_of(
    config: EncoderConfig,
    layers: Sequence[int],
    flow: WindowedFlow,
    *,
    device: Device | None = None,
    training: bool = False,
) -> Table:
    """Fill the table of an encoder.

    Args:
        config: the encoder.
        layers: the layers that can be windowed or global.
        flow: how information flows without any global layer that can be windowed.
        device: the device, if times are needed.
        training: whether the peak of a training step is needed too.

    Raises:
        UsageError: for blocks that nothing reads, if they are too many for the peak of a training step.
    """
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
    # all passes have the same constants; these are of the last one
    return Table(tuple(layers), constants_of(passes, training=training), pieces, flow)


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
