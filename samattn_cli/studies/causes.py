"""Why a figure differs between two encoders: a line for each key that changed, and for each layer that contributes."""

from __future__ import annotations

from collections.abc import Iterator

from ..figures import FIGURES
from ..metric_names import figure_in, path_of, unit_of
from ..reports.diff import CHANGED, Diff, FigureChange, LayerChange, PeakChange
from ..units import format_apart

MOST_LINES = 8
MOST_KEYS = 4


def causes(diff: Diff, metric: str) -> tuple[str, ...]:
    """Why a metric changed: config keys, what sets the peak, then layers, from the largest contribution to the smallest.

    Args:
        diff: both encoders.
        metric: as thresholds name it: "flops", "peak_memory", "layers.7.flops", or a path into an analysis. The causes
            of a ratio or saving are those of its figure.
    """
    path = path_of(metric, training=diff.after_config.run.mode == "training")
    figure = figure_behind(path)
    keys = [change.text for change in diff.keys]
    lines = _some(keys, MOST_KEYS, "more keys")
    peak = next((peak for peak in diff.peaks if peak.metric == figure), None)
    if peak is not None:
        lines += _peak(diff, peak)
    if figure and FIGURES[figure].combined == "max":
        by_layer = FIGURES[figure].causes
        figure = next((each for each in by_layer if any(layer.figure(each) for layer in diff.layers)), figure)
    layers = list(_layers(diff, path, figure))
    return tuple(lines + _some(layers, MOST_LINES - len(lines), "more"))


def figures_of_causes(metric: str, *, training: bool) -> tuple[str, ...]:
    """The figures by which `causes` explains a metric."""
    figure = figure_behind(path_of(metric, training=training))
    return (figure, *FIGURES[figure].causes) if figure else ()


def figure_behind(path: str) -> str:
    """The figure that explains a change of the number at a path into an analysis.

    It is a figure of layers, or a peak. Counts and ratios are explained by FLOPs; "" if layers have no figure in the
    unit of the number.
    """
    figure = figure_in(path, "layer") or figure_in(path) or figure_in(path, "op")
    if figure is None:
        return "" if unit_of(path) else "flops"
    return figure.causes[0] if figure.causes and figure.combined == "sum" else figure.name


def _some(lines: list[str], most: int, what: str) -> list[str]:
    if len(lines) <= most:
        return lines
    return [*lines[: most - 1], f"and {len(lines) - most + 1} {what}"]


def _peak(diff: Diff, peak: PeakChange) -> Iterator[str]:
    total = next(total for total in diff.totals if total.metric == peak.metric)
    if total.before is None or total.after is None or not total.change:
        return
    was, now = format_apart(unit_of(peak.metric), total.before, total.after)
    if peak.before == peak.after:
        yield f"{peak.metric}: {total.text} at {peak.after}"
    else:
        yield f"{peak.metric}: {was} at {peak.before}{CHANGED}{now} at {peak.after}"


def _layers(diff: Diff, path: str, figure: str) -> Iterator[str]:
    concerned = [
        (layer, change)
        for layer in diff.layers
        if _concerns(path, layer) and (change := layer.figure(figure)) is not None
    ]
    growth = sum(change.change * len(layer.names) for layer, change in concerned)
    worst = sorted(
        concerned, key=lambda pair: -pair[1].change * len(pair[0].names) * (1 if growth >= 0 else -1)
    )
    yield from (_line(layer, change) for layer, change in worst)


def _concerns(path: str, layer: LayerChange) -> bool:
    """Whether a path leads to a number of this layer, or of the whole encoder."""
    root, _, rest = path.partition(".")
    place = rest.partition(".")[0]
    if root == "layers" and place.isdecimal():
        return int(place) in layer.indexes
    if root == "layers":
        return place in layer.attention
    return root != "parts" or place in layer.names


def _line(layer: LayerChange, change: FigureChange) -> str:
    each = " each" if len(layer.names) > 1 else ""
    verb = "" if layer.change == "changed" else f"{layer.change}, "
    attention = layer.attention if CHANGED in layer.attention or layer.change != "changed" else ""
    what = " ".join(filter(None, (FIGURES[change.metric].tag, change.text)))
    return f"{layer.name}: {verb}{what}{each}{f' ({attention})' if attention else ''}"
