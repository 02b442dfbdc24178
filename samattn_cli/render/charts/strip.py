"""Placements as strips: a row for each placement, its layers as cells, its costs next to them.

A global layer's cell is of a strong colour; a windowed layer's is shaded by the share of the image that one of its
output tokens has seen by then. compare-placements makes a `Picture` and returns `spec(picture)` as its chart::

    Picture(
        title="sam_vit_b, where the global layers are",
        subtitle="1024x1024, batch 1, float32, eager attention",
        placements=(
            Placement("even:4", cells=(Cell("window", 0.05), ..., Cell("global", 1.0)), costs=(971_000_000_000, 5_000_000)),
        ),
        costs=(Cost("FLOPs", "FLOP"), Cost("inference peak", "B")),
    )

A placement has a figure for each of `costs`; cells may differ in number from row to row. `note` is shown by the
pointer next to the placement's name: what it is, who published it. `own` marks the config's own placement.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from ...encoder.placement import Kind
from ...units import format_percent
from . import scales
from .scales import Unit
from .theme import CONTRAST, GLOBAL, WINDOWED, Spec, picture

ROW, GAP = 30, 3  # pixels
STRIP, BARS = 620, 150
"""Width in pixels of the layers, and of the bars of a cost."""
WIDEST_CELL, ROOM = 36, 26
"""Width in pixels of a cell at most, and from which it has room for a figure."""
INSET = 0.04
"""Share of a cell's width that is left free on either side."""
MOST_NUMBERS = 24
BARS_AND_TEXT = 1.9
"""Width of a bar's panel over that of the longest bar, for the figure next to it."""
LEGEND = {"orient": "bottom", "titleLimit": 400, "gradientLength": 180}
DARK = 0.45
"""Share from which a cell's shade needs white letters."""
UNSEEN = "#d3e2ec"
"""The colour of a windowed layer that sees almost nothing; of one that sees everything it is WINDOWED."""


@dataclass(frozen=True)
class Cell:
    """A layer: how it attends, and the share of the image that its output tokens have seen (1: the whole)."""

    attention: Kind
    seen: float
    note: str = ""


@dataclass(frozen=True)
class Cost:
    """What bars show: a name and the unit of its figures."""

    name: str
    unit: Unit


@dataclass(frozen=True)
class Placement:
    """A row: its name, its layers, and its figures, one for each cost; None where it has none."""

    name: str
    cells: tuple[Cell, ...]
    costs: tuple[float | None, ...]
    own: bool = False
    note: str = ""


@dataclass(frozen=True)
class Picture:
    """What to draw, rows from top to bottom."""

    title: str
    subtitle: str
    placements: tuple[Placement, ...]
    costs: tuple[Cost, ...]
    stages: tuple[int, ...] = ()
    """Layers of each stage of a hierarchical encoder; a line is drawn between stages."""


def spec(picture_: Picture) -> Spec:
    """The Vega-Lite spec: the strips, then the bars of each cost."""
    costs = [_bars(picture_, number) for number in range(len(picture_.costs))]
    body = {
        "hconcat": [_strips(picture_), *costs],
        "spacing": 24,
        "usermeta": {"hint": "Hover over a layer for what it sees, over a bar for its figure."},
    }
    return picture(picture_.title, picture_.subtitle, STRIP + len(costs) * (BARS + 24), body)


def _depth(picture_: Picture) -> int:
    return max(len(placement.cells) for placement in picture_.placements)


def _height(picture_: Picture) -> int:
    return ROW * len(picture_.placements)


def _y(picture_: Picture, *, named: bool) -> Spec:
    """A band for each row, by number, as two placements may have one name. The config's own is in bold."""
    numbers = list(range(len(picture_.placements)))
    names = json.dumps([placement.name for placement in picture_.placements])
    own = json.dumps([placement.own for placement in picture_.placements])
    weight = {"condition": {"test": f"{own}[datum.value]", "value": "bold"}, "value": "normal"}
    words = {
        "labelExpr": f"{names}[datum.value]",
        "labelLimit": 300,
        "labelFontSize": 12,
        "labelFontWeight": weight,
    }
    return {
        "field": "row",
        "type": "ordinal",
        "title": None,
        "scale": {"domain": numbers, "paddingInner": GAP / ROW, "paddingOuter": 0},
        "axis": words if named else None,
    }


def _strips(picture_: Picture) -> Spec:
    depth = _depth(picture_)
    cells = [
        cell for number, placement in enumerate(picture_.placements) for cell in _cells(number, placement)
    ]
    x = {"field": "from", "type": "quantitative", "scale": {"domain": [0, depth], "nice": False}}
    return {
        "width": min(STRIP, WIDEST_CELL * depth),
        "height": _height(picture_),
        "data": {"values": cells},
        "encoding": {
            "x": {**x, "axis": _layer_axis(depth)},
            "y": _y(picture_, named=True),
            "tooltip": [{"field": name} for name in ("placement", "layer", "attention", "seen", "note")],
        },
        "layer": list(_strip_layers(picture_, depth)),
        "resolve": {"scale": {"color": "independent"}},
    }


