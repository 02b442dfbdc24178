"""An analysis as tables, bars and lines of text, which the terminal and Markdown lay out, each in its way."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..report import Analysis, Figures
from ..units import format_bytes, format_count, format_percent, format_ratio, format_size, format_things
from .elements import Bars, Lines, Section, Table
from .layers import layer_tables

LONGEST = 10**18  # a longer number would not fit its column


def heading(report: Analysis) -> tuple[str, str]:
    """Name and description; the shape of the encoder and how it is run."""
    config = report.config
    title = " - ".join(filter(None, (config.name, config.description)))
    blocks = ", then ".join(
        f"{format_things(stage.depth, 'block')} of {stage.embed_dim} with {format_things(stage.num_heads, 'head')}"
        for stage in config.stages
    )
    return title, (
        f"image {format_size(config.image_size)}, {format_things(config.in_chans, 'channel')}, patch {config.patch_size}, grid {format_size(config.grid)}; "
        f"{blocks}; batch {config.run.batch_size}, {config.run.dtype}"
    )


def sections(report: Analysis, *, all_layers: bool, wide: bool) -> Iterator[Section]:
    """The sections of an analysis in order."""
    yield from layer_tables(report, all_layers=all_layers, wide=wide)
    yield _totals(report)
    yield _shares(report)
    if report.findings:
        yield Lines("Findings", tuple(finding.message for finding in report.findings))


def _totals(report: Analysis) -> Table:
    totals, against = report.totals, [("all global", report.comparison.vs_all_global)]
    if report.comparison.vs_all_window is not None:
        against.append(("all windowed", report.comparison.vs_all_window))
    others = [other for _, other in against]
    columns: list[Figures] = [totals, *others]

    def row(label: str, figure: Callable[[Figures], str]) -> tuple[str, ...]:
        return (label, *map(figure, columns))

    rows = (
        row("parameters", lambda column: _exact(column.params)),
        row("MACs", lambda column: _exact(column.macs)),
        row("FLOPs", lambda column: _exact(column.flops)),
        ("  relative to this", "1.00x", *(format_ratio(other.flops_ratio) for other in others)),
        row("elementwise FLOPs", lambda column: _exact(column.elementwise_flops)),
        row("weights", lambda column: format_bytes(column.weights_bytes)),
        row("all score matrices", lambda column: format_bytes(column.attention_bytes)),
        row("peak memory", lambda column: format_bytes(column.peak_bytes)),
    )
    note = f"Peak of an inference forward, weights and input included, set at {totals.peak_at}."
    return Table("Encoder", ("", "this encoder", *(name for name, _ in against)), rows, note)


def _exact(value: int) -> str:
    return f"{value:,}" if value < LONGEST else format_count(value)


def _shares(report: Analysis) -> Bars:
    return Bars(
        "Share of FLOPs",
        tuple(
            (s.part, s.share, (format_percent(s.share), format_count(s.flops, "FLOP"))) for s in report.shares
        ),
    )
