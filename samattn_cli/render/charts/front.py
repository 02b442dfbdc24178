"""A Pareto front of a cost and two facts: a point for each choice, one fact up, the other as a shade; one's own choice marked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from . import scales
from .scales import Unit
from .theme import CONTRAST, WINDOWED, Spec, picture

WIDTH, HEIGHT = 680, 380
WHICH = ["on the front", "own placement"]
FAR = "#c9a0b8"
"""The colour of the highest shade; of 0 it is WINDOWED."""
FEW = 14
"""Points up to which each has its name next to it."""


@dataclass(frozen=True)
class Point:
    """A choice: its cost, the fact that is drawn up, the one that is a shade, its name, and whether it is one's own."""

    cost: float
    fact: int
    shade: int
    name: str
    own: bool = False


@dataclass(frozen=True)
class Picture:
    """What to draw: the points of the front, and one's own if it is not on it. Lower is better in all three."""

    title: str
    subtitle: str
    cost_title: str
    cost_unit: Unit
    fact_title: str
    shade_title: str
    points: tuple[Point, ...]


def spec(picture_: Picture) -> Spec:
    """The Vega-Lite spec."""
    costs = [point.cost for point in picture_.points]
    step = scales.step_of(costs, picture_.cost_unit)
    rows = [_row(point, picture_.cost_unit, step) for point in picture_.points]
    x_axis = {**scales.axis((0, *costs), picture_.cost_unit, step), "title": picture_.cost_title}
    steps = {
        "values": sorted({point.fact for point in picture_.points}),
        "format": "d",
        "title": picture_.fact_title,
    }
    where = {
        "x": {"field": "x", "type": "quantitative", "scale": {"zero": False, "padding": 24}, "axis": x_axis},
        "y": {"field": "y", "type": "quantitative", "scale": {"zero": False, "padding": 20}, "axis": steps},
    }
    shape = {"domain": WHICH, "range": ["circle", "diamond"]}
    shades = {"range": [WINDOWED, FAR], "domainMin": 0}
    legend = {"orient": "bottom", "titleLimit": WIDTH}
    tooltip = [
        {"field": "name", "title": "global layers"},
        {"field": "exact", "title": picture_.cost_title},
        {"field": "y", "title": picture_.fact_title},
        {"field": "shade", "title": picture_.shade_title},
    ]
    body = {
        "width": WIDTH,
        "height": HEIGHT,
        "data": {"values": rows},
        "layer": [
            {
                "mark": {"type": "point", "filled": True, "opacity": 1, "aria": False},
                "encoding": {
                    **where,
                    "color": {
                        "field": "shade",
                        "type": "quantitative",
                        "scale": shades,
                        "legend": {
                            **legend,
                            "title": picture_.shade_title,
                            "format": "d",
                            "gradientLength": 180,
                        },
                    },
                    "shape": {
                        "field": "which",
                        "type": "nominal",
                        "scale": shape,
                        "legend": {
                            **legend,
                            "title": None,
                            "symbolFillColor": CONTRAST,
                            "symbolStrokeWidth": 0,
                        },
                    },
                    "size": {
                        "condition": {"test": f"datum.which == {WHICH[1]!r}", "value": 220},
                        "value": 110,
                    },
                    "tooltip": tooltip,
                },
            },
            *([_names(where)] if len(rows) <= FEW else []),
        ],
        "usermeta": {"hint": "Hover over a point for its layers and figures."},
    }
    return picture(picture_.title, picture_.subtitle, WIDTH, body)


def _row(point: Point, unit: Unit, step: int) -> dict[str, Any]:
    return {
        "x": scales.number(point.cost, step),
        "y": point.fact,
        "name": point.name,
        "exact": scales.exact(point.cost, unit),
        "shade": point.shade,
        "which": WHICH[point.own],
    }


def _names(where: Spec) -> Spec:
    return {
        "mark": {"type": "text", "align": "left", "dx": 9, "dy": -8, "fontSize": 10, "aria": False},
        "encoding": {**where, "text": {"field": "name"}},
    }
