"""An analysis as tables, bars and lines of text, which the terminal and Markdown lay out, each in its way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from ..config.model import EncoderConfig
from ..report import Analysis, Check, Comparison, CrossCheck, LayerReport, OpReport, PartReport, Totals
from ..units import format_bytes, format_change, format_count, format_percent, format_ratio, format_size


@dataclass(frozen=True)
class Table:
    """Rows of text under headers; `text_columns` are left-aligned, the others figures. A None row is a rule."""

    title: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...] | None, ...]
    note: str = ""
    text_columns: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class Bars:
    """Shares of 1: label, share, and the figures beside it."""

    title: str
    rows: tuple[tuple[str, float, tuple[str, ...]], ...]


@dataclass(frozen=True)
class Lines:
    """Sentences, a bullet each."""

    title: str
    rows: tuple[str, ...]


Section = Table | Bars | Lines


def heading(report: Analysis) -> tuple[str, str]:
    """Name and description; the shape of the encoder and how it is run."""
    config = report.config
    title = " - ".join(filter(None, (config.name, config.description)))
    blocks = ", then ".join(
        f"{_count(stage.depth, 'block')} of {stage.embed_dim} with {_count(stage.num_heads, 'head')}"
        for stage in config.stages
    )
    return title, (
        f"image {format_size(config.image_size)}, {_count(config.in_chans, 'channel')}, patch {config.patch_size}, grid {format_size(config.grid)}; "
        f"{blocks}; batch {config.run.batch_size}, {config.run.dtype}"
    )


def sections(report: Analysis, *, all_layers: bool, wide: bool) -> Iterator[Section]:
    """The sections of an analysis in order; where there is room (`wide`) the layers take one table, else two."""
    runs = [[layer] for layer in report.layers] if all_layers else fold(report.layers)
    versus = VS_GLOBAL if any(layer.attention == "window" for layer in report.layers) else ()
    if wide:
        yield _layer_table("Layers", runs, COST + SCORES + versus, report)
    else:
        yield _layer_table("Layers", runs, COST, report)
        yield _layer_table(
            "Score matrices, and against the same layer made global" if versus else "Score matrices",
            runs,
            SCORES + versus,
            None,
        )
    yield _totals(report)
    yield _shares(report)
    if report.findings:
        yield Lines("Findings", tuple(finding.message for finding in report.findings))


def fold(layers: Sequence[LayerReport]) -> list[list[LayerReport]]:
    """Runs of layers that differ in nothing but their place."""
    return [list(run) for _, run in groupby(layers, key=lambda layer: replace(layer, index=0, name=""))]


# -- layers --------------------------------------------------------------------------------------------------------

Column = tuple[str, Callable[[LayerReport], str]]

COST: tuple[Column, ...] = (
    (
        "attention",
        lambda layer: "global" if layer.attention == "global" else f"window {format_size(layer.window_size)}",
    ),
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


# -- the whole encoder -----------------------------------------------------------------------------------------------


def _totals(report: Analysis) -> Table:
    totals, against = report.totals, [("all global", report.comparison.vs_all_global)]
    if report.comparison.vs_all_window is not None:
        against.append(("all windowed", report.comparison.vs_all_window))
    others = [other for _, other in against]
    columns: list[Totals | Comparison] = [totals, *others]

    def row(label: str, figure: Callable[[Totals | Comparison], str]) -> tuple[str, ...]:
        return (label, *map(figure, columns))

    rows = (
        row("parameters", lambda column: f"{column.params:,}"),
        row("MACs", lambda column: f"{column.macs:,}"),
        row("FLOPs", lambda column: f"{column.flops:,}"),
        ("  relative to this", "1.00x", *(format_ratio(other.flops_ratio) for other in others)),
        row("elementwise FLOPs", lambda column: f"{column.elementwise_flops:,}"),
        row("weights", lambda column: format_bytes(column.weights_bytes)),
        row("score matrices, all layers", lambda column: format_bytes(column.attention_bytes)),
        row("peak memory", lambda column: format_bytes(column.peak_bytes)),
    )
    note = f"Peak of an inference forward, weights and input included, set at {totals.peak_at}."
    return Table("Encoder", ("", "this encoder", *(name for name, _ in against)), rows, note)


def _shares(report: Analysis) -> Bars:
    return Bars(
        "Share of FLOPs",
        tuple(
            (s.part, s.share, (format_percent(s.share), format_count(s.flops, "FLOP"))) for s in report.shares
        ),
    )


# -- operations ------------------------------------------------------------------------------------------------------

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
    places: list[PartReport | LayerReport] = [*report.parts, *report.layers]
    for place in places:
        if place.name in names:
            rows = tuple(tuple(cell(op) for _, cell in columns) for op in place.ops)
            yield Table(f"Operations of {place.name}", tuple(header for header, _ in columns), rows)


def _blank_zero(value: int, show: Callable[[int], str]) -> str:
    return show(value) if value else ""


# -- cross-check -----------------------------------------------------------------------------------------------------

MOST_DIFFERENCES = 12
CHECK_NAMES = {
    "parameters": "parameters",
    "fvcore": "fvcore",
    "flop_counter": "FlopCounterMode",
    "memory_trace": "memory trace",
}


@dataclass(frozen=True)
class Verdict:
    """One line of the cross-check."""

    name: str
    status: str
    text: str
    differences: tuple[str, ...] = ()


def verdicts(crosscheck: CrossCheck) -> list[Verdict]:
    """A line a check; one for all where none was run for one reason."""
    reasons = {check.reason for check in crosscheck.checks.values()}
    first = crosscheck.parameters
    if first.status in {"skipped", "failed"} and len(reasons) == 1:
        return [Verdict("cross-check", first.status, first.reason)]
    return [
        Verdict(CHECK_NAMES[name], check.status, _say(name, check), tuple(_differences(check)))
        for name, check in crosscheck.checks.items()
    ]


def _say(name: str, check: Check) -> str:
    if check.total is None:
        return check.reason
    what = {
        "parameters": f"{check.total:,} in {check.compared:,} tensors, by name and shape",
        "fvcore": f"{check.total:,} MACs, LayerNorm at 5 included; {check.compared:,} counts by module and kind",
        "flop_counter": f"{check.total:,} FLOPs; {check.compared:,} counts by module and kind",
        "memory_trace": f"{check.total:,} B at the peak; {check.compared:,} peaks, sums kept for backward, allocations and products in order",
    }[name]
    return f"{what}{'; counted on real tensors, as the meta device failed' if check.route == 'real' else ''}"


def _differences(check: Check) -> Iterator[str]:
    for difference in check.differences[:MOST_DIFFERENCES]:
        yield f"{difference.where} {difference.what}: derived {_figure(difference.derived)}, found {_figure(difference.found)}"
    if (more := len(check.differences) - MOST_DIFFERENCES) > 0:
        yield f"... and {more:,} more"


def _figure(value: int | str | None) -> str:
    if value is None:
        return "none"
    return f"{value:,}" if isinstance(value, int) else value


def layers_note(crosscheck: CrossCheck, config: EncoderConfig) -> str:
    """How much of the real stack was run."""
    run, depth = crosscheck.layers_run, len(config.layers)
    if not run:
        return ""
    return f"{run} of {depth} blocks run, one of each kind" if run < depth else "every block run"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
