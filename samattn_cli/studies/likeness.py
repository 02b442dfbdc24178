"""Which layer of an encoder is which of another: by name, or by likeness where layers were added or removed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import Any

from ..encoder.placement import EVERYWHERE
from ..encoder.plan import LayerConfig, PartConfig

Piece = PartConfig | LayerConfig
Matched = tuple[Piece | None, Piece | None]
"""The earlier and the later one; None where there is none."""


def _cost(layer: LayerConfig) -> LayerConfig:
    """All that a layer's cost follows from: not how many others its stage has, nor what window these have."""
    kind = layer.kind
    return replace(kind, stage=replace(kind.stage, depth=1, shift_size=None, **EVERYWHERE.keys))


LIKENESSES: tuple[Callable[[LayerConfig], Any], ...] = (
    _cost,
    lambda layer: (layer.stage_index, layer.is_global),
)
"""What makes layers alike: that they cost the same; failing that, their stage and whether they are global."""


def pairs(before: Sequence[Piece], after: Sequence[Piece]) -> list[Matched]:
    """Parts by their names; layers in order, by likeness where their number changed; in the order in which they run."""
    earlier, later = _layers(before), _layers(after)
    layers = list(_aligned(earlier, later, LIKENESSES))
    parts = {piece.name: piece for piece in before if isinstance(piece, PartConfig)}
    names = {piece.name for piece in after}
    ordered: list[Matched] = [(part, None) for part in parts.values() if part.name not in names]
    rest = iter(layers)
    for piece in after:
        if isinstance(piece, PartConfig):
            ordered.append((parts.get(piece.name), piece))
            continue
        for pair in rest:
            ordered.append(pair)
            if pair[1] is not None:
                break
    return [*ordered, *rest]


def _layers(plan: Sequence[Piece]) -> list[LayerConfig]:
    return [piece for piece in plan if isinstance(piece, LayerConfig)]


def _aligned(
    before: Sequence[LayerConfig],
    after: Sequence[LayerConfig],
    likenesses: Sequence[Callable[[LayerConfig], Any]],
) -> Iterator[Matched]:
    if len(before) == len(after) or not before or not after or not likenesses:
        yield from zip_longest(before, after)
        return
    from difflib import SequenceMatcher

    likeness, *coarser = likenesses
    matcher = SequenceMatcher(None, [*map(likeness, before)], [*map(likeness, after)], autojunk=False)
    for _, start, end, new_start, new_end in matcher.get_opcodes():
        yield from _aligned(before[start:end], after[new_start:new_end], coarser)
