"""An analysis as rows: the parts, the layers and the total, for CSV and Parquet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any

from ...figures import IN_MEMORY
from ...reports.analysis import Analysis, LayerReport, VsGlobal

LEFT_OUT = {"index", "ops", "vs_global"}
"""Fields of layers that no column has by itself."""
SIZES = {"window_size", "shift_size", "grid", "padded_grid"}
"""Fields with a side for each axis, a column each."""
AXES = ("t", "h", "w")
"""The axes: frames (or depth), height and width; of an image the last two."""


def rows(report: Analysis) -> Iterator[dict[str, Any]]:
    """A row for each part and layer and one for the total, figures exact, sizes as height and width."""
    columns = list(_columns(AXES[-len(report.config.grid) :]))
    for row in _rows(report):
        yield {column: row.get(column) for column in columns}


def _columns(axes: Sequence[str]) -> Iterator[str]:
    yield from ("row", "index")
    for field in fields(LayerReport):
        if field.name in SIZES:
            yield from (f"{field.name}_{axis}" for axis in axes)
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
    axes = AXES[-len(layer.grid) :]
    sides = {
        f"{name}_{axis}": side
        for name in SIZES
        for axis, side in zip(axes, getattr(layer, name), strict=True)
    }
    ratios = {f"vs_global_{name}": value for name, value in vars(layer.vs_global).items()}
    return sides | ratios
