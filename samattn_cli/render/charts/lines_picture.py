"""What `lines` draws: lines, marks and limits in panels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from .scales import Unit

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


def unique(names: Iterable[str]) -> list[str]:
    """Each name once, in the order of first appearance."""
    return list(dict.fromkeys(names))
