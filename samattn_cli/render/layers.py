"""Layers, the parts next to them, and their operations as tables of text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Any

from ..figures import FIGURES, Figure, of
from ..reports.analysis import Analysis, LayerReport, OpReport
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
from .elements import Table

Column = tuple[str, Callable[[LayerReport], str]]
COUNTS = tuple(figure for figure in of("layer") if figure.is_count and figure.shown != "asked")
"""The figures that the first table shows of layers, parts and the encoder."""


def amount(figure: Figure, value: float) -> str:
    """Four digits, with a unit unless the header of the column names it."""
    return format_count(value) if figure.is_count else format_amount(value, figure.unit)


def _column(figure: Figure) -> Column:
    return figure.title, lambda layer: amount(figure, getattr(layer, figure.name))


def _grid(layer: LayerReport) -> str:
    grid, padded = format_size(layer.grid), format_size(layer.padded_grid)
    return grid if grid == padded else f"{grid} → {padded}"


COST: tuple[Column, ...] = (
    ("attention", attrgetter("placement")),
    ("grid", _grid),
    ("windows", lambda layer: f"{layer.windows:,}"),
    *map(_column, COUNTS),
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
VS_NOTE = "Compared with the same layer made global: FLOPs of QK and AV, of its attention, of the layer; score memory."


def layer_tables(report: Analysis, *, all_layers: bool, wide: bool) -> Iterator[Table]:
    """A row for each run of identical layers, or each layer; one table where there is room (`wide`), else two."""
    runs = [[layer] for layer in report.layers] if all_layers else fold(report.layers)
    versus = VS_GLOBAL if any(layer.attention == "window" for layer in report.layers) else ()
    if wide:
        yield _layer_table("Layers", runs, COST + SCORES + versus, report)
        return
    title = "Score matrices, and compared with the same layer made global" if versus else "Score matrices"
    yield _layer_table("Layers", runs, COST, report)
    yield _layer_table(title, runs, SCORES + versus, None)


RunColumn = tuple[str, Callable[[Sequence[Any]], str]]


def _run_column(figure: Figure) -> RunColumn:
    """A figure of a run: the largest of its layers, or that of each."""
    get = attrgetter(figure.name)
    if figure.combined == "max":
        return figure.word, lambda run: amount(figure, max(map(get, run)))
    return figure.word, lambda run: amount(figure, get(run[0]))


MEMORY = tuple(_run_column(figure) for figure in of("part") if figure.unit == "B" and not figure.op_keys)
"""Columns of what is live: not of bytes that operations read and write."""
TIME: tuple[RunColumn, ...] = (
    ("time each", lambda run: format_ms(run[0].latency_ms or 0.0)),
    ("bound", lambda run: run[0].bound or ""),
    ("of peak FLOP/s", lambda run: format_percent(run[0].share_of_peak or 0.0)),
)
MEMORY_NOTE = "Peak: the most bytes live in the whole encoder while the layer runs; of several layers, the highest of theirs."


def memory_table(report: Analysis, *, all_layers: bool) -> Table:
    """A row for each run of identical layers, or each layer, and each part; with times if there is a device."""
    columns = MEMORY if report.device is None else MEMORY + TIME
    runs = [[layer] for layer in report.layers] if all_layers else fold(report.layers)
    rows = [(_indexes(run), *(cell(run) for _, cell in columns)) for run in runs]
    parts = [(part.name, *(cell([part]) for _, cell in columns)) for part in report.parts]
    title = "Memory" if report.device is None else f"Memory, and time on {report.device.name}"
    return Table(title, ("layer", *(header for header, _ in columns)), (*rows, None, *parts), MEMORY_NOTE)


_anywhere = attrgetter(*(field.name for field in fields(OpReport) if field.name != "live_bytes"))
"""Read what an operation has wherever its layer stands."""


def fold(layers: Sequence[LayerReport]) -> list[list[LayerReport]]:
    """Runs of layers that differ only in their place, and in what else is live there."""

    def anywhere(layer: LayerReport) -> tuple[object, ...]:
        own = replace(layer, index=0, name="", peak_bytes=0, training_bytes=0, training_op="", ops=())
        return own, *map(_anywhere, layer.ops)

    return [list(run) for _, run in groupby(layers, key=anywhere)]


def _versus(layer: LayerReport, text: str) -> str:
    return "" if layer.attention == "global" else text


def _layer_table(
    title: str, runs: list[list[LayerReport]], columns: tuple[Column, ...], report: Analysis | None
) -> Table:
    rows: list[tuple[str, ...] | None] = [
        (_indexes(run), *(cell(run[0]) for _, cell in columns)) for run in runs
    ]
    if report is not None:
        rows += [None, *(_row(part.name, part, columns) for part in report.parts), None]
        scores = {"scores": format_bytes(report.totals.attention_bytes)}
        rows.append(_row("total", report.totals, columns, scores))
    note = VS_NOTE if columns[-len(VS_GLOBAL) :] == VS_GLOBAL else ""
    return Table(title, ("layer", *(header for header, _ in columns)), tuple(rows), note)


def _indexes(run: list[LayerReport]) -> str:
    first, last = run[0].index, run[-1].index
    return str(first) if first == last else f"{first}-{last} ×{len(run)}"


def _row(
    name: str, place: Any, columns: tuple[Column, ...], more: dict[str, str] | None = None
) -> tuple[str, ...]:
    """A part, or the encoder: its counts, under the headers of layers."""
    cells = {figure.title: amount(figure, getattr(place, figure.name)) for figure in COUNTS} | (more or {})
    return (name, *(cells.get(header, "") for header, _ in columns))


OpColumn = tuple[str, Callable[[OpReport], str]]
OPS_NARROW = ("flops", "elementwise_flops", "params", "bytes_written")
"""The figures of operations for which there is room in 80 columns, next to what is live; wide tables have all."""
LIVE = "Live: the bytes live in the whole encoder before the operation."


def op_tables(report: Any, names: Sequence[str], *, wide: bool) -> Iterator[Table]:
    """The operations of the layers and parts called `names`."""
    has_live = any(op.live_bytes is not None for place in report.layers for op in place.ops)
    columns = [*_op_columns(wide=wide), *(LIVE_COLUMNS if has_live else ())]
    for place in (*report.parts, *report.layers):
        if place.name in names:
            rows = [tuple(cell(op) for _, cell in columns) for op in place.ops]
            forward = sum(op.phase == "forward" for op in place.ops)
            phases = [*rows[:forward], None, *rows[forward:]] if forward < len(rows) else rows
            kernels = (f"{op.name}: {op.attention_kernel}." for op in place.ops if op.attention_kernel)
            headers = tuple(header for header, _ in columns)
            notes = (
                *([LIVE] if has_live else []),
                *(["Below the line: the backward."] if len(phases) > len(rows) else []),
            )
            note = " ".join((*notes, *kernels))
            yield Table(f"Operations of {place.name}", headers, tuple(phases), note)


def _op_columns(*, wide: bool) -> Iterator[OpColumn]:
    yield "op", attrgetter("name")
    if wide:
        yield "kind", attrgetter("kind")
    others = (figure.name for figure in of("op") if figure.name not in OPS_NARROW)
    for name in (*OPS_NARROW, *others) if wide else OPS_NARROW:
        yield FIGURES[name].title, partial(_amount_or_blank, FIGURES[name])


def _bytes_or_blank(name: str, op: OpReport) -> str:
    return format_bytes(value) if (value := getattr(op, name)) else ""


LIVE_COLUMNS: tuple[OpColumn, ...] = (("live", partial(_bytes_or_blank, "live_bytes")),)


def _amount_or_blank(figure: Figure, op: OpReport) -> str:
    """Nothing for a zero, which most cells are."""
    value = getattr(op, figure.name)
    return amount(figure, value) if value else ""
