"""What `lines` lays over each other in a panel: the lines, their points, marks and limits."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from . import scales
from .lines_encoding import ONE, dashes
from .lines_picture import Limit, Line, Picture, unique
from .theme import CONTRAST, Spec

SPARSE = 40  # points of a line up to which each is marked
SHAPES = {
    "crossover": "diamond",
    "cliff": "triangle-up",
    "measured": "circle",
    "largest that fits": "square",
    "does not fit": "M-.6,-.6L.6,.6M-.6,.6L.6,-.6",
    "cheapest": "diamond",
}


def layers(
    name: str, lines: Sequence[Line], marks: Sequence[dict[str, Any]], picture_: Picture
) -> Iterator[Spec]:
    """The lines, their points (for the pointer alone if they are too many to show), and the marks."""
    line = {"type": "line", "strokeWidth": 2}
    yield {"name": name, "mark": line, "encoding": {"strokeDash": dashes(picture_)}}
    dense = max(len(line.xs) for line in lines) > SPARSE
    point = {"type": "point", "filled": True, "aria": False}
    if dense:
        invisible = {**point, "size": 60, "opacity": 0}
        yield {"mark": invisible, "transform": [{"filter": "hover"}], "encoding": {"opacity": {"value": 0}}}
    else:
        yield {"mark": {**point, "size": 34}}
    if lines[0].unit == "ratio":
        yield _rule_at_one()
    if marks:
        yield _marks(marks, picture_)


def _rule_at_one() -> Spec:
    """From side to side, also if no line is picked."""
    across = {"x": {"value": 0}, "x2": {"value": "width"}, "color": {"value": CONTRAST}}
    plain = {"opacity": {"value": 1}, "tooltip": {"value": None}}
    return {"data": {"values": [{"y": 1}]}, "mark": {"type": "rule"}, "encoding": {**across, **plain}}


def limit_layers(limit: Limit, step: int) -> Iterator[Spec]:
    """A dashed line, also if no line is picked, and its words below it."""
    at = {"data": {"values": [{"y": scales.number(limit.y, step), "words": limit.words}]}}
    plain = {"opacity": {"value": 1}, "tooltip": {"value": None}}
    color = {"color": {"value": CONTRAST}}
    yield {
        **at,
        "mark": {"type": "rule", "strokeWidth": 1.5, "strokeDash": [6, 4], "aria": False},
        "encoding": {"x": {"value": 0}, "x2": {"value": "width"}, **color, **plain},
    }
    yield {
        **at,
        "mark": {
            "type": "text",
            "align": "left",
            "baseline": "top",
            "dx": 4,
            "dy": 4,
            "fontSize": 11,
            "aria": False,
        },
        "encoding": {"x": {"value": 0}, "text": {"field": "words"}, **color, **plain},
    }


def _marks(marks: Sequence[dict[str, Any]], picture_: Picture) -> Spec:
    """The marks of a panel; the panels share a legend, so each names the kinds of all."""
    kinds = unique(mark.kind for mark in picture_.marks)
    legend = {"title": "marks", "orient": "bottom", "values": kinds, "symbolSize": 110}
    if picture_.meanings:
        legend |= {"columns": 1, "labelLimit": ONE[0], "labelExpr": _meanings(picture_.meanings)}
    shape = {"domain": list(SHAPES), "range": list(SHAPES.values())}
    return {
        "data": {"values": marks},
        "mark": {"type": "point", "size": 110, "strokeWidth": 2, "aria": False},
        "encoding": {
            "shape": {"field": "kind", "type": "nominal", "scale": shape, "legend": legend},
            "opacity": {"condition": {"test": {"param": "pick_config"}, "value": 1}, "value": 0.12},
            "tooltip": [
                {"field": "config", "title": picture_.line_title},
                *({"field": name} for name in ("kind", "text", "x", "exact")),
            ],
        },
    }


def _meanings(meanings: Mapping[str, str]) -> str:
    """Vega's expression for the label of a kind: its name and what it means."""
    expression = "datum.label"
    for kind, meaning in meanings.items():
        expression = f"datum.label == {json.dumps(kind)} ? {json.dumps(f'{kind}: {meaning}')} : {expression}"
    return expression
