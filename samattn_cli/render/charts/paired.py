"""Figures before and after as bars next to each other: a panel for each figure, a pair for each layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from . import scales
from .scales import Unit
from .theme import CONTRAST, GLOBAL, Spec, picture

WIDTH, WIDEST, HEIGHT = 860, 56, 170
"""Width in pixels of a panel at most, of a pair with the space next to it, and a panel's height."""


@dataclass(frozen=True)
class Pair:
    """A layer and its figure before and after; None where it is not there. `note` is shown by the pointer."""

    name: str
    before: float | None
    after: float | None
    note: str = ""


@dataclass(frozen=True)
class Panel:
    """A figure, and the pair of each layer."""

    title: str
    unit: Unit
    pairs: tuple[Pair, ...]


@dataclass(frozen=True)
class Picture:
    """What to draw; `sides` are the names of before and after."""

    title: str
    subtitle: str
    sides: tuple[str, str]
    panels: tuple[Panel, ...]


def spec(picture_: Picture) -> Spec:
    """The Vega-Lite spec."""
    panels = [_panel(panel, picture_.sides) for panel in picture_.panels]
    hint = "Hover over a bar for its figure."
    return picture(
        picture_.title,
        picture_.subtitle,
        WIDTH,
        {"vconcat": panels, "spacing": 20, "usermeta": {"hint": hint}},
    )


def _panel(panel: Panel, sides: tuple[str, str]) -> Spec:
    values = [value for pair in panel.pairs for value in (pair.before, pair.after) if value is not None]
    step = scales.step_of(values, panel.unit)
    names = [pair.name for pair in panel.pairs]
    color = {"domain": list(sides), "range": [CONTRAST, GLOBAL]}
    return {
        "title": {"text": panel.title, "anchor": "start", "frame": "group", "fontSize": 13, "offset": 8},
        "width": min(WIDTH, WIDEST * len(names)),
        "height": HEIGHT,
        "data": {"values": _rows(panel, sides, step)},
        "mark": {"type": "bar", "aria": False},
        "encoding": {
            "x": {
                "field": "layer",
                "type": "nominal",
                "sort": names,
                "axis": {
                    "labelAngle": 0 if max(map(len, names)) * len(names) < WIDTH // 8 else -40,
                    "title": None,
                },
            },
            "xOffset": {"field": "side", "sort": list(sides)},
            "y": {"field": "y", "type": "quantitative", "axis": scales.axis((0, *values), panel.unit, step)},
            "color": {
                "field": "side",
                "type": "nominal",
                "sort": None,
                "scale": color,
                "legend": {"title": None, "orient": "bottom"},
            },
            "tooltip": [
                {"field": "layer"},
                {"field": "side"},
                {"field": "exact", "title": panel.title},
                {"field": "note"},
            ],
        },
    }


def _rows(panel: Panel, sides: Sequence[str], step: int) -> list[dict[str, Any]]:
    return [
        {
            "layer": pair.name,
            "side": side,
            "y": scales.number(value, step),
            "exact": scales.exact(value, panel.unit),
            "note": pair.note,
        }
        for pair in panel.pairs
        for side, value in zip(sides, (pair.before, pair.after), strict=True)
        if value is not None
    ]
