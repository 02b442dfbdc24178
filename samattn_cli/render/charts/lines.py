"""Figures over an axis, such as FLOPs over resolution: a panel for each metric, a colour for each config, a dash for each variant.

A sweep makes a `Picture` and returns `spec(picture)` as its chart::

    Picture(
        title="sam_vit_h, resolution 512 to 4096",
        subtitle="batch 1, float32, eager attention",
        x_title="image size (px)",
        lines=(
            Line("sam_vit_h", "FLOPs", "FLOP", xs=(512, 1024), ys=(1_400_000_000_000, 5_961_082_830_848)),
            Line("sam_vit_h", "FLOPs", "FLOP", xs=(512, 1024), ys=(...), variant="all global"),
            Line("sam_vit_h", "measured / predicted, peak", "ratio", xs=(512, 1024), ys=(1.01, 1.0)),
        ),
        marks=(Mark("sam_vit_h", "FLOPs", "crossover", x=608, y=2_000_000_000_000, text="cheaper from 608 px on"),),
    )

`xs` ascend if they are numbers; strings (types, kernels, sizes that are not square) make an axis of words, in their
order. Panels, colours and dashes are in the order of first appearance. The axes are logarithmic, which they say,
unless a value is zero. Of lines that lie on each other one is drawn; below its title, a panel names them. Numbers are Python's, not NumPy's (`array.tolist()`). Give any number of points: a line that has too many is thinned, and the subtitle says so.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, Literal

from . import scales
from .alike import names_alike, without_copies
from .scales import Unit
from .theme import CHARACTER, CONTRAST, Spec, colors, legend_columns, picture
from .thin import thin

MOST = 2000  # points of a line
MOST_IN_ALL = 24_000  # points of a picture: about 3 MB of HTML
SPARSE = 40  # points of a line up to which each is marked
MANY = 6  # panels from which three are in a row
TICKS = 8  # values of an axis up to which each has a tick
ONE, FEW = (680, 400), (420, 270)
"""Width and height in pixels of a panel that stands alone, and of one among others."""
DASHES = ([1, 0], [6, 4], [2, 3], [9, 3, 2, 3])
SHAPES = {
    "crossover": "diamond",
    "cliff": "triangle-up",
    "measured": "circle",
    "largest that fits": "square",
    "does not fit": "M-.6,-.6L.6,.6M-.6,.6L.6,-.6",
    "cheapest": "diamond",
}
LOGARITHMIC = "logarithmic"
"""What an axis says that is."""

HINT = (
    "Hover over a line for its figures. Click a name above to pick it, Shift-click to pick several, click next to them to "
    "undo. Drag to move, scroll to zoom, double-click to reset."
)

X = Any
"""A number, or a string on an axis of words."""
MarkKind = Literal["crossover", "cliff", "measured", "largest that fits", "does not fit", "cheapest"]


@dataclass(frozen=True)
class Line:
    """One metric of one config along the axis; `metric` is the panel's title, `unit` that of `ys`; `xs` are numbers or strings."""

    config: str
    metric: str
    unit: Unit
    xs: Sequence[Any]
    ys: Sequence[float]
    variant: str = "as it is"


@dataclass(frozen=True)
class Mark:
    """A point of the panel `metric` that stands out; `text` is shown when pointed at."""

    config: str
    metric: str
    kind: MarkKind
    x: Any
    y: float
    text: str = ""


@dataclass(frozen=True)
class Limit:
    """A line from side to side of the panel `metric`, and the words on it."""

    metric: str
    y: float
    words: str


@dataclass(frozen=True)
class Picture:
    """What to draw.

    `line_title` says what the lines differ in, `x_titles` what is along the axis of some panels, `meanings` what kinds of
    marks mean, for the legend.
    """

    title: str
    subtitle: str
    x_title: str
    lines: tuple[Line, ...]
    marks: tuple[Mark, ...] = ()
    line_title: str = "config"
    limits: tuple[Limit, ...] = ()
    x_titles: Mapping[str, str] = field(default_factory=dict)
    meanings: Mapping[str, str] = field(default_factory=dict)


