"""Padding cliffs: resolutions at which the padded grid jumps, their cost, and the nearest resolutions without padding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from ..encoder.model import EncoderConfig
from ..encoder.plan import LayerConfig
from ..encoder.without_padding import nearest_without_padding
from ..records import replace
from ..reports.sweep import Axis, Cliff, Line, in_words
from .passes import Passes
from .points import AXES, SIDES, at
from .sweep_lines import COUNTED

MOST_CLIFFS = 12
NO_MATTER = (*COUNTED, "dtype", "attention", "mode")
"""Axes that a cliff names in other fields, or that do not change padding."""

Columns = Mapping[str, Any]


def with_jumps(lines: Sequence[Line], columns: Columns, along: str) -> tuple[Line, ...]:
    """The lines, with the positions at which their padding jumps."""
    return tuple(replace(line, jumps=_jumps(along, columns, line)) for line in lines)


def cliffs_of(
    columns: Columns, axes: Sequence[Axis], lines: Sequence[Line], encoders: Sequence[EncoderConfig]
) -> tuple[tuple[Cliff, ...], int]:
    """The first cliffs of some lines and the last one, and how many there are; equal cliffs count once."""
    rows: dict[tuple[Any, ...], int] = {}
    for line in lines:
        for row in (line.first + place * line.stride for place in line.jumps):
            place = [columns[name][row] for name in (*SIDES, "window") if name in columns]
            rows.setdefault((_name(axes, row), float(columns["padding"][row]), *map(int, place)), row)
    chosen = list(rows.items())
    chosen = chosen if len(chosen) <= MOST_CLIFFS else [*chosen[: MOST_CLIFFS - 1], chosen[-1]]
    each = len(columns["height"]) // len(encoders)
    made = (_cliff(encoders[row // each], columns, row, str(key[0])) for key, row in chosen)
    return tuple(made), len(rows)


def _name(axes: Sequence[Axis], row: int) -> str:
    """A name for the encoder of a row, by the axes in which it differs from others; how it is run is left out."""
    words = []
    for axis in reversed(axes):
        row, place = divmod(row, len(axis.values))
        if len(axis.values) > 1 and axis.name not in NO_MATTER and not axis.name.startswith("run."):
            words.append(in_words(axis.name, axis.values[place]))
    return ", ".join(reversed(words))


def _jumps(along: str, columns: Columns, line: Line) -> tuple[int, ...]:
    """The positions on a line at which padding jumps: points with more padding than the one before, if there is one."""
    rows = np.arange(line.count) * line.stride + line.first
    padded, share = columns["padded_tokens"][rows], columns["padding"][rows]
    jumps = share > 0
    if along == "resolution":
        jumps[1:] &= np.diff(padded) > 0
    elif along == "batch_size":
        jumps[1:] = False
    return tuple(map(int, np.flatnonzero(jumps)))


def _cliff(config: EncoderConfig, columns: Columns, row: int, label: str) -> Cliff:
    placed = at(config, {name: int(columns[name][row]) for name in AXES if name in columns})
    layer = next(layer for layer in placed.layers if layer.padded_grid != layer.grid)
    below, above = nearest_without_padding(placed)
    return Cliff(
        point=row,
        label=label,
        resolution=placed.image_size,
        window_size=layer.windows.size,
        grid=layer.grid,
        padded_grid=layer.padded_grid,
        padding=float(columns["padding"][row]),
        flops_share=flops_on_padding(placed),
        below=below,
        above=above,
    )


def flops_on_padding(config: EncoderConfig) -> float:
    """The share of an encoder's FLOPs that windowed attention spends on padding.

    Projections and score products cost the same for each token in a window, so the share of a layer's attention that is
    spent on padding is the share of padding among its tokens.
    """
    passed = Passes(config).forward
    spent = sum(
        _share(segment.layer) * sum(op.flops for op in segment.recording.ops if op.module.startswith("attn"))
        for segment in passed.segments
        if segment.layer is not None
    )
    return float(spent / passed.flops)


def _share(layer: LayerConfig) -> float:
    """The share of padding among the tokens that windows cover."""
    return 1 - prod(layer.grid) / prod(layer.padded_grid)
