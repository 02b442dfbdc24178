"""An encoder's layers as bars: a panel for each cost, and another colour for global layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...encoder.placement import Kind
from . import scales
from .strip import Cost
from .theme import GLOBAL, WINDOWED, Spec, colors, picture

WIDTH, WIDEST, HEIGHT = 860, 44, 150
"""Width in pixels of a panel at most, of a bar with the space next to it, and a panel's height."""

OPACITY = {"condition": {"param": "pick", "value": 1}, "value": 0.15}


@dataclass(frozen=True)
class Bar:
    """A layer: its name, how it attends, and its figures, one for each cost."""

    name: str
    attention: Kind
    figures: tuple[float, ...]


@dataclass(frozen=True)
class Picture:
    """What to draw."""

    title: str
    subtitle: str
    costs: tuple[Cost, ...]
    bars: tuple[Bar, ...]


def spec(picture_: Picture) -> Spec:
    """The Vega-Lite spec."""
    panels = [_panel(picture_, number, cost) for number, cost in enumerate(picture_.costs)]
    select = {"type": "point", "fields": ["attention"]}
    pick = {"name": "pick", "select": select, "bind": "legend", "views": [panel["name"] for panel in panels]}
    hint = "Hover over a bar for its figure. Click a name in the legend to pick it, next to it to undo."
    body = {"params": [pick], "vconcat": panels, "spacing": 16, "usermeta": {"hint": hint}}
    return picture(picture_.title, picture_.subtitle, WIDTH, body)


def _panel(picture_: Picture, number: int, cost: Cost) -> Spec:
    figures = [bar.figures[number] for bar in picture_.bars]
    step = scales.step_of(figures, cost.unit)
    last = number == len(picture_.costs) - 1
    return {
        "name": f"panel_{number}",
        "title": {"text": cost.name, "anchor": "start", "frame": "group", "fontSize": 13, "offset": 8},
        "width": min(WIDTH, WIDEST * len(figures)),
        "height": HEIGHT,
        "data": {"values": _rows(picture_.bars, figures, cost, step)},
        "mark": {"type": "bar", "aria": False},
        "encoding": _encoding(
            cost, scales.axis((0, *figures), cost.unit, step), shades_of(picture_.bars), named=last
        ),
    }


def _rows(bars: Sequence[Bar], figures: Sequence[float], cost: Cost, step: int) -> list[dict[str, Any]]:
    return [
        {
            "layer": layer,
            "name": bar.name,
            "attention": bar.attention,
            "y": scales.number(figure, step),
            "exact": scales.exact(figure, cost.unit),
        }
        for layer, (bar, figure) in enumerate(zip(bars, figures, strict=True))
    ]


def shades_of(bars: Sequence[Bar]) -> Spec:
    """A colour for each kind of attention: windows and global layers always have theirs."""
    kinds = list(dict.fromkeys(("window", "global", *(bar.attention for bar in bars))))
    return {"domain": kinds, "range": [WINDOWED, GLOBAL, *colors(len(kinds))[2:]]}


def _encoding(cost: Cost, axis: Spec, shades: Spec, *, named: bool) -> Spec:
    """Layers are numbered below the last panel."""
    numbers = {"labelAngle": 0, "labelOverlap": True, "title": "layer"} if named else None
    return {
        "x": {"field": "layer", "type": "ordinal", "axis": numbers},
        "y": {"field": "y", "type": "quantitative", "axis": axis},
        "color": {
            "field": "attention",
            "type": "nominal",
            "scale": shades,
            "legend": {"title": "attention", "orient": "bottom"},
        },
        "opacity": OPACITY,
        "tooltip": [{"field": "name"}, {"field": "attention"}, {"field": "exact", "title": cost.name}],
    }
