"""Layers and their operations as tables of text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from operator import attrgetter
from typing import Any

from ..reports.analysis import Analysis, LayerReport, OpReport, PartReport
from ..units import (
    format_bytes,
    format_change,
    format_count,
    format_ms,
    format_percent,
    format_ratio,
    format_size,
)
from .elements import Table

Column = tuple[str, Callable[[LayerReport], str]]


COST: tuple[Column, ...] = (
    ("attention", attrgetter("placement")),
    (
        "grid",
        lambda layer: (
            format_size(layer.grid)
            + ("" if layer.grid == layer.padded_grid else f" → {format_size(layer.padded_grid)}")
        ),
    ),
    ("windows", lambda layer: f"{layer.windows:,}"),
    ("params", lambda layer: format_count(layer.params)),
    ("MACs", lambda layer: format_count(layer.macs)),
    ("FLOPs", lambda layer: format_count(layer.flops)),
)
SCORES: tuple[Column, ...] = (
    ("scores/head", lambda layer: format_bytes(layer.attention_bytes_per_head)),
    ("scores", lambda layer: format_bytes(layer.attention_bytes)),
)
VS_GLOBAL: tuple[Column, ...] = (
    ("QK+AV", lambda layer: _versus(layer, format_ratio(layer.vs_global.scores_flops_ratio))),
    ("attn", lambda layer: _versus(layer, format_ratio(layer.vs_global.attention_flops_ratio))),
    ("layer", lambda layer: _versus(layer, format_ratio(layer.vs_global.layer_flops_ratio))),
    (
        "score memory",
        lambda layer: _versus(layer, format_change(layer.vs_global.attention_bytes_saving)),
    ),
)
VS_NOTE = (
    "Against the same layer made global: FLOPs of QK and AV, of its attention, of the layer; score memory."
)


def layer_tables(report: Analysis, *, all_layers: bool, wide: bool) -> Iterator[Table]:
    """A row a run of identical layers (or a layer); one table where there is room (`wide`), else two."""
    runs = [[layer] for layer in report.layers] if all_layers else fold(report.layers)
    versus = VS_GLOBAL if any(layer.attention == "window" for layer in report.layers) else ()
    if wide:
        yield _layer_table("Layers", runs, COST + SCORES + versus, report)
        return
    title = "Score matrices, and against the same layer made global" if versus else "Score matrices"
    yield _layer_table("Layers", runs, COST, report)
    yield _layer_table(title, runs, SCORES + versus, None)


RunColumn = tuple[str, Callable[[Sequence[Any]], str]]

MEMORY: tuple[RunColumn, ...] = (
    ("peak", lambda run: format_bytes(max(place.peak_bytes for place in run))),
    ("kept for backward", lambda run: format_bytes(run[0].saved_bytes)),
    ("peak in training", lambda run: format_bytes(max(place.training_bytes for place in run))),
)
TIME: tuple[RunColumn, ...] = (
    ("time each", lambda run: format_ms(run[0].latency_ms or 0.0)),
    ("bound", lambda run: run[0].bound or ""),
    ("of peak FLOP/s", lambda run: format_percent(run[0].share_of_peak or 0.0)),
)
MEMORY_NOTE = (
    "The most bytes live at once while a layer runs, the whole encoder's included; of a run its highest."
)


def memory_table(report: Analysis, *, all_layers: bool) -> Table:
    """A row a run of identical layers (or a layer), and a part; with times where there is a device."""
    columns = MEMORY if report.device is None else MEMORY + TIME
    runs = [[layer] for layer in report.layers] if all_layers else fold(report.layers)
    rows = [(_indexes(run), *(cell(run) for _, cell in columns)) for run in runs]
    parts = [(part.name, *(cell([part]) for _, cell in columns)) for part in report.parts]
    title = "Memory" if report.device is None else f"Memory, and time on {report.device.name}"
    return Table(title, ("layer", *(header for header, _ in columns)), (*rows, None, *parts), MEMORY_NOTE)


def fold(layers: Sequence[LayerReport]) -> list[list[LayerReport]]:
    """Runs of layers that differ in nothing but their place, and what is live besides them there."""

    def nowhere(layer: LayerReport) -> LayerReport:
        return replace(layer, index=0, name="", peak_bytes=0, training_bytes=0, training_op="")

    return [list(run) for _, run in groupby(layers, key=nowhere)]


def _versus(layer: LayerReport, text: str) -> str:
    return "" if layer.attention == "global" else text


def _layer_table(
    title: str, runs: list[list[LayerReport]], columns: tuple[Column, ...], report: Analysis | None
) -> Table:
    rows: list[tuple[str, ...] | None] = [
        (_indexes(run), *(cell(run[0]) for _, cell in columns)) for run in runs
    ]
    if report is not None:
        totals = report.totals
        rows += [None, *(_part_row(part, columns) for part in report.parts), None]
        rows.append(
            _sum_row("total", totals.params, totals.macs, totals.flops, columns, totals.attention_bytes)
        )
    note = VS_NOTE if columns[-len(VS_GLOBAL) :] == VS_GLOBAL else ""
    return Table(title, ("layer", *(header for header, _ in columns)), tuple(rows), note)


def _indexes(run: list[LayerReport]) -> str:
    first, last = run[0].index, run[-1].index
    return str(first) if first == last else f"{first}-{last} ×{len(run)}"


def _part_row(part: PartReport, columns: tuple[Column, ...]) -> tuple[str, ...]:
    return _sum_row(part.name, part.params, part.macs, part.flops, columns)


def _sum_row(
    name: str, params: int, macs: int, flops: int, columns: tuple[Column, ...], scores: int | None = None
) -> tuple[str, ...]:
    cells = {
        "params": format_count(params),
        "MACs": format_count(macs),
        "FLOPs": format_count(flops),
        "scores": "" if scores is None else format_bytes(scores),
    }
    return (name, *(cells.get(header, "") for header, _ in columns))


OpColumn = tuple[str, Callable[[OpReport], str]]

OP_NAME: OpColumn = ("op", lambda op: op.name)
OP_KIND: OpColumn = ("kind", lambda op: op.kind)
OPS: tuple[OpColumn, ...] = (
    ("MACs", lambda op: _blank_zero(op.macs, format_count)),
    ("FLOPs", lambda op: _blank_zero(op.flops, format_count)),
    ("elementwise", lambda op: _blank_zero(op.elementwise_flops, format_count)),
    ("params", lambda op: _blank_zero(op.params, format_count)),
    ("written", lambda op: _blank_zero(op.bytes_written, format_bytes)),
)
OPS_WIDE: tuple[OpColumn, ...] = (
    ("read", lambda op: _blank_zero(op.bytes_read, format_bytes)),
    ("kept for backward", lambda op: _blank_zero(op.saved_bytes, format_bytes)),
)


def op_tables(report: Analysis, names: Sequence[str], *, wide: bool) -> Iterator[Table]:
    """The operations of the layers and parts called `names`."""
    columns = (OP_NAME, OP_KIND, *OPS, *OPS_WIDE) if wide else (OP_NAME, *OPS)
    places: list[PartReport] = [*report.parts, *report.layers]
    for place in places:
        if place.name in names:
            rows = tuple(tuple(cell(op) for _, cell in columns) for op in place.ops)
            yield Table(f"Operations of {place.name}", tuple(header for header, _ in columns), rows)


def _blank_zero(value: int, show: Callable[[int], str]) -> str:
    return show(value) if value else ""
