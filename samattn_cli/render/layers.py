"""Layers, the parts next to them, and their operations as tables of text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import groupby, takewhile
from operator import attrgetter
from typing import Any

from ..figures import FIGURES, Figure, of
from ..records import fields, replace
from ..reports.analysis import Analysis, LayerReport, OpReport
from ..units import format_bytes
from .elements import Table
from .layer_columns import COLUMNS, amount, columns_of
from .options import Options

LEAST_TURNS = 4
"""Layers of two kinds that take turns are shown in two rows from this number on."""
GAP = 2
"""Spaces between two columns."""


def layer_tables(report: Analysis, options: Options) -> Iterator[Table]:
    """A row for each run of identical layers, or each layer, each part and the encoder.

    One table has the most important columns for which there is room; with `full`, further tables have the others.
    """
    runs = [[layer] for layer in report.layers] if options.all_layers else fold(report.layers)
    rest, title = columns_of(report, full=options.full), "Layers"
    if report.device is not None:
        title += f", and time on {report.device.name}"
    while rest:
        table, rest = _table_within(options.width, title, rest, runs, report)
        yield table
        if not options.full:
            return
        title = "Layers, continued"


def _table_within(
    width: int, title: str, names: list[str], runs: list[list[LayerReport]], report: Analysis
) -> tuple[Table, list[str]]:
    """A table of the first columns that fit a width, and the names of those that do not."""
    labels = ["layer", *map(_indexes, runs), *(part.name for part in report.parts), "total"]
    left, taken = width - max(map(len, labels)), list[str]()
    for name in names:
        needs = GAP + max(map(len, _cells(name, runs, report)))
        if needs <= left or not taken:
            left -= needs
            taken.append(name)
    return _table(title, taken, runs, report), [name for name in names if name not in taken]


def _cells(name: str, runs: list[list[LayerReport]], report: Analysis) -> list[str]:
    """The texts of a column: its header, each run, each part, the encoder."""
    column = COLUMNS[name]
    parts = [column.cell([part]) if column.of_parts else "" for part in report.parts]
    total = column.of_total(report.totals) if column.of_total else ""
    return [column.header, *map(column.cell, runs), *parts, total]


def _table(title: str, taken: list[str], runs: list[list[LayerReport]], report: Analysis) -> Table:
    names = [name for name in COLUMNS if name in taken]
    headers, *cells = zip(*(_cells(name, runs, report) for name in names), strict=True)
    of_layers = zip(map(_indexes, runs), cells, strict=False)
    of_parts = zip((part.name for part in report.parts), cells[len(runs) :], strict=False)
    rows: list[tuple[str, ...] | None] = [(label, *row) for label, row in of_layers]
    if any(COLUMNS[name].of_parts for name in names):
        rows += [(label, *row) for label, row in of_parts]
    if any(cells[-1]):
        rows.append(("total", *cells[-1]))
    notes = dict.fromkeys(COLUMNS[name].note for name in names if COLUMNS[name].note)
    return Table(title, ("layer", *headers), tuple(rows), " ".join(notes))


def _indexes(run: list[LayerReport]) -> str:
    first, last = run[0].index, run[-1].index
    if last - first >= len(run):
        return f"{first},{run[1].index}..{last} ×{len(run)}"
    return str(first) if first == last else f"{first}-{last} ×{len(run)}"


_anywhere = attrgetter(*(field.name for field in fields(OpReport) if field.name != "live_bytes"))
"""Read what an operation has wherever its layer stands."""


def fold(layers: Sequence[LayerReport]) -> list[list[LayerReport]]:
    """Runs of layers that differ only in their place, and in what else is live there.

    Where two kinds of layers take turns, such as windows and shifted windows, the layers of each kind are one run.
    """
    operations: dict[
        int, tuple[object, ...]
    ] = {}  # by the identity of a layer's operations, which equal layers share

    def anywhere(layer: LayerReport) -> tuple[object, ...]:
        own = replace(layer, index=0, name="", peak_bytes=0, training_bytes=0, training_op="", ops=())
        if id(layer.ops) not in operations:
            operations[id(layer.ops)] = tuple(map(_anywhere, layer.ops))
        return own, operations[id(layer.ops)]

    runs = [(key, list(run)) for key, run in groupby(layers, key=anywhere)]
    folded: list[list[LayerReport]] = []
    while runs:
        turns = _turns(runs)
        if turns < LEAST_TURNS:
            folded.append(runs.pop(0)[1])
            continue
        folded += [[layer for _, run in runs[start:turns:2] for layer in run] for start in (0, 1)]
        del runs[:turns]
    return folded


def _turns(runs: Sequence[tuple[object, list[LayerReport]]]) -> int:
    """How many runs at the beginning are one layer each, of two kinds that take turns."""
    turns = takewhile(
        lambda place: len(runs[place][1]) == 1 and runs[place][0] == runs[place % 2][0], range(len(runs))
    )
    return len(list(turns))


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
