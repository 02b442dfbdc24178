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

from collections.abc import Sequence

from .lines_encoding import FEW, ONE
from .lines_panel import panel
from .lines_picture import Limit, Line, Mark, MarkKind, Picture, unique
from .theme import Spec, picture

__all__ = ["Limit", "Line", "Mark", "MarkKind", "Picture", "spec"]

MOST = 2000  # points of a line
MOST_IN_ALL = 24_000  # points of a picture: about 3 MB of HTML
MANY = 6  # panels from which three are in a row

HINT = (
    "Hover over a line for its figures. Click a name above to pick it, Shift-click to pick several, click next to them to "
    "undo. Drag to move, scroll to zoom, double-click to reset."
)


def spec(picture_: Picture) -> Spec:
    """The Vega-Lite spec."""
    metrics = unique(line.metric for line in picture_.lines)
    size = ONE if len(metrics) == 1 else FEW
    columns = 1 if len(metrics) == 1 else 3 if len(metrics) > MANY else 2
    most = max(2, min(MOST, MOST_IN_ALL // len(picture_.lines)))
    panels = [panel(picture_, metric, size, most) for metric in metrics]
    longest = max(len(line.xs) for line in picture_.lines)
    thinned = f" Lines of {longest:,} points are drawn by at most {most:,} each, ends and extremes kept."
    subtitle = picture_.subtitle + (thinned if longest > most else "")
    body = {"params": _params(panels), "concat": panels, "columns": columns, "usermeta": {"hint": HINT}}
    return picture(picture_.title, subtitle, columns * size[0], body)


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
