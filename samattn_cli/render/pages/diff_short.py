"""The answer of a diff in short: how the cost changes, and which layers change it most."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ...figures import PEAKS
from ...reports.diff import CHANGED, Diff, FigureChange, LayerChange
from ...units import format_amount, format_things
from ..elements import GOOD, Answer
from ..shield import visible

COSTS = ("flops", "params")
LARGEST = "flops"
"""The figure of which the layers that change it most are named."""


def in_short(report: Diff, text: Callable[[FigureChange], str]) -> Iterator[Answer]:
    """Parameters and FLOPs; the peaks and, on a device, the time; the layers that change FLOPs most."""
    if not report.costs_differ:
        yield Answer(": no figure differs", GOOD, "same cost")
        return
    for names in (COSTS, *((name,) for name in (*PEAKS.values(), "latency_ms"))):
        texts = [text(each) for name in names for each in report.totals if each.metric == name]
        if any(texts):
            yield Answer(", ".join(texts))
    if layers := sorted(report.layers, key=_weight, reverse=True)[:1]:
        yield from _most(layers[0])


def _weight(layer: LayerChange) -> float:
    figure = layer.figure(LARGEST)
    return abs(figure.change) * len(layer.names) if figure else 0.0


def _most(layer: LayerChange) -> Iterator[Answer]:
    """The layers that change FLOPs most: how, and by how much together."""
    figure = layer.figure(LARGEST)
    if figure is None:
        return
    change = figure.change * len(layer.names)
    how = ", ".join(
        filter(
            None, [layer.attention.replace(CHANGED, " → "), "" if layer.change == "changed" else layer.change]
        )
    )
    what = f"{format_things(len(layer.names), 'layer')}, " if layer.indexes else ""
    amount = f"{'+' if change > 0 else '-'}{format_amount(abs(change), 'FLOP')}"
    yield Answer(
        visible(
            f"largest change: {amount} in {layer.name} ({what}{how})".replace(", )", ")").replace(" ()", "")
        )
    )
