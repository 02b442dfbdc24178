"""Memory over a pass: bands by kind, stacked, allocation by allocation; layers and phases below, the peak and a limit marked.

Bands are painted over each other, the whole first and the lowest last, so that each is one line with few points: long passes
have tens of thousands of allocations. Of those within three pixels, the lowest and the highest are kept. Coordinates are pixels.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from ...encoder.placement import Kind
from ...units import BINARY_UNITS, format_bytes
from . import scales
from .theme import CONTRAST, Spec, legend_columns, picture
from .thin import thin

WIDTH, HEIGHT, STRIP, PHASE = 900, 380, 20, 22
"""Width and height in pixels of the bands; heights of the layers and of the phases below."""
POINTS = 600
ROOM = 1.14
"""Height of the picture over what is drawn highest, for the name of the peak."""
NEAR = 2
"""How many times the peak a limit may be to be drawn."""
TICKS = 6
CHARACTER, GAP = 5.4, 3
"""Width in pixels of an average character of the names of layers, and of the space around a name."""
STEPS = 2  # to a pixel
STRIPES = 180
"""For the pointer: each says what is live at the highest of its points."""
STRENGTHS = {"global": 1, "part": 0.15}
WEAK = 0.35
"""Opacity of the boxes of global layers, of parts, and of other layers."""


@dataclass(frozen=True)
class Band:
    """A kind of memory: its name, its colour, and its bytes after each allocation and free."""

    name: str
    color: str
    values: Sequence[int]


@dataclass(frozen=True)
class Span:
    """A layer or a phase: its name, the numbers of its first change and of the one after its last, and what is it."""

    name: str
    start: int
    stop: int
    kind: Kind | Literal["part", "phase"]
    note: str = ""


@dataclass(frozen=True)
class Limit:
    """A line from side to side, and the words on it."""

    nbytes: int
    words: str


@dataclass(frozen=True)
class Picture:
    """What to draw: bands from the lowest on, and what runs at each change; the peak is after the change `peak`."""

    title: str
    subtitle: str
    bands: tuple[Band, ...]
    running: Sequence[str]
    peak: int
    peak_words: tuple[str, ...]
    layers: tuple[Span, ...]
    phases: tuple[Span, ...]
    limit: Limit | None = None


LINE = 15
"""Pixels from a line of words to the next."""


def is_near(limit: int, peak: int) -> bool:
    """Whether a limit is drawn."""
    return limit <= NEAR * peak


def spec(picture_: Picture) -> Spec:
    """The Vega-Lite spec."""
    count = len(picture_.running)
    tops = _tops(picture_.bands)
    whole = tops[-1]
    drawn = [whole[picture_.peak], *([picture_.limit.nbytes] if picture_.limit else [])]
    frame = _Frame(count, max(drawn) * ROOM)
    kept = thin(range(count), whole, POINTS)
    panels = [_bands(picture_, frame, tops, kept), _layers(picture_.layers, frame)]
    if len(picture_.phases) > 1:
        panels.append(_phases(picture_.phases, frame))
    body = {
        "params": [{"name": "hover", "value": False}],
        "vconcat": panels,
        "spacing": 6,
        "usermeta": {
            "hint": "Hover over the picture for the operation and its figures, over a layer for its name."
        },
    }
    return picture(picture_.title, picture_.subtitle, WIDTH, body)


@dataclass(frozen=True)
class _Frame:
    """From changes and bytes to pixels."""

    count: int
    most: float

    def x(self, change: float) -> float:
        return round(change / self.count * WIDTH * STEPS) / STEPS

    def y(self, nbytes: float) -> float:
        return round(nbytes / self.most * HEIGHT * STEPS) / STEPS


def _tops(bands: Sequence[Band]) -> list[list[int]]:
    """The upper edge of each band after each change."""
    tops: list[list[int]] = []
    for band in bands:
        tops.append(
            [low + own for low, own in zip(tops[-1], band.values, strict=True)] if tops else [*band.values]
        )
    return tops


def _x(**more: Any) -> Spec:
    scale = {"domain": [0, WIDTH], "nice": False, "zero": False}
    return {"type": "quantitative", "scale": scale, "axis": None, **more}


def _y(**more: Any) -> Spec:
    return {"type": "quantitative", "scale": {"domain": [0, HEIGHT], "nice": False}, "title": None, **more}


def _bands(picture_: Picture, frame: _Frame, tops: Sequence[Sequence[int]], kept: Sequence[int]) -> Spec:
    names = [band.name for band in picture_.bands]
    numbers = [*range(len(names))]
    places = [*_places(kept, frame)]
    color = {
        "field": "k",
        "type": "nominal",
        "sort": None,
        "scale": {"domain": numbers, "range": [band.color for band in picture_.bands]},
        "legend": {
            "title": None,
            "labelExpr": f"{json.dumps(names)}[datum.value]",
            "orient": "top",
            "columns": legend_columns(names, WIDTH),
            "symbolType": "square",
            "symbolStrokeWidth": 0,
        },
    }
    rows = [
        {"k": number, "x": x, "y": y}
        for number, top in reversed([*enumerate(tops)])
        for x, y in _outline(top, kept, places, frame)
    ]
    mark = {"type": "line", "interpolate": "step-after", "strokeWidth": 0, "aria": False}
    return {
        "width": WIDTH,
        "height": HEIGHT,
        "layer": [
            {
                "data": {"values": rows},
                "mark": mark,
                "encoding": {
                    "x": _x(field="x"),
                    "y": _y(field="y", axis=_axis(frame)),
                    "fill": color,
                    "order": {"value": None},
                },
            },
            *_limit(picture_, frame, tops[-1]),
            *_peak(picture_, frame, tops[-1][picture_.peak]),
            _hover(picture_, frame, tops[-1]),
        ],
    }


def _places(kept: Sequence[int], frame: _Frame) -> Iterator[float]:
    """Where the changes that are drawn begin: a pixel apart or more, so that the shortest can be seen."""
    place = float("-inf")
    for change in kept:
        place = min(max(frame.x(change), place + 1), WIDTH)
        yield place


def _outline(
    top: Sequence[int], kept: Sequence[int], places: Sequence[float], frame: _Frame
) -> Iterator[tuple[float, float]]:
    """The corners of a band down to the axis; a step goes on at its height until the next."""
    yield 0, 0
    last = None
    for change, place in zip(kept, places, strict=True):
        if (height := frame.y(top[change])) != last:
            yield place, height
            last = height
    yield WIDTH, 0


def _axis(frame: _Frame) -> Spec:
    tick = 1
    while frame.most / tick > TICKS:
        tick *= 2
    power = max((tick.bit_length() - 1) // 10, 0)
    values = [number * tick / frame.most * HEIGHT for number in range(int(frame.most // tick) + 1)]
    scale = frame.most / HEIGHT / 1024**power
    return {
        "values": values,
        "labelExpr": f"datum.value == 0 ? '0' : format(datum.value * {scale}, '.4~g') + ' {BINARY_UNITS[power]}'",
    }


def _limit(picture_: Picture, frame: _Frame, whole: Sequence[int]) -> Iterator[Spec]:
    """A line from side to side, and its words where nothing that is drawn reaches it."""
    limit = picture_.limit
    if limit is None:
        return
    x, align = _room_for_words(whole, limit.nbytes, picture_.peak, frame)
    at = {"data": {"values": [{"x": x, "y": frame.y(limit.nbytes), "words": limit.words}]}}
    y = _y(field="y")
    yield {
        **at,
        "mark": {"type": "rule", "strokeWidth": 1.5, "strokeDash": [6, 4], "aria": False},
        "encoding": {"x": {"value": 0}, "x2": {"value": "width"}, "y": y},
    }
    yield {
        **at,
        "mark": {"type": "text", "align": align, "baseline": "bottom", "dy": -4, "aria": False},
        "encoding": {"x": _x(field="x"), "y": y, "text": {"field": "words"}},
    }


def _room_for_words(whole: Sequence[int], nbytes: int, peak: int, frame: _Frame) -> tuple[float, str]:
    """Where words at a height stand, and how they are aligned: in the middle of the longest stretch that is lower.

    If everything is lower, they are at the end that is further from the peak.
    """
    higher = [-1, *(change for change, total in enumerate(whole) if total >= nbytes), len(whole)]
    if len(higher) == 2:  # noqa: PLR2004 - the two ends
        return (WIDTH - 4, "right") if frame.x(peak) < WIDTH / 2 else (4, "left")
    start, end = max(pairwise(higher), key=lambda pair: pair[1] - pair[0])
    return frame.x((start + end) / 2), "center"


def _peak(picture_: Picture, frame: _Frame, nbytes: int) -> Iterator[Spec]:
    """A point at the peak, and its name on the side that has room."""
    x = frame.x(picture_.peak)
    side = "left" if x < WIDTH / 2 else "right"
    above = _above_limit(picture_.limit, frame, nbytes, LINE * len(picture_.peak_words) + 8)
    at = {"data": {"values": [{"x": x, "y": frame.y(nbytes), "words": list(picture_.peak_words)}]}}
    where = {"x": _x(field="x"), "y": _y(field="y")}
    yield {
        **at,
        "mark": {"type": "point", "filled": True, "size": 46, "color": CONTRAST, "opacity": 1, "aria": False},
        "encoding": where,
    }
    yield {
        **at,
        "mark": {
            "type": "text",
            "align": side,
            "baseline": "bottom",
            "dx": -4 if side == "left" else 4,
            "dy": -8 - LINE * (len(picture_.peak_words) - 1) - above,
            "lineHeight": LINE,
            "fontWeight": "bold",
            "aria": False,
        },
        "encoding": {**where, "text": {"field": "words"}},
    }


def _hover(picture_: Picture, frame: _Frame, whole: Sequence[int]) -> Spec:
    """Invisible stripes for the pointer, each with what is live at its highest point."""
    starts = sorted({stripe * frame.count // STRIPES for stripe in range(STRIPES)})
    pairs = [*pairwise((*starts, frame.count))]
    rows = [
        _stripe(picture_, max(range(start, stop), key=whole.__getitem__))
        | {"from": frame.x(start), "to": frame.x(stop)}
        for start, stop in pairs
    ]
    return {
        "data": {"values": rows},
        "transform": [{"filter": "hover"}, {"calculate": _of(picture_.bands), "as": "of"}],
        "mark": {"type": "rect", "opacity": 0, "aria": False},
        "encoding": {
            "x": _x(field="from"),
            "x2": {"field": "to"},
            "y": {"value": 0},
            "y2": {"value": "height"},
            "tooltip": [
                {"field": "op", "title": "operation"},
                {"field": "live"},
                {"field": "of", "title": "of which"},
            ],
        },
    }


def _stripe(picture_: Picture, change: int) -> dict[str, Any]:
    live = [band.values[change] for band in picture_.bands]
    return {
        "op": picture_.running[change],
        "live": scales.exact(sum(live), "B"),
        "v": [format_bytes(nbytes) if nbytes else "" for nbytes in live],
    }


def _of(bands: Sequence[Band]) -> str:
    """Vega's expression for what is live by kind, of the bands that have something."""
    parts = (
        f"(datum.v[{number}] ? {band.name!r} + ' ' + datum.v[{number}] + '; ' : '')"
        for number, band in enumerate(bands)
    )
    return " + ".join(parts)