def spec(picture_: Picture) -> Spec:
    """The Vega-Lite spec."""
    metrics = _unique(line.metric for line in picture_.lines)
    size = ONE if len(metrics) == 1 else FEW
    columns = 1 if len(metrics) == 1 else 3 if len(metrics) > MANY else 2
    most = max(2, min(MOST, MOST_IN_ALL // len(picture_.lines)))
    panels = [_panel(picture_, metric, size, most) for metric in metrics]
    longest = max(len(line.xs) for line in picture_.lines)
    thinned = f" Lines of {longest:,} points are drawn by at most {most:,} each, ends and extremes kept."
    subtitle = picture_.subtitle + (thinned if longest > most else "")
    body = {"params": _params(panels), "concat": panels, "columns": columns, "usermeta": {"hint": HINT}}
    return picture(picture_.title, subtitle, columns * size[0], body)


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _params(panels: Sequence[Spec]) -> list[Spec]:
    """A click in a legend picks, the wheel and dragging zoom a panel; `hover` is set where there is a pointer.

    All are parameters of the chart, as Vega-Lite drops a panel's if one of the chart's applies to the panel.
    """
    names = [panel["layer"][0]["name"] for panel in panels]
    picks = [
        {
            "name": f"pick_{field}",
            "select": {"type": "point", "fields": [field]},
            "bind": "legend",
            "views": names,
        }
        for field in ("config", "variant")
    ]
    axes = [["y"] if panel["encoding"]["x"]["type"] == "ordinal" else ["x", "y"] for panel in panels]
    zooms = [
        {
            "name": f"zoom_{name}",
            "select": {"type": "interval", "encodings": along},
            "bind": "scales",
            "views": [name],
        }
        for name, along in zip(names, axes, strict=True)
    ]
    return [{"name": "hover", "value": False}, *picks, *zooms]


def _panel(picture_: Picture, metric: str, size: tuple[int, int], most: int) -> Spec:
    lines = [line for line in picture_.lines if line.metric == metric]
    marks = [mark for mark in picture_.marks if mark.metric == metric]
    limits = [limit for limit in picture_.limits if limit.metric == metric]
    own = replace(picture_, lines=tuple(lines), x_title=picture_.x_titles.get(metric, picture_.x_title))
    name = f"panel_{_unique(line.metric for line in picture_.lines).index(metric)}"
    width, height = size
    unit, ends = (
        lines[0].unit,
        [
            *chain(*((min(line.ys), max(line.ys)) for line in lines)),
            *(mark.y for mark in marks),
            *(limit.y for limit in limits),
        ],
    )
    step = scales.step_of(ends, unit)
    drawn, alike = without_copies(lines)
    return {
        "title": _title(metric, names_alike(alike, picture_), width),
        "width": width,
        "height": height,
        "data": {"values": [row for line in drawn for row in _rows(line, most, step)]},
        "encoding": {
            **_encoding(picture_, lines, own if picture_.x_titles else picture_),
            "y": _y(unit, ends, step),
        },
        "layer": [
            *_layers(name, lines, _mark_rows(marks, unit, step), picture_),
            *(layer for limit in limits for layer in _limit(limit, step)),
        ],
    }


def _title(metric: str, notes: Sequence[str], width: int) -> Spec:
    """The title of a panel, and what is to know about its lines."""
    lines = [line for note in notes for line in textwrap.wrap(note, int(width / CHARACTER))]
    small = {"subtitle": lines, "subtitleFontSize": 11, "subtitlePadding": 3} if lines else {}
    return {"text": metric, "anchor": "start", "frame": "group", "fontSize": 13, "offset": 8, **small}


def _rows(line: Line, most: int, step: int) -> Iterator[dict[str, Any]]:
    for index in _kept(line, most):
        yield _row(line.config, line.xs[index], line.ys[index], line.unit, step) | {"variant": line.variant}


def _kept(line: Line, most: int) -> Sequence[int]:
    if any(isinstance(x, str) for x in line.xs):
        return range(len(line.xs))
    return thin(line.xs, line.ys, most)


def _row(config: str, x: Any, y: float, unit: Unit, step: int) -> dict[str, Any]:
    return {"config": config, "x": x, "y": scales.number(y, step), "exact": scales.exact(y, unit)}


def _mark_rows(marks: Sequence[Mark], unit: Unit, step: int) -> list[dict[str, Any]]:
    return [
        _row(mark.config, mark.x, mark.y, unit, step) | {"kind": mark.kind, "text": mark.text}
        for mark in marks
    ]


def _encoding(picture_: Picture, lines: Sequence[Line], own: Picture) -> Spec:
    configs = _unique(line.config for line in picture_.lines)
    variants = _unique(line.variant for line in picture_.lines)
    return {
        "x": _x(own),
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


def _dashes(picture_: Picture) -> Spec:
    """Of lines alone: no text has them."""
    variants = _unique(line.variant for line in picture_.lines)
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


def _x(picture_: Picture) -> Spec:
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


def _y(unit: Unit, ends: Sequence[float], step: int) -> Spec:
    scale, axis = scales.scale(ends, unit), scales.axis(ends, unit, step)
    if scale["type"] == "log":
        axis |= {"title": LOGARITHMIC, "titleFontSize": 11}
    return {"field": "y", "type": "quantitative", "scale": scale, "axis": axis}


def _layers(
    name: str, lines: Sequence[Line], marks: Sequence[dict[str, Any]], picture_: Picture
) -> Iterator[Spec]:
    """The lines, their points (for the pointer alone if they are too many to show), and the marks."""
    line = {"type": "line", "strokeWidth": 2}
    yield {"name": name, "mark": line, "encoding": {"strokeDash": _dashes(picture_)}}
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


def _limit(limit: Limit, step: int) -> Iterator[Spec]:
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
    kinds = _unique(mark.kind for mark in picture_.marks)
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
