"""Match the layers of two encoders: by position, or by similarity if layers were added or removed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from typing import Any

from ..encoder.placement import EVERYWHERE
from ..encoder.plan import LayerConfig, PartConfig
from ..records import replace

Piece = PartConfig | LayerConfig
Matched = tuple[Piece | None, Piece | None]
"""The earlier and the later one; None for an added or removed one."""


def _cost(layer: LayerConfig) -> LayerConfig:
    """Everything that determines a layer's cost; the stage's depth and the windows of its other layers do not."""
    stage = replace(layer.stage, depth=1, shift_size=None, **EVERYWHERE.keys)
    return replace(layer, index=0, stage_index=0, stage=stage)


LIKENESSES: tuple[Callable[[LayerConfig], Any], ...] = (
    _cost,
    lambda layer: (layer.stage_index, layer.placement.kind),
)
"""Layers are similar if they cost the same; failing that, if they have the same stage and kind of placement."""


def pairs(before: Sequence[Piece], after: Sequence[Piece]) -> list[Matched]:
    """Match parts by name, and layers in order (by similarity if their number changed); in the order in which they run."""
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
