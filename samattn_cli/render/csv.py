"""A report as CSV: a row for each part and layer and one for the total, figures exact, sizes as height and width."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from ..report import Analysis, LayerReport, VsGlobal
from .options import Options

LEFT_OUT = {"index", "ops", "vs_global"}
PAIRS = {"window_size", "shift_size", "grid", "padded_grid"}


def render(report: Analysis, options: Options) -> str:  # noqa: ARG001 - CSV is always whole
    """A header and a row each."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(_columns()), restval="", lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(_rows(report))
    return text.getvalue()


def _columns() -> Iterator[str]:
    yield from ("row", "index")
    for field in fields(LayerReport):
        if field.name in PAIRS:
            yield from (f"{field.name}_h", f"{field.name}_w")
        elif field.name not in LEFT_OUT:
            yield field.name
    yield "weights_bytes"
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
