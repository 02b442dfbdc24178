"""The columns of the table of layers: what each shows of a run of layers, of a part, and of the encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

from ..figures import Figure, of
from ..records import dataclass, replace
from ..reports.analysis import Analysis, LayerReport, Totals, VsGlobal
from ..units import (
    format_amount,
    format_bytes,
    format_change,
    format_count,
    format_ms,
    format_percent,
    format_ratio,
    format_size,
)

COUNTS = tuple(figure for figure in of("layer") if figure.is_count and figure.shown != "asked")
"""The figures that the table shows of layers, parts and the encoder."""


@dataclass(frozen=True)
class Column:
    """A column of the table of layers.

    Attributes:
        header: what it is of.
        cell: its text for a run of identical layers, or for one part.
        of_parts: whether parts have it.
        of_total: its text for the encoder, if that has it.
        note: what the header means.
    """

    header: str
    cell: Callable[[Sequence[Any]], str]
    of_parts: bool = False
    of_total: Callable[[Totals], str] | None = None
    note: str = ""


def amount(figure: Figure, value: float) -> str:
    """Four digits, with a unit unless the header of the column names it."""
    return format_count(value) if figure.is_count else format_amount(value, figure.unit)


def _count(figure: Figure) -> Column:
    get = attrgetter(figure.name)
    return Column(
        figure.title,
        lambda run: amount(figure, get(run[0])),
        of_parts=True,
        of_total=lambda totals: amount(figure, get(totals)),
    )


def _grid(layer: LayerReport) -> str:
    grid, padded = format_size(layer.grid), format_size(layer.padded_grid)
    return grid if grid == padded else f"{grid} → {padded}"


def _memory(figure: Figure) -> Column:
    """A figure of a run: the largest of its layers, or that of each."""
    get = attrgetter(figure.name)
    is_peak = figure.combined == "max"
    return Column(
        figure.title,
        (lambda run: amount(figure, max(map(get, run))))
        if is_peak
        else (lambda run: amount(figure, get(run[0]))),
        of_parts=True,
        of_total=(lambda totals: amount(figure, get(totals))) if is_peak else None,
        note=PEAK_NOTE if is_peak else "",
    )


def _versus(header: str, text: Callable[[VsGlobal], str], note: str) -> Column:
    """A comparison of a windowed layer with the same layer made global."""
    return Column(
        header,
        lambda run: text(run[0].vs_global) if run[0].attention == "window" else "",
        note=note,
    )


def _of_layer(header: str, text: Callable[[LayerReport], str]) -> Column:
    return Column(header, lambda run: text(run[0]))


PEAK_NOTE = "peak, training: the most bytes live in the encoder while the layer runs."
VS_LAYER = "vs global: how many times as many FLOPs the same layer has if it is global."
VS_OTHERS = "attn, QK+AV: the same of its attention, and of its two score products; score memory: what windows change of it."
_SCORES = replace(
    _of_layer("scores", lambda layer: format_bytes(layer.attention_bytes)),
    of_total=lambda totals: format_bytes(totals.attention_bytes),
)
COLUMNS = {
    "attention": _of_layer("attention", attrgetter("placement")),
    "grid": _of_layer("grid", _grid),
    "windows": _of_layer("windows", lambda layer: f"{layer.windows:,}"),
    **{figure.name: _count(figure) for figure in COUNTS},
    "scores_per_head": _of_layer("scores/head", lambda layer: format_bytes(layer.attention_bytes_per_head)),
    "scores": _SCORES,
    "vs_layer": _versus("vs global", lambda vs: format_ratio(vs.layer_flops_ratio), VS_LAYER),
    "vs_attention": _versus("attn", lambda vs: format_ratio(vs.attention_flops_ratio), VS_OTHERS),
    "vs_scores": _versus("QK+AV", lambda vs: format_ratio(vs.scores_flops_ratio), VS_OTHERS),
    "vs_memory": _versus("score memory", lambda vs: format_change(vs.attention_bytes_saving), VS_OTHERS),
    **{f.name: _memory(f) for f in of("part") if f.unit == "B" and not f.op_keys},
    "time": Column("time each", lambda run: format_ms(run[0].latency_ms or 0.0), of_parts=True),
    "bound": Column("bound", lambda run: run[0].bound or "", of_parts=True),
    "share_of_peak": Column(
        "of peak FLOP/s", lambda run: format_percent(run[0].share_of_peak or 0.0), of_parts=True
    ),
}
"""In the order in which they are shown."""

OF_TRAINING = ("saved_bytes", "training_bytes")
OF_TIME = ("time", "bound", "share_of_peak")
DETAILS = ("scores_per_head", "vs_attention", "vs_scores", "vs_memory", "share_of_peak")
OF_WINDOWS = ("vs_layer", "vs_attention", "vs_scores", "vs_memory")
FIRST = ("attention", "flops")
THEN = ("time", "vs_layer", "scores", "grid", "params", "bound", "windows", "macs")


def columns_of(report: Analysis, *, full: bool) -> list[str]:
    """The names of the columns that say something of a report, the most important first.

    Args:
        report: the analysis.
        full: whether to name all: details too, and those of training if the run is in inference.
    """
    trains = report.config.run.mode == "training"
    peaks = ("training_bytes", "saved_bytes", "peak_bytes") if trains else ("peak_bytes",)
    without = {
        *(() if full or trains else OF_TRAINING),
        *(() if full else DETAILS),
        *(() if report.device else OF_TIME),
        *(() if any(layer.attention == "window" for layer in report.layers) else OF_WINDOWS),
    }
    return [name for name in dict.fromkeys((*FIRST, *peaks, *THEN, *COLUMNS)) if name not in without]
