"""Placements as strips: a row a placement, its layers as cells, what each costs beside it.

A global layer's cell is of a strong colour; a windowed layer's is shaded by the share of the image that one of its
output tokens has seen by then. compare-placements makes a `Picture` and returns `spec(picture)` as its chart::

    Picture(
        title="sam_vit_b, where the global layers are",
        subtitle="1024x1024, batch 1, float32, eager attention",
        placements=(
            Placement("even:4", cells=(Cell("window", 0.05), ..., Cell("global", 1.0)), costs=(971_000_000_000, 5_000_000)),
        ),
        costs=(Cost("FLOPs", "FLOP"), Cost("inference peak", "B")),
    )

A placement has a figure for each of `costs`; cells may differ in number from row to row. `note` is shown by the
pointer beside the placement's name: what it is, who published it. `own` marks the config's own placement.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from . import scales
from .scales import Unit
from .theme import CONTRAST, Spec, picture

ROW, GAP = 30, 3  # pixels
STRIP, BARS = 620, 150
"""Width in pixels of the layers, and of the bars of a cost."""
WIDEST_CELL = 36
GLOBAL, SEEN, UNSEEN = "#D55E00", "#0072B2", "#9fb8c8"


@dataclass(frozen=True)
class Cell:
    """A layer: how it attends, and the share of the image that its output tokens have seen (1: the whole)."""

    attention: Literal["window", "global"]
    seen: float
    note: str = ""


@dataclass(frozen=True)
class Cost:
    """What the bars show."""

    name: str
    unit: Unit


@dataclass(frozen=True)
class Placement:
    """A row: its name, its layers, and its figures, one for each cost; None where there is none."""

    name: str
    cells: tuple[Cell, ...]
    costs: tuple[float | None, ...]
    own: bool = False
    note: str = ""


@dataclass(frozen=True)
class Picture:
    """All there is to draw, rows from top to bottom."""

    title: str
    subtitle: str
    placements: tuple[Placement, ...]
    costs: tuple[Cost, ...]
    stages: tuple[int, ...] = ()
    """Layers of each stage of a hierarchical encoder; a line is drawn between stages."""
