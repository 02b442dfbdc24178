"""What the tokens of an encoder see, layer by layer, on its windows as they lie: exact, and without running it.

Windows, shifted or not, what pools and what slides over the grid treat rows and columns apart, and take rows that lie
side by side. So what a token sees is a rectangle of the first grid: a range of rows for each row of the present grid, and
one of columns for each column. Tokens beside the grid (class tokens) are attended to by global layers alone, which let
every token see everything already.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import prod

from ..encoder.model import EncoderConfig
from ..encoder.plan import LayerConfig, PartConfig
from ..encoder.registry import BLOCKS, TRANSITIONS
from ..encoder.slots import Sliding
from ..errors import UsageError
from ..reports.flow import Flow, FlowFacts, LayerFlow

Axis = tuple[range, ...]
"""Along one axis: what each row of a grid sees, in rows of the first grid."""


@dataclass(frozen=True)
class Fields:
    """Receptive fields: token (i, j) sees the rows of `rows[i]` and the columns of `columns[j]` of the first grid."""

    rows: Axis
    columns: Axis


def flow_of(config: EncoderConfig) -> Flow:
    """How information flows through an encoder.

    Raises:
        UsageError: for an encoder whose tokens see what is no rectangle.
    """
    first_grid = config.layers[0].grid
    layers = tuple(_layer_flow(layer, fields, prod(first_grid)) for layer, fields in fields_of(config))
    mixing = [layer.index for layer in layers if layer.mixes_all]
    full = next((layer.index for layer in layers if layer.sees_all), None)
    facts = _facts(len(layers), mixing, full)
    return Flow(first_grid=first_grid, layers=layers, **vars(facts))


@dataclass(frozen=True)
class WindowedFlow:
    """What any placement of global layers starts from: the flow of the encoder with every layer windowed that can be.

    Attributes:
        depth: its layers.
        mixing: those that are global all the same: without a window, or with one that covers the grid.
        first_full_context: the first layer after which every token sees everything; None: there is none.
    """

    depth: int
    mixing: frozenset[int]
    first_full_context: int | None

    def facts(self, placed: Collection[int]) -> FlowFacts:
        """What it comes to where the layers `placed` are global too, in time that does not depend on the grid.

        Where a layer attends does not depend on others. Behind a global one every token sees everything, and from then on
        always; before the first of them all is as if there were none.
        """
        full = min((*placed, *_numbers(self.first_full_context)), default=None)
        return _facts(self.depth, self.mixing.union(placed), full)


def windowed_flow(config: EncoderConfig) -> WindowedFlow:
    """What the facts of any placement of global layers in an encoder are made of."""
    flow = flow_of(config.all_windowed())
    mixing = frozenset(layer.index for layer in flow.layers if layer.mixes_all)
    return WindowedFlow(len(flow.layers), mixing, flow.first_full_context)


def _numbers(index: int | None) -> tuple[int, ...]:
    return () if index is None else (index,)


def _facts(depth: int, mixing: Collection[int], full: int | None) -> FlowFacts:
    """The facts of `depth` layers of which some mix everything, and behind one of which everything is seen."""
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
        UsageError: for an encoder whose tokens see what is no rectangle.
    """
    height, width = config.layers[0].grid
    seen = Fields(_themselves(height), _themselves(width))
    for before, part in pairwise(config.plan):
        if isinstance(part, LayerConfig):
            if isinstance(before, PartConfig) and before.slot == "transitions":
                seen = _behind_transition(before, part, seen)
            seen = _behind_layer(part, seen)
            yield part, seen


def _themselves(length: int) -> Axis:
    return tuple(range(place, place + 1) for place in range(length))


def _union(seen: Axis) -> range:
    """Of what rows see that lie side by side: so does what they see, or it overlaps."""
    return range(min(each.start for each in seen), max(each.stop for each in seen))


def _behind_transition(part: PartConfig, first: LayerConfig, seen: Fields) -> Fields:
    """What tokens see behind a transition; `first` is the block that it leads into."""
    slides = TRANSITIONS[part.word].slides
    if slides is not None:
        return Fields(_slid(seen.rows, slides), _slid(seen.columns, slides))
    if not _mixes_all(first):
        raise UsageError(
            f"no receptive fields after transition {part.word}, which does not say what it mixes"
        )
    # Wherever they are put, the block behind it lets each see what all of them see.
    height, width = part.leaving.grid
    return Fields((_union(seen.rows),) * height, (_union(seen.columns),) * width)


def _behind_layer(layer: LayerConfig, seen: Fields) -> Fields:
    block = BLOCKS[layer.stage.block]
    if said := block.mixes_else(layer):
        raise UsageError(f"{layer.name} has no receptive fields that are the same for every image: {said}")
    slides = (Sliding(layer.q_stride, layer.q_stride), *(block.residual if layer.has_residual_block else ()))
    rows, columns = (
        _slid(_mixed(axis, windows), slides)
        for axis, windows in zip((seen.rows, seen.columns), _windows(layer), strict=True)
    )
    return Fields(rows, columns)


Windows = list[tuple[int, bool]]
"""Along one axis: the window of each row, and whether the shift rolled it round. Both alike: they are mixed."""


def _windows(layer: LayerConfig) -> tuple[Windows, Windows]:
    """Those down the grid and across it; a global layer is one window."""
    down, across = (
        _along(whole, side, side * often + rest, shift)
        for whole, shift, (side, often, rest) in zip(layer.grid, layer.shift_size, layer.windows, strict=True)
    )
    return down, across


def _along(length: int, side: int, padded: int, shift: int) -> Windows:
    """Padding lies behind the grid, and is rolled with it; the mask keeps apart what was rolled round and what was not.

    Source: microsoft/Swin-Transformer, models/swin_transformer.py (attn_mask).
    """
    places = [(row - shift) % padded for row in range(length)]
    return [(place // side, place >= padded - shift) for place in places]


def _mixed(seen: Axis, windows: Windows) -> Axis:
    """Each row sees what those of its window saw."""
    members: dict[tuple[int, bool], list[range]] = {}
    for window, each in zip(windows, seen, strict=True):
        members.setdefault(window, []).append(each)
    together = {window: _union(tuple(held)) for window, held in members.items()}
    return tuple(together[window] for window in windows)


def _slid(seen: Axis, slides: tuple[Sliding, ...]) -> Axis:
    for by in slides:
        starts = range(-by.before, len(seen) - by.before, by.stride)
        seen = tuple(_union(seen[max(start, 0) : start + by.kernel]) for start in starts)
    return seen


def _mixes_all(layer: LayerConfig) -> bool:
    return all(len(set(windows)) == 1 for windows in _windows(layer))


def _layer_flow(layer: LayerConfig, seen: Fields, tokens: int) -> LayerFlow:
    heights, widths = ([len(each) for each in axis] for axis in (seen.rows, seen.columns))
    smallest, largest = min(heights) * min(widths), max(heights) * max(widths)
    pairs, leaving = sum(heights) * sum(widths), len(heights) * len(widths)
    return LayerFlow(
        name=layer.name,
        index=layer.index,
        stage=layer.stage_index,
        attention="global" if layer.is_global else "window",
        mixes_all=_mixes_all(layer),
        grid=(len(heights), len(widths)),
        smallest=smallest,
        mean=pairs / leaving,
        largest=largest,
        smallest_share=smallest / tokens,
        mean_share=pairs / (leaving * tokens),
        largest_share=largest / tokens,
        extent=(max(heights), max(widths)),
        sees_all=smallest == tokens,
    )