def _cells(number: int, placement: Placement) -> Iterator[dict[str, Any]]:
    for layer, cell in enumerate(placement.cells):
        yield {
            "row": number,
            "placement": placement.name,
            "layer": layer,
            "attention": cell.attention,
            "from": layer + INSET,
            "to": layer + 1 - INSET,
            "middle": layer + 0.5,
            "share": cell.seen,
            "seen": format_percent(cell.seen),
            "note": cell.note or placement.note,
        }


def _layer_axis(depth: int) -> Spec:
    """A number below every layer, or every second, fourth, ..."""
    step = next(step for step in (1, 2, 4, 8, 16, depth) if depth / step <= MOST_NUMBERS)
    middles = [layer + 0.5 for layer in range(0, depth, step)]
    return {"values": middles, "labelExpr": "floor(datum.value)", "grid": False, "title": "layer"}


def _strip_layers(picture_: Picture, depth: int) -> Iterator[Spec]:
    """Windowed cells by what they have seen, global ones, figures where there is room, and lines between stages."""
    bar = {"mark": {"type": "rect", "aria": False}}
    legend = {**LEGEND, "title": "share of the image seen, windowed layer", "format": ".0%"}
    windowed = {"field": "share", "type": "quantitative", "legend": legend}
    shades = {"domain": [0, 1], "range": [UNSEEN, WINDOWED]}
    yield {
        **bar,
        "transform": [{"filter": "datum.attention != 'global'"}],
        "encoding": {"x2": {"field": "to"}, "color": {**windowed, "scale": shades}},
    }
    words = {**LEGEND, "title": None, "labelExpr": "datum.label + ' layer'"}
    strong = {"scale": {"domain": ["global"], "range": [GLOBAL]}, "legend": words}
    yield {
        **bar,
        "transform": [{"filter": "datum.attention == 'global'"}],
        "encoding": {"x2": {"field": "to"}, "color": {"field": "attention", "type": "nominal", **strong}},
    }
    if min(STRIP / depth, WIDEST_CELL) >= ROOM:
        yield _figures()
    if picture_.stages:
        yield _boundaries(picture_.stages)


def _figures() -> Spec:
    light = {
        "condition": {"test": f"datum.attention == 'global' || datum.share > {DARK}", "value": "#ffffff"}
    }
    return {
        "mark": {"type": "text", "fontSize": 9, "aria": False},
        "transform": [{"filter": "datum.attention != 'global'"}],
        "encoding": {
            "x": {"field": "middle", "type": "quantitative"},
            "text": {"field": "share", "type": "quantitative", "format": ".2~p"},
            "color": {**light, "value": "#222222"},
        },
    }


def _boundaries(stages: Sequence[int]) -> Spec:
    ends = list(accumulate(stages))[:-1]
    return {
        "data": {"values": [{"end": end} for end in ends]},
        "mark": {"type": "rule", "color": CONTRAST, "strokeWidth": 2},
        "encoding": {
            "x": {"field": "end", "type": "quantitative"},
            "y": {"value": 0},
            "y2": {"value": "height"},
            "tooltip": {"value": None},
        },
    }


def _bars(picture_: Picture, number: int) -> Spec:
    cost, figures = picture_.costs[number], [placement.costs[number] for placement in picture_.placements]
    rows = [_bar(row, figure, picture_) | _shown(figure, cost.unit) for row, figure in enumerate(figures)]
    largest = max((figure for figure in figures if figure is not None), default=0) or 1
    scale = {"domain": [0, float(largest) * BARS_AND_TEXT], "nice": False, "zero": True}
    return {
        "title": {"text": cost.name, "anchor": "start", "fontSize": 12, "fontWeight": "normal", "offset": 8},
        "width": BARS,
        "height": _height(picture_),
        "data": {"values": rows},
        "encoding": {
            "x": {"field": "figure", "type": "quantitative", "scale": scale, "axis": None},
            "y": _y(picture_, named=False),
            "tooltip": [{"field": "placement"}, {"field": "exact", "title": cost.name}],
        },
        "layer": [
            {"mark": {"type": "bar", "color": CONTRAST, "opacity": 0.55, "aria": False}},
            {
                "mark": {"type": "text", "align": "left", "dx": 5, "aria": False},
                "encoding": {"text": {"field": "short"}},
            },
        ],
    }


def _bar(row: int, figure: float | None, picture_: Picture) -> dict[str, Any]:
    return {
        "row": row,
        "placement": picture_.placements[row].name,
        "figure": 0 if figure is None else scales.number(figure),
    }


def _shown(figure: float | None, unit: Unit) -> dict[str, str]:
    if figure is None:
        return {"short": "-", "exact": "-"}
    return {"short": scales.short(figure, unit), "exact": scales.exact(figure, unit)}
