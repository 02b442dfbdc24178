"""The receptive fields of an encoder's tokens after each layer: exact, and computed without running it.

Windows (shifted or not), pooling and convolutions treat the axes of a grid independently, and combine adjacent rows. So
the receptive field of a token is a rectangle (or a box) of the first grid: for each axis, a range of its rows for each row
of the present grid. Tokens next to the grid (class tokens) take part in global layers only, after which
every token sees everything anyway.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import pairwise
from math import prod

from ..encoder.model import EncoderConfig
from ..encoder.plan import LayerConfig, PartConfig
from ..encoder.registry import BLOCKS, TRANSITIONS
from ..encoder.slots import Sliding
from ..errors import UsageError
from ..records import dataclass
from ..reports.flow import Flow, FlowFacts, LayerFlow

Axis = tuple[range, ...]
"""Along one axis: the range of rows of the first grid that each row of a grid sees."""


Fields = tuple[Axis, ...]
"""Receptive fields, by axis: token (i, j) sees the rows of `fields[0][i]` and the columns of `fields[1][j]`."""


def flow_of(config: EncoderConfig) -> Flow:
    """How information flows through an encoder.

    Raises:
        UsageError: for an encoder whose receptive fields are not rectangles.
    """
    first_grid = config.layers[0].grid
    layers = tuple(_layer_flow(layer, fields, prod(first_grid)) for layer, fields in fields_of(config))
    mixing = [layer.index for layer in layers if layer.mixes_all]
    full = next((layer.index for layer in layers if layer.sees_all), None)
    facts = _facts(len(layers), mixing, full)
    return Flow(first_grid=first_grid, layers=layers, **vars(facts))


@dataclass(frozen=True)
class WindowedFlow:
    """The starting point of every placement: the flow of the encoder with all layers windowed that can be.

    Attributes:
        depth: the number of layers.
        mixing: layers that are global anyway: without a window, or with one that covers the grid.
        first_full_context: the first layer after which every token sees everything; None: there is none.
    """

    depth: int
    mixing: frozenset[int]
    first_full_context: int | None

    def facts(self, placed: Collection[int]) -> FlowFacts:
        """The flow with the layers `placed` made global, in time independent of the grid.

        Where a layer attends does not depend on other layers. After a global layer every token sees everything, and keeps
        doing so; before the first global layer nothing changes.
        """
        full = min((*placed, *_numbers(self.first_full_context)), default=None)
        return _facts(self.depth, self.mixing.union(placed), full)


def windowed_flow(config: EncoderConfig) -> WindowedFlow:
    """The flow of an encoder with all layers windowed that can be."""
    flow = flow_of(config.all_windowed())
    mixing = frozenset(layer.index for layer in flow.layers if layer.mixes_all)
    return WindowedFlow(len(flow.layers), mixing, flow.first_full_context)


def _numbers(index: int | None) -> tuple[int, ...]:
    return () if index is None else (index,)


def _facts(depth: int, mixing: Collection[int], full: int | None) -> FlowFacts:
    """The facts of `depth` layers, of which `mixing` are global, where everything is seen after layer `full`."""
    ends = (-1, *sorted(mixing), depth)
    return FlowFacts(
        first_full_context=full,
        longest_without_global=max(after - before - 1 for before, after in pairwise(ends)),
        global_share=0.0 if full is None else (depth - full) / depth,
        refined_after_last_global=depth - 1 - max(mixing) if mixing else None,
    )


def fields_of(config: EncoderConfig) -> Iterator[tuple[LayerConfig, Fields]]:
    """Each layer, with the receptive fields of the tokens that leave it.

    Raises:
        UsageError: for an encoder whose receptive fields are not rectangles.
    """
    seen = tuple(map(_themselves, config.layers[0].grid))
    for before, part in pairwise(config.plan):
        if isinstance(part, LayerConfig):
            if isinstance(before, PartConfig) and before.slot == "transitions":
                seen = _after_transition(before, part, seen)
            seen = _after_layer(part, seen)
            yield part, seen


def _themselves(length: int) -> Axis:
    return tuple(range(place, place + 1) for place in range(length))


def _union(seen: Axis) -> range:
    """The union of the ranges of adjacent rows, which are adjacent or overlap."""
    return range(min(each.start for each in seen), max(each.stop for each in seen))


def _after_transition(part: PartConfig, first: LayerConfig, seen: Fields) -> Fields:
    """The receptive fields after a transition; `first` is the block after it."""
    slides = TRANSITIONS[part.word].slides
    if slides is not None:
        return _slid_by_axis(seen, slides)
    if not _mixes_all(first):
        raise UsageError(
            "no-receptive-fields",
            f"transition {part.word} does not declare which tokens it mixes, so receptive fields after it are unknown",
        )
    # The next block mixes all tokens, so the order in which the transition puts them makes no difference.
    return tuple((_union(axis),) * side for axis, side in zip(seen, part.leaving.grid, strict=True))


def _after_layer(layer: LayerConfig, seen: Fields) -> Fields:
    block = BLOCKS[layer.stage.block]
    if reason := block.mixes_else(layer):
        raise UsageError(
            "no-receptive-fields",
            f"the receptive fields of {layer.name} are not the same for every image: {reason}",
        )
    if block.pools:
        return tuple((_union(axis),) * len(axis) for axis in seen)
    residual = block.residual if layer.has_residual_block else ()
    slides = (Sliding(layer.q_stride, layer.q_stride), *block.after, *residual)
    if layer.placement.attends:
        reach = layer.placement.reach_over(layer.grid)
        seen = tuple(map(_mixed, _slid_by_axis(seen, block.before), _windows(layer), reach))
    return _slid_by_axis(seen, slides)


Windows = list[tuple[int, bool]]
"""Along one axis: the window of each row, and whether the shift wrapped it around. Rows equal in both are mixed."""


def _windows(layer: LayerConfig) -> tuple[Windows, ...]:
    """The windows along each axis of the grid; a layer that is global, or attends over channels, is one window."""
    sides = zip(layer.grid, layer.shift_size, layer.windows, strict=True)
    return tuple(_along(whole, along.side, along.covered, shift) for whole, shift, along in sides)


def _along(length: int, side: int, padded: int, shift: int) -> Windows:
    """Padding comes after the grid and is rolled with it; the mask separates rows that wrapped around from the others.

    Source: microsoft/Swin-Transformer, models/swin_transformer.py (attn_mask).
    """
    places = [(row - shift) % padded for row in range(length)]
    return [(place // side, place >= padded - shift) for place in places]


def _mixed(seen: Axis, windows: Windows, reach: int = 0) -> Axis:
    """Each row sees what all rows of its window saw, and those that its keys reach beyond it, half of them on each side."""
    if reach:
        return _reaching(seen, windows, reach // 2)
    members: dict[tuple[int, bool], list[range]] = {}
    for window, each in zip(windows, seen, strict=True):
        members.setdefault(window, []).append(each)
    together = {window: _union(tuple(ranges)) for window, ranges in members.items()}
    return tuple(together[window] for window in windows)


def _reaching(seen: Axis, windows: Windows, beyond: int) -> Axis:
    """`_mixed` for windows that are not shifted, whose keys are in larger windows."""
    ends: dict[tuple[int, bool], range] = {}
    for row, window in enumerate(windows):
        first = ends[window].start if window in ends else max(row - beyond, 0)
        ends[window] = range(first, row + beyond + 1)
    together = {window: _union(seen[rows.start : rows.stop]) for window, rows in ends.items()}
    return tuple(together[window] for window in windows)


def _slid_by_axis(seen: Fields, slides: tuple[Sliding, ...]) -> Fields:
    for sliding in slides:
        seen = tuple(map(_slid, seen, sliding.by_axis(len(seen))))
    return seen


def _slid(seen: Axis, by: Sliding) -> Axis:
    starts = range(-by.before, len(seen) - by.before, by.stride)
    return tuple(_union(seen[max(start, 0) : start + by.kernel]) for start in starts)


def _mixes_all(layer: LayerConfig) -> bool:
    return (
        not layer.over_channels
        and layer.placement.attends
        and all(len(set(windows)) == 1 for windows in _windows(layer))
    )


def _layer_flow(layer: LayerConfig, seen: Fields, tokens: int) -> LayerFlow:
    lengths = [[len(each) for each in axis] for axis in seen]
    smallest, largest, pairs, leaving = (prod(map(of, lengths)) for of in (min, max, sum, len))
    return LayerFlow(
        name=layer.name,
        index=layer.index,
        stage=layer.stage_index,
        attention=layer.placement.kind,
        mixes_all=_mixes_all(layer),
        grid=tuple(map(len, lengths)),
        smallest=smallest,
        mean=pairs / leaving,
        largest=largest,
        smallest_share=smallest / tokens,
        mean_share=pairs / (leaving * tokens),
        largest_share=largest / tokens,
        extent=tuple(map(max, lengths)),
        sees_all=smallest == tokens,
    )