def _layers(spans: Sequence[Span], frame: _Frame) -> Spec:
    """Boxes with names where there is room; those of global layers are dark."""
    rows = [
        {
            "from": frame.x(span.start),
            "to": max(frame.x(span.stop) - 1, frame.x(span.start) + 0.5),
            "middle": frame.x((span.start + span.stop) / 2),
            "name": span.name if _has_room(span, frame) else "",
            "kind": span.kind,
            "strength": STRENGTHS.get(span.kind, WEAK),
            "note": span.note or span.name,
        }
        for span in spans
    ]
    return {
        "width": WIDTH,
        "height": STRIP,
        "data": {"values": rows},
        "layer": [
            {
                "mark": {"type": "rect", "color": CONTRAST, "aria": False},
                "encoding": {
                    "x": _x(field="from"),
                    "x2": {"field": "to"},
                    "opacity": {"field": "strength", "type": "quantitative", "scale": None, "legend": None},
                    "tooltip": {"field": "note"},
                },
            },
            {
                "mark": {"type": "text", "fontSize": 9, "aria": False},
                "encoding": {
                    "x": _x(field="middle"),
                    "text": {"field": "name"},
                    "color": {"condition": {"test": "datum.kind == 'global'", "value": "#ffffff"}},
                },
            },
        ],
    }


