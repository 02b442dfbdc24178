"""A diff as a chart: the layers that changed, before and after, a panel for each of the most telling figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...figures import FIGURES
from ...reports.diff import BLOCKS, CHANGED, Diff, LayerChange
from ..charts import paired
from ..charts.paired import Pair, Panel, Picture
from ..charts.scales import unit_of
from ..charts.theme import Spec

PANELS = 3


def chart(report: Diff, metrics: Sequence[str]) -> Spec | None:
    """The Vega-Lite spec; None if no layer changed.

    Args:
        report: the diff.
        metrics: the figures that changed of layers, the most telling first.
    """
    panels = tuple(filter(lambda panel: panel.pairs, (_panel(report, metric) for metric in metrics[:PANELS])))
    if not panels:
        return None
    count = sum(len(layer.names) for layer in report.layers)
    return paired.spec(
        Picture(
            title=f"{report.before} and {report.after}: what changed",
            subtitle=f"Layers and parts that changed: {count:,}. The others are equal, and not drawn.",
            sides=_sides(report),
            panels=panels,
        )
    )


def _sides(report: Diff) -> tuple[str, str]:
    if report.before == report.after:
        return "before", "after"
    return f"before: {report.before}", f"after: {report.after}"


def _panel(report: Diff, metric: str) -> Panel:
    modes = {report.before_config.run.mode, report.after_config.run.mode}
    figure = FIGURES[metric]
    pairs = sorted((pair for layer in report.layers for pair in _pairs(layer, metric)), key=_place)
    return Panel(figure.word_in(modes), unit_of(figure), tuple(pairs))


def _pairs(layer: LayerChange, metric: str) -> Iterator[Pair]:
    figure = layer.figure(metric)
    if figure is None:
        return
    note = ": ".join(filter(None, (layer.change, layer.attention.replace(CHANGED, " → "))))
    for name in layer.names:
        yield Pair(name.removeprefix(BLOCKS), figure.before, figure.after, note)


def _place(pair: Pair) -> tuple[bool, int, str]:
    """Layers by their numbers, then parts."""
    is_layer = pair.name.isdecimal()
    return not is_layer, int(pair.name) if is_layer else 0, pair.name
