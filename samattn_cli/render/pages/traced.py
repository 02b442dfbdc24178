"""The analysis of a traced module as tables, bars and lines of text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from itertools import groupby
from typing import Any

from ...figures import FIGURES, of
from ...records import replace
from ...reports.analysis import DeviceReport
from ...reports.traced import Against, RunReport, TracedAnalysis, TracedLayer, TracedPart
from ...units import (
    format_amount,
    format_bytes,
    format_count,
    format_ms,
    format_percent,
    format_size,
    format_things,
)
from ..elements import Bars, Lines, Page, Section, Table
from ..layers import op_tables
from ..layout import Layout
from ..options import Options
from .traced_short import in_short
from .training_rows import training_rows

Column = tuple[str, Callable[[Any], str]]
ANY_LIST = ("layers", "attentions", "ops")


def page(report: TracedAnalysis, options: Options) -> Page:
    """The whole of it."""
    title = f"{report.target} - {report.type.rpartition('.')[2]}"
    return Page(
        title,
        ", ".join(_how(report.run)),
        (*_sections(report, options), *op_tables(report, options.ops, wide=options.wide)),
        tuple(in_short(report)),
    )


def _how(run: RunReport) -> Iterator[str]:
    for name, shape in run.inputs.items():
        size = "x".join(map(str, shape))
        yield f"input {size}" if name.isdecimal() else f"{name} {size}"
    yield run.dtype
    if run.mode == "training":
        yield f"training with {run.optimizer}"
    yield "traced on the meta device" if run.route == "meta" else "traced on the CPU"


def _sections(report: TracedAnalysis, options: Options) -> Iterator[Section]:
    if report.against is not None:
        yield Lines(f"Against {report.against.config}", tuple(_against(report.against)))
    yield from _layers(report, options)
    yield _memory(report, options)
    if options.full:
        yield _totals(report)
        yield _shares(report)
    if report.training is not None:
        yield _training(report)
    if report.device is not None:
        yield _device(report)
    if report.notes:
        yield Lines("Notes", report.notes)


def _shares(report: TracedAnalysis) -> Bars:
    return Bars(
        "Share of FLOPs",
        tuple(
            (share.part, share.share, (format_percent(share.share), format_count(share.flops, "FLOP")))
            for share in report.shares
        ),
    )


def _against(against: Against) -> Iterator[str]:
    if against.equal:
        yield (
            f"equal: parameters, and the windows, FLOPs and allocations of all {format_things(against.layers, 'layer')} and of "
            "the parts next to them, operation by operation"
        )
    yield from (f"{difference.what}: {difference.text}" for difference in against.differences)


COST: tuple[Column, ...] = (
    ("class", lambda layer: layer.type),
    ("attention", lambda layer: layer.placement),
    ("grid", lambda layer: format_size(layer.grid) if layer.grid else ""),
    ("windows", lambda layer: "" if layer.windows is None else f"{layer.windows:,}"),
    ("tokens each", lambda layer: "" if layer.window_tokens is None else f"{layer.window_tokens:,}"),
    ("heads", lambda layer: "" if layer.num_heads is None else f"{layer.num_heads:,}"),
)
COUNTS: tuple[Column, ...] = tuple(
    (FIGURES[name].title, lambda place, name=name: format_count(getattr(place, name)))  # type: ignore[misc]
    for name in ("params", "macs", "flops", "elementwise_flops")
)


def _layers(report: TracedAnalysis, options: Options) -> Iterator[Table]:
    runs = _folded(report.layers, all_layers=options.all_layers)
    if runs:
        yield _table("Layers", COST if options.wide else (COST[1], *COST[3:]), runs, text_columns=(0, 1, 2))
    rows: list[tuple[str, ...] | None] = [
        (_names(run), *(cell(run[0]) for _, cell in COUNTS)) for run in runs
    ]
    rows += [None] if runs else []
    rows += [(part.name, *(cell(part) for _, cell in COUNTS)) for part in report.parts]
    rows += [None, ("total", *(cell(report.totals) for _, cell in COUNTS))]
    yield Table("Cost of each", ("", *(header for header, _ in COUNTS)), tuple(rows))


def _table(
    title: str,
    columns: Sequence[Column],
    runs: Sequence[Sequence[TracedLayer]],
    text_columns: tuple[int, ...],
) -> Table:
    rows = tuple((_names(run), *(cell(run[0]) for _, cell in columns)) for run in runs)
    return Table(title, ("layer", *(header for header, _ in columns)), rows, text_columns=text_columns)


def _folded(layers: Sequence[TracedLayer], *, all_layers: bool) -> list[list[TracedLayer]]:
    """Runs of layers that differ only in their place, and in what else is live there."""
    if all_layers:
        return [[layer] for layer in layers]

    def anywhere(layer: TracedLayer) -> TracedLayer:
        return replace(layer, index=0, name="", peak_bytes=0, training_bytes=0, training_op="")

    return [list(run) for _, run in groupby(layers, key=anywhere)]


def _names(run: Sequence[TracedPart]) -> str:
    return run[0].name if len(run) == 1 else f"{run[0].name} to {run[-1].name} ×{len(run)}"


SHORT = {"peak_bytes": "peak", "saved_bytes": "kept", "training_bytes": "training"}
"""The headers of a narrow table."""


def _at(place: TracedPart, *, training: bool, wide: bool) -> str:
    """The operation that sets the peak; in a narrow table of training without the word that nearly all have."""
    operation = (place.training_op or "") if training else place.peak_op
    return operation if wide else operation.replace(" (backward)", " (back)")


def _memory(report: TracedAnalysis, options: Options) -> Table:
    training = report.training is not None
    names = ["peak_bytes"] if options.wide or not training else []
    names += ["saved_bytes", "training_bytes"] if training else []
    columns: list[Column] = [
        (
            FIGURES[name].word if options.wide else SHORT[name],
            lambda place, name=name: format_bytes(getattr(place, name)),  # type: ignore[misc]
        )
        for name in names
    ]
    columns.append(("at", lambda place: _at(place, training=training, wide=options.wide)))
    if report.device is not None:
        columns.append(("time each", lambda place: format_ms(place.latency_ms or 0.0)))
        columns += [("bound", lambda place: place.bound or "")] if options.wide or not training else []

    def highest(run: Sequence[TracedPart]) -> TracedPart:
        return max(run, key=lambda place: place.training_bytes or place.peak_bytes)

    rows: list[tuple[str, ...] | None] = [
        (_names(run), *(cell(highest(run)) for _, cell in columns))
        for run in _folded(report.layers, all_layers=options.all_layers)
    ]
    rows += [None] if rows else []
    rows += [(part.name, *(cell(part) for _, cell in columns)) for part in report.parts]
    title = "Memory" if report.device is None else f"Memory, and time on {report.device.name}"
    note = f"{'Peak' if options.wide or not training else 'Training'}: the most bytes live in the whole module while it runs; of several layers, the highest of theirs."
    return Table(
        title, ("", *(header for header, _ in columns)), tuple(rows), note, text_columns=(0, len(names) + 1)
    )


def _totals(report: TracedAnalysis) -> Table:
    totals = report.totals
    rows = []
    for figure in of("encoder"):
        value = getattr(totals, figure.name)
        if value is not None:
            shown = f"{value:,}" if figure.is_count else format_amount(value, figure.unit)
            rows.append((figure.word_in([report.run.mode]), shown))
    note = f"Peaks include weights and inputs. In inference the peak is at {totals.peak_at}"
    note += f", in training ({report.run.optimizer}) at {totals.training_at}." if totals.training_at else "."
    return Table("Module", ("", "this module"), tuple(rows), note)


def _training(report: TracedAnalysis) -> Table:
    training = report.training
    assert training is not None  # noqa: S101 - for the type checker: the caller asks
    rows = training_rows(training, report.totals.params, weights="weights and buffers")
    note = f"The peak is at {training.peak_at}. The module is in training mode: dropout and stochastic depth run."
    return Table("Training step", ("", "this module"), rows, note)


def _device(report: TracedAnalysis) -> Lines:
    device = report.device
    assert device is not None  # noqa: S101 - for the type checker: the caller asks
    verdict = f"yes, with {format_bytes(device.spare_bytes)} to spare" if device.fits else _lacks(device)
    lines = [
        f"fits in its {device.memory_size}: {verdict} (of the {format_bytes(device.usable_bytes)} that a process can use)"
    ]
    if device.allocated_bytes is None:
        lines.append(
            "this compares the bytes of live tensors with the device's memory: what kernels and an allocator take beyond them is "
            "left out"
        )
    if device.allocated_bytes is not None and device.reserved_bytes is not None:
        allocated, reserved = map(format_bytes, (device.allocated_bytes, device.reserved_bytes))
        who = "torch's own CUDA code, in a dry run," if report.dry else "torch's allocator"
        lines.append(f"{who} allocates {allocated} and reserves {reserved}, workspaces included")
    if device.too_large:
        lines.append(f"too large for it: {', '.join(device.too_large)}")
    what = "a whole step" if report.training else "a pass"
    lines.append(f"time of {what}: {format_ms(device.latency_ms)}, by a roofline")
    return Lines(f"On {device.name} ({device.description})", tuple(lines))


def _lacks(device: DeviceReport) -> str:
    """What is missing of what the allocator reserves or, where that is not known, of what is live."""
    reserved = device.reserved_bytes
    missing = -device.spare_bytes if reserved is None else reserved - device.usable_bytes
    return f"no, it lacks {format_bytes(missing)}" if missing > 0 else "no, memory runs out"


def rows(report: TracedAnalysis) -> Iterator[dict[str, Any]]:
    """A row for each part and layer and one for the total, figures exact."""
    columns = ["row", *(field.name for field in fields(TracedLayer) if field.name not in ANY_LIST)]
    columns[columns.index("grid") : columns.index("grid") + 1] = ["grid_h", "grid_w"]
    columns.append("weights_bytes")
    for row in _rows(report):
        yield {column: row.get(column) for column in columns}


def _rows(report: TracedAnalysis) -> Iterator[dict[str, Any]]:
    for part in report.parts:
        yield {"row": "part", **vars(part)}
    for layer in report.layers:
        height, width = layer.grid or (None, None)
        yield {"row": "layer", **vars(layer), "grid_h": height, "grid_w": width}
    totals = vars(report.totals)
    yield {
        "row": "total",
        "name": report.target,
        "type": report.type,
        **totals,
        "peak_op": totals["peak_at"],
        "training_op": totals["training_at"],
    }


def chart(report: TracedAnalysis) -> dict[str, Any]:
    """Bars of each layer's cost; the parts next to the layers are drawn only if there are no layers."""
    from ..charts import bars
    from ..charts.bars import Bar
    from ..charts.scales import unit_of
    from ..charts.strip import Cost

    shown = [FIGURES["flops"], FIGURES["training_bytes" if report.training else "peak_bytes"]]
    shown += [FIGURES["latency_ms"]] if report.device else []
    costs = tuple(Cost(figure.word_in([report.run.mode]), unit_of(figure)) for figure in shown)
    layers = tuple(
        Bar(
            place.name,
            getattr(place, "attention", None) or "window",
            tuple(getattr(place, figure.name) for figure in shown),
        )
        for place in report.layers or report.parts
    )
    count = format_things(len(report.layers), "layer") if report.layers else "no layers, all parts"
    subtitle = f"{', '.join(_how(report.run))}; {count}."
    return bars.spec(bars.Picture(report.target, subtitle, costs, layers))


LAYOUT = Layout(page, rows, chart)
