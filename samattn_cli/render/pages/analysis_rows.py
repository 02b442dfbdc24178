"""An analysis as rows: the parts, the layers and the total, for CSV and Parquet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from ...figures import IN_MEMORY
from ...reports.analysis import Analysis, LayerReport, VsGlobal

LEFT_OUT = {"index", "ops", "vs_global"}
"""Fields of layers that no column has by itself."""
PAIRS = {"window_size", "shift_size", "grid", "padded_grid"}
"""Fields with a height and a width, a column each."""


def rows(report: Analysis) -> Iterator[dict[str, Any]]:
    """A row for each part and layer and one for the total, figures exact, sizes as height and width."""
    columns = list(_columns())
    for row in _rows(report):
        yield {column: row.get(column) for column in columns}


def _columns() -> Iterator[str]:
    yield from ("row", "index")
    for field in fields(LayerReport):
        if field.name in PAIRS:
            yield from (f"{field.name}_h", f"{field.name}_w")
        elif field.name not in LEFT_OUT:
            yield field.name
    yield "weights_bytes"
    yield from (*IN_MEMORY, "allocated_at")
    yield from (f"vs_global_{field.name}" for field in fields(VsGlobal))


def _rows(report: Analysis) -> Iterator[dict[str, Any]]:
    for part in report.parts:
        yield {"row": "part", **vars(part)}
    for layer in report.layers:
        yield {"row": "layer", **vars(layer), **_flat(layer)}
    totals = dict(vars(report.totals))
    yield {
        "row": "total",
        "name": report.config.name,
        "peak_op": totals.pop("peak_at"),
        **totals,
        "training_op": report.totals.training_at,
    }


def _flat(layer: LayerReport) -> dict[str, Any]:
    pairs = {name: getattr(layer, name) for name in PAIRS}
    heights = {f"{name}_h": pair[0] for name, pair in pairs.items()}
    widths = {f"{name}_w": pair[1] for name, pair in pairs.items()}
    ratios = {f"vs_global_{name}": value for name, value in vars(layer.vs_global).items()}
    return heights | widths | ratios
