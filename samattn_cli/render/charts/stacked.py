"""Stacked bars: a panel for each group, a row for each bar, a colour for each part, and a rule at the limit of the group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import scales
from .scales import Unit
from .theme import CONTRAST, Spec, colors, legend_columns, picture

WIDTH, ROW = 620, 30
NAMES = 420
"""Width in pixels of the bars, height of a row, and width of the names next to it."""
NEAR = 2
"""How many times the longest bar a limit may be to be drawn."""


@dataclass(frozen=True)
class Bar:
    """A row: its name, the figure at its end, its parts from left to right, and what is shown when it is pointed at."""

    name: str
    figure: str
    parts: Mapping[str, int]
    note: str = ""


@dataclass(frozen=True)
class Group:
    """A panel: its title, the limit of its bars, and the bars from top to bottom. A limit far beyond them is not drawn."""

    title: str
    limit: int
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class Picture:
    """What to draw."""

    title: str
    subtitle: str
    unit: Unit
    groups: tuple[Group, ...]


def spec(picture_: Picture) -> Spec:
    """The Vega-Lite spec."""
    parts = list(dict.fromkeys(part for group in picture_.groups for bar in group.bars for part in bar.parts))
    largest = _largest(picture_)
    panels = [_panel(group, parts, largest, picture_.unit) for group in picture_.groups]
    hint = "Hover over a part for its figure. Click a name in the legend to pick it, next to it to undo."
    body = {"vconcat": panels, "spacing": 20, "usermeta": {"hint": hint}}
    return picture(picture_.title, picture_.subtitle, NAMES + WIDTH, body)


def _largest(picture_: Picture) -> int:
    """The end of the axis: that of the longest bar, or the largest limit that is near it."""
    longest = max((sum(bar.parts.values()) for group in picture_.groups for bar in group.bars), default=1)
    near = [group.limit for group in picture_.groups if group.limit <= NEAR * longest]
    return max(longest, *near) if near else longest


def _panel(group: Group, parts: Sequence[str], largest: int, unit: Unit) -> Spec:
    step = scales.step_of([largest], unit)
    names = [f"{number}. {bar.name}" for number, bar in enumerate(group.bars, 1)]
    x: Spec = {
        "type": "quantitative",
        "scale": {"domain": [0, scales.number(largest, step)], "nice": False},
        "axis": scales.axis((0, largest), unit, step),
    }
    color = {
        "field": "part",
        "type": "nominal",
        "sort": None,
        "scale": {"domain": list(parts), "range": colors(len(parts))},
        "legend": {"title": None, "orient": "bottom", "columns": legend_columns(parts, WIDTH + NAMES)},
    }
    return {
        "title": {"text": group.title, "anchor": "start", "frame": "group", "fontSize": 13, "offset": 8},
        "width": WIDTH,
        "height": ROW * len(group.bars),
        "data": {"values": _rows(group, names, parts, unit, step)},
        "encoding": {
            "y": {
                "field": "name",
                "type": "nominal",
                "sort": names,
                "title": None,
                "axis": {"labelLimit": NAMES},
            }
        },
        "layer": [
            {
                "mark": {"type": "bar", "aria": False},
                "encoding": {
                    "x": {**x, "field": "from", "title": None},
                    "x2": {"field": "to"},
                    "color": color,
                    "tooltip": [{"field": "part"}, {"field": "exact", "title": "size"}, {"field": "note"}],
                },
            },
            *([_limit(group, x, step)] if group.limit <= largest else []),
        ],
    }


def _rows(
    group: Group, names: Sequence[str], parts: Sequence[str], unit: Unit, step: int
) -> list[dict[str, Any]]:
    found = []
    for name, bar in zip(names, group.bars, strict=True):
        before = 0
        for part in parts:
            if size := bar.parts.get(part, 0):
                found.append(
                    {
                        "name": name,
                        "part": part,
                        "from": scales.number(before, step),
                        "to": scales.number(before + size, step),
                        "exact": scales.exact(size, unit),
                        "note": f"{bar.note or bar.figure}",
                    }
                )
                before += size
    return found


def _limit(group: Group, x: Spec, step: int) -> Spec:
    """A rule from top to bottom."""
    return {
        "data": {"values": [{"limit": scales.number(group.limit, step)}]},
        "mark": {"type": "rule", "color": CONTRAST, "strokeWidth": 2, "strokeDash": [5, 3]},
        "encoding": {"x": {**x, "field": "limit"}, "y": {"value": 0}, "y2": {"value": "height"}},
    }
