"""The style of charts: fonts, colours, grid. Colours are Okabe and Ito's and Tol's, which colour-blind people can tell apart."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

Spec = dict[str, Any]

FONT = "Helvetica Neue, Helvetica, Arial, Liberation Sans, sans-serif"
INK, FAINT, GRID, PAPER = "#222222", "#666666", "#e6e6e6", "#ffffff"
DARK_INK, DARK_FAINT, DARK_GRID, DARK_PAPER = "#e6e6e6", "#a0a0a0", "#3a3a3a", "#16181c"
GLOBAL, WINDOWED = "#D55E00", "#0072B2"
"""The colours of layers."""
CONTRAST = "#808080"
"""The colour of rules, and of marks of no line; visible on white and on black."""

# Okabe and Ito without black and yellow, which vanish on black and on white; then Tol's "muted".
COLORS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"),
    *("#882255", "#999933", "#44AA99", "#AA4499", "#6677CC", "#CC6677"),
)

TITLE_CHARACTER, CHARACTER = 9.2, 5.6
"""Width of an average character of the title and of the subtitle, in pixels."""


def colors(count: int) -> list[str]:
    """`count` colours; they repeat when they run out."""
    return [COLORS[number % len(COLORS)] for number in range(count)]


def legend_columns(names: Sequence[str], width: int) -> int:
    """How many of the names, with their symbols, fit in a row of `width` pixels."""
    return max(1, int(width / (CHARACTER * 1.2 * max(map(len, names)) + 50)))


def picture(title: str, subtitle: str, width: int, body: Spec) -> Spec:
    """A whole chart: title, subtitle wrapped to `width` pixels, and what is drawn."""
    lines = (
        textwrap.wrap(title, int(width / TITLE_CHARACTER)),
        textwrap.wrap(subtitle, int(width / CHARACTER)),
    )
    heading = {"text": lines[0], "subtitle": lines[1], "anchor": "start", "frame": "bounds"}
    return {"title": heading, "description": f"{title}. {subtitle}", "config": config(), **body}


def config(ink: str = INK, faint: str = FAINT, grid: str = GRID, paper: str = PAPER) -> Spec:
    """Vega-Lite's config."""
    return {
        "background": paper,
        "padding": 16,
        "font": FONT,
        "view": {"stroke": None},
        "title": {
            "fontSize": 17,
            "subtitleFontSize": 12,
            "subtitlePadding": 6,
            "subtitleLineHeight": 16,
            "offset": 18,
            "color": ink,
            "subtitleColor": faint,
        },
        "axis": {
            "labelFontSize": 11,
            "titleFontSize": 12,
            "titleFontWeight": "normal",
            "titlePadding": 8,
            "domain": False,
            "ticks": False,
            "labelPadding": 6,
            "gridColor": grid,
            "labelColor": faint,
            "titleColor": ink,
        },
        "legend": {
            "labelFontSize": 12,
            "titleFontSize": 12,
            "titleFontWeight": "normal",
            "labelLimit": 420,
            "labelColor": ink,
            "titleColor": faint,
            "symbolStrokeWidth": 2,
            # Vega's own, which Vega-Lite hands on: legends below one another, each with its title.
            "layout": {"bottom": {"anchor": "start", "direction": "vertical", "margin": 14}},
        },
        "text": {"color": ink, "fontSize": 12},
        "rule": {"color": ink},
        "concat": {"spacing": 32},
    }


def dark() -> Spec:
    """The config on a dark page."""
    return config(DARK_INK, DARK_FAINT, DARK_GRID, DARK_PAPER)