def _has_room(span: Span, frame: _Frame) -> bool:
    return CHARACTER * len(span.name) + GAP <= frame.x(span.stop) - frame.x(span.start)


def _phases(spans: Sequence[Span], frame: _Frame) -> Spec:
    """Lines from the beginning to the end of each phase, with its name."""
    rows = [
        {
            "from": frame.x(span.start) + 1,
            "to": frame.x(span.stop) - 1,
            "middle": frame.x((span.start + span.stop) / 2),
            "name": span.name if _has_room(span, frame) else "",
        }
        for span in spans
    ]
    return {
        "width": WIDTH,
        "height": PHASE,
        "data": {"values": rows},
        "layer": [
            {
                "mark": {"type": "rule", "color": CONTRAST, "strokeWidth": 2, "aria": False},
                "encoding": {"x": _x(field="from"), "x2": {"field": "to"}, "y": {"value": 2}},
            },
            {
                "mark": {"type": "text", "fontSize": 11, "aria": False},
                "encoding": {"x": _x(field="middle"), "y": {"value": 14}, "text": {"field": "name"}},
            },
        ],
    }


def _above_limit(limit: Limit | None, frame: _Frame, nbytes: int, height: int) -> float:
    """How many pixels words of a height are raised, so that the limit is below them and not behind them."""
    distance = frame.y(limit.nbytes) - frame.y(nbytes) if limit else -1.0
    return distance if 0 <= distance < height else 0
