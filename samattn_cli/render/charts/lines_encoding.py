"""How `lines` shows figures: the axes of a panel, the colours of configs, the dashes of variants, and their legends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import scales
from .lines_picture import Line, Picture, unique
from .scales import Unit
from .theme import Spec, colors, legend_columns

TICKS = 8  # values of an axis up to which each has a tick
ONE, FEW = (680, 400), (420, 270)
"""Width and height in pixels of a panel that stands alone, and of one among others."""
DASHES = ([1, 0], [6, 4], [2, 3], [9, 3, 2, 3])
LOGARITHMIC = "logarithmic"
"""What an axis says that is."""


def encoding(picture_: Picture, lines: Sequence[Line], own: Picture) -> Spec:
    """The axis, colours and tooltips of a panel with `lines`; `own` is the picture of this panel, whose axis may be its own."""
    configs = unique(line.config for line in picture_.lines)
    variants = unique(line.variant for line in picture_.lines)
    return {
        "x": x_axis(own),
        "color": {
            "field": "config",
            "type": "nominal",
            "sort": None,
            "scale": {"domain": configs, "range": colors(len(configs))},
            "legend": _legend(configs, picture_.line_title, 3),
        },
        "opacity": {"condition": {"test": PICKED, "value": 1}, "value": 0.12},
        "tooltip": [
            {"field": "config", "title": picture_.line_title},
            *([{"field": "variant"}] if len(variants) > 1 else []),
            {"field": "x", "title": own.x_title, **({} if _words(picture_) else {"format": ",~r"})},
            {"field": "exact", "title": lines[0].metric},
        ],
    }


def dashes(picture_: Picture) -> Spec:
    """Of lines alone: no text has them."""
    variants = unique(line.variant for line in picture_.lines)
    return {
        "field": "variant",
        "type": "nominal",
        "sort": None,
        "scale": {"domain": variants, "range": DASHES},
        "legend": _legend(variants, "variant", 1.5),
    }


PICKED = {"and": [{"param": "pick_config"}, {"param": "pick_variant"}]}


def _legend(names: Sequence[str], title: str, width: float) -> Spec | None:
    """None if it would have one name."""
    if len(names) == 1:
        return None
    symbol = {"symbolType": "stroke", "symbolSize": 400, "symbolStrokeWidth": width}
    return {"title": title, "orient": "bottom", "columns": legend_columns(names, ONE[0]), **symbol}


def _words(picture_: Picture) -> bool:
    return any(isinstance(x, str) for line in picture_.lines for x in line.xs[:1])


def x_axis(picture_: Picture) -> Spec:
    """The axis of numbers, with a tick for each of a few, or of words."""
    title = {"field": "x", "title": picture_.x_title}
    if _words(picture_):
        return {**title, "type": "ordinal", "sort": None, "axis": {"labelAngle": 0}}
    values = sorted({x for line in picture_.lines for x in line.xs[: TICKS + 1]})
    ends: list[Any] = [x for line in picture_.lines for x in (line.xs[0], line.xs[-1])]
    few = {"values": values} if max(len(line.xs) for line in picture_.lines) <= TICKS >= len(values) else {}
    scale = scales.scale(ends)
    axis = {"format": ",~r", "tickCount": 6, "labelOverlap": "greedy", "labelFlush": False, **few}
    if scale["type"] == "log":
        axis["title"] = f"{picture_.x_title}, {LOGARITHMIC}"
    return {**title, "type": "quantitative", "scale": scale, "axis": axis}


def y_axis(unit: Unit, ends: Sequence[float], step: int) -> Spec:
    """The axis of figures in `unit` whose least and greatest are among `ends`."""
    scale, axis = scales.scale(ends, unit), scales.axis(ends, unit, step)
    if scale["type"] == "log":
        axis |= {"title": LOGARITHMIC, "titleFontSize": 11}
    return {"field": "y", "type": "quantitative", "scale": scale, "axis": axis}
