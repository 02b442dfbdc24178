"""A panel of `lines`: its title, its rows of data, and what is drawn."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

from . import scales
from .alike import names_alike, without_copies
from .lines_encoding import encoding, y_axis
from .lines_layers import layers, limit_layers
from .lines_picture import Line, Mark, Picture, unique
from .scales import Unit
from .theme import CHARACTER, Spec
from .thin import thin


def panel(picture_: Picture, metric: str, size: tuple[int, int], most: int) -> Spec:
    """The panel of a metric, `size` (width, height) pixels large, with at most `most` points a line."""
    lines = [line for line in picture_.lines if line.metric == metric]
    marks = [mark for mark in picture_.marks if mark.metric == metric]
    limits = [limit for limit in picture_.limits if limit.metric == metric]
    own = replace(picture_, lines=tuple(lines), x_title=picture_.x_titles.get(metric, picture_.x_title))
    name = f"panel_{unique(line.metric for line in picture_.lines).index(metric)}"
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
            **encoding(picture_, lines, own if picture_.x_titles else picture_),
            "y": y_axis(unit, ends, step),
        },
        "layer": [
            *layers(name, lines, _mark_rows(marks, unit, step), picture_),
            *(layer for limit in limits for layer in limit_layers(limit, step)),
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
