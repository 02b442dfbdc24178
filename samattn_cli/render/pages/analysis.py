"""An analysis as tables, bars and lines of text, which the terminal and Markdown lay out, each in its way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from ...encoder.implementations import implementation_of
from ...encoder.model import EncoderConfig, RunConfig
from ...encoder.torch_versions import DEFAULT
from ...figures import IN_MEMORY, KINDS, KINDS_AT_PEAK, Figure, always, of
from ...reports.analysis import (
    Analysis,
    Change,
    Comparison,
    DeviceReport,
    Figures,
    Totals,
    TrainingReport,
)
from ...reports.other_sizes import in_words
from ...shell import options as options_of
from ...units import (
    format_bytes,
    format_change,
    format_count,
    format_ms,
    format_percent,
    format_ratio,
    format_side,
    format_size,
    format_things,
)
from ..elements import Bars, Lines, Page, Section, Table
from ..layer_columns import amount
from ..layers import layer_tables, op_tables
from ..layout import Layout
from ..options import Options
from .analysis_evidence import measured_line, on_device, published_line
from .analysis_rows import rows
from .communication import sent_table
from .in_short import NARROW, in_short
from .training_rows import training_rows

if TYPE_CHECKING:
    from ..charts.strip import Cost

SAID_ELSEWHERE = ("best-single-change", "what-makes-it-fit")
"""Findings that repeat the answer in short, or the table of changes."""
FIGURES_OF_CHANGE = 29
"""The width of a change's figures in the table of changes."""
OF_INFERENCE = ("global-layer-sets-peak",)
"""Findings that begin with the inference peak, which an analysis of training does not ask for."""
OF_ONE_GPU = ("padding", "saving-of-encoder", "global-layer-sets-peak", "attention-kernel")
"""Findings on windows and kernels, which hold whatever the number of GPUs is."""
REMEDIES = {"fsdp2-padding": "fsdp2-padding-remedy"}
"""Findings with a remedy that is a finding of its own, which only a full report has."""
MOST_CHANGES = 4
"""Changes that are shown, unless all are asked for; they are sorted by the peak."""
LONGEST = 10**18  # a longer number would not fit its column


def heading_of(config: EncoderConfig) -> tuple[str, str]:
    """Name and description; the shape of the encoder and how it is run."""
    title = " - ".join(filter(None, (config.name, config.description)))
    stages = (
        f"{format_things(stage.depth, 'block')} of {stage.embed_dim} with {format_things(stage.num_heads, 'head')}"
        for stage in config.stages
    )
    blocks = ", then ".join(_times(words, len(list(alike))) for words, alike in groupby(stages))
    return title, (
        f"image {format_size(config.image_size)}, {format_things(config.in_chans, 'channel')}, patch {format_side(config.patch)}, grid {format_size(config.grid)}; "
        f"{blocks}; {', '.join(how_it_runs(config))}"
    )


def _times(words: str, number: int) -> str:
    """Words for a stage, and how many like it follow each other if there are several."""
    return words if number == 1 else f"{number} times {words}"


def how_it_runs(config: EncoderConfig) -> Iterator[str]:
    """Batch, types, kernel, whose code and mode, if they are not the usual ones."""
    run, implementation = config.run, implementation_of(config)
    if implementation is not None:
        yield f"{implementation.model.model} of {implementation.model.library}"
    yield f"batch {run.batch_size}"
    yield run.dtype if run.autocast == "none" else f"{run.dtype} with autocast to {run.autocast}"
    if run.attention != "eager":
        yield f"{run.attention} attention"
    if run.keeps_graph:
        yield "inference without no_grad"
    if run.mode == "training":
        yield " and ".join([f"training with {run.optimizer}", *how_it_checkpoints(run)])
        if run.trains != "all":
            yield f"{run.trains} alone"
        yield from how_it_steps(run)
    if run.tf32:
        yield "TF32"
    if run.torch_version != DEFAULT:
        yield f"torch {run.torch}"
    if run.allocator:
        yield f"allocator {run.allocator}"


def how_it_checkpoints(run: RunConfig) -> Iterator[str]:
    """Which blocks a training step checkpoints, if any."""
    if run.checkpointing:
        which = "" if run.checkpointing is True else f" of {run.checkpointing.replace(',', ', ')}"
        yield f"checkpointing{which}"


def how_it_steps(run: RunConfig) -> Iterator[str]:
    """What is unusual about a training step."""
    if run.step == "first":
        yield "the first step"
    if run.zero_grad != "before_forward":
        yield f"gradients freed {run.zero_grad.replace('_', ' ')}"
    if run.accumulate > 1:
        yield f"{run.accumulate} micro-batches"
    if run.is_ddp:
        yield how_it_reduces(run)
    if run.is_fsdp:
        yield how_it_shards(run)
    if run.grad_scaler:
        yield "GradScaler"
    if run.ema:
        yield "a moving average of the weights"


def how_it_reduces(run: RunConfig) -> str:
    """DDP in words: over how many GPUs, with which options."""
    over = f" over {run.gpus} GPUs" if run.gpus > 1 else ""
    views = " with gradients as views of its buckets" if run.gradient_as_bucket_view else ""
    zero = ", the optimizer's state shared out (ZeRO-1)" if run.is_zero1 else ""
    return f"DDP{over}{views}{zero}"


def how_it_shards(run: RunConfig) -> str:
    """FSDP2 in words: over how many GPUs, with which policies."""
    said = [f"FSDP2 over {format_things(run.gpus, 'GPU')}"]
    if run.reshards is False:
        said.append("weights stay gathered")
    elif run.reshards is not True:
        said.append(f"resharded to {format_things(run.reshards, 'GPU')} after the forward")
    said += [
        f"{what} in {dtype}"
        for what, dtype in zip(
            ("weights gathered", "gradients reduced"), (run.param_dtype, run.reduce_dtype), strict=True
        )
        if dtype != "none"
    ]
    if run.cpu_offload:
        said.append("shards in the host's memory")
    return ", ".join(said)


def page(report: Analysis, options: Options) -> Page:
    """The whole of it but for the cross-check."""
    title, shape = heading_of(report.config)
    short = tuple(in_short(report, options))
    if options.brief:
        return Page(title, shape, (), short)
    operations = op_tables(report, options.ops, wide=options.wide)
    return Page(title, shape, (*sections(report, options), *operations), short)


def sections(report: Analysis, options: Options) -> Iterator[Section]:
    """The sections of an analysis in order."""
    yield from layer_tables(report, options)
    if findings := tuple(_findings(report, full=options.full)):
        yield Lines("Findings", findings)
    if options.full or report.communication is None:
        yield _totals(report, full=options.full)
    if options.full:
        yield _shares(report)
    if report.config.run.mode == "training":
        yield _training(report, full=options.full)
    if report.communication is not None:
        yield sent_table(report.communication, report.device)
    if report.changes:
        yield _changes(report, options)
    yield from _on_device(report, full=options.full)
    if report.other_sizes is not None and options.full:
        yield Lines("Other image sizes", tuple(in_words(report.other_sizes)))
    if report.measured:
        yield Lines("Measured", tuple(measured_line(each, full=options.full) for each in report.measured))
    if report.published and options.full:
        yield Lines("Published", tuple(map(published_line, report.published)))


def _findings(report: Analysis, *, full: bool) -> Iterator[str]:
    """The findings; unless `full`, without those that the answer in short or a table has, and without long remedies.

    Of a step on several GPUs those that hold on one as well are left out too, unless `full`.
    """
    for finding in report.findings:
        if full or finding.code not in (*SAID_ELSEWHERE, *REMEDIES.values(), *_of_others(report)):
            more = " --full says what helps." if not full and finding.code in REMEDIES else ""
            yield f"{finding.message}{more}"
    if not full and report.communication is not None:
        yield "--full adds windows and kernels, all layers global, and all windowed."


def _of_others(report: Analysis) -> tuple[str, ...]:
    """Findings on what was not asked for."""
    if report.communication is not None:
        return OF_ONE_GPU
    return OF_INFERENCE if report.config.run.mode == "training" else ()


def _named(device: DeviceReport | None) -> str:
    return "" if device is None else f", {device.name} ({device.description})"


def _on_device(report: Analysis, *, full: bool) -> Iterator[Section]:
    is_said = report.config.run.mode == "training" and not full  # with the step
    if report.device is None or is_said:
        return
    title = f"On {report.device.name} ({report.device.description})"
    yield Lines(title, tuple(on_device(report.device, report.training, full=full)))
    if report.totals.allocated_bytes and full:
        yield _allocated(report.totals, report.totals.allocated_bytes)


def _totals(report: Analysis, *, full: bool) -> Table:
    """The encoder next to others; unless `full`, its main figures in four digits."""
    totals, against = report.totals, [("all global", report.comparison.vs_all_global)]
    if report.comparison.vs_all_window is not None:
        against.append(("all windowed", report.comparison.vs_all_window))
    others = [other for _, other in against]
    columns: list[Figures] = [totals, *others]
    shown = [each for each in of("encoder") if each.name not in IN_MEMORY]
    rows = tuple(
        row
        for figure in (shown if full else [each for each in shown if each.name in _main(report)])
        for row in _rows_of(figure, report.config.run.mode, columns, others if full else ())
    )
    note = _note_of_totals(report) if full else ""
    return Table("Encoder", ("", "this encoder", *(name for name, _ in against)), rows, note)


def _main(report: Analysis) -> tuple[str, ...]:
    """The figures of the encoder that are always compared with others."""
    of_training = ("training_bytes",) if report.config.run.mode == "training" else ()
    return ("flops", *(of_training or ("peak_bytes",)), "latency_ms")


def _note_of_totals(report: Analysis) -> str:
    totals = report.totals
    how = ", ".join([report.training.optimizer, *how_it_checkpoints(report.config.run)])
    note = f"Peaks include weights and input. In inference the peak is at {totals.peak_at}, in training ({how}) at "
    note += f"{totals.training_at}."
    if report.config.run.mode == "training":
        note += " MACs and FLOPs are those of a forward."
    return note


def _rows_of(
    figure: Figure, mode: str, columns: Sequence[Figures], others: Sequence[Comparison]
) -> Iterator[tuple[str, ...]]:
    """A figure of this encoder and of others, and the ratio of theirs to this."""
    values = [getattr(column, figure.name) for column in columns]
    if not any(values):  # None, or nothing is sent
        return
    exact = _amount if others else amount
    yield (figure.word_in([mode]), *(exact(figure, value or 0) for value in values))
    if others and figure.against == "ratio":
        ratios = (getattr(other, figure.compared) or 0.0 for other in others)
        yield ("  relative to this", "1.00x", *map(format_ratio, ratios))


def _amount(figure: Figure, value: float) -> str:
    """A figure in four digits; a count in all."""
    return _exact(int(value)) if figure.is_count else amount(figure, value)


def _allocated(totals: Totals, whole: int) -> Bars:
    """What is allocated at the peak, by kind."""
    values = {KINDS[kind][0]: getattr(totals, figure) for kind, figure in KINDS_AT_PEAK.items()}
    return Bars(
        f"Allocated at the peak: {format_bytes(whole)} at {totals.allocated_at}",
        tuple(
            (word, nbytes / whole, (format_percent(nbytes / whole), format_bytes(nbytes)))
            for word, nbytes in values.items()
            if nbytes
        ),
    )


def _training(report: Analysis, *, full: bool) -> Section:
    """The bytes and FLOPs of a step; with `full`, also what the answer in short and the lines on the device have."""
    training = report.training
    rows = training_rows(training, report.totals.params, weights="weights")
    if not full:  # the answer in short has the peak
        whole = format_count(report.totals.params)
        said = {"peak": format_bytes(training.peak_bytes), "weights that train": f"{whole} of {whole}"}
        on_one = "; ".join(
            f"{name.strip()} {value}" for name, value in rows if (name, value) not in said.items()
        )
        device = report.device
        short = report.communication is not None
        of_device = () if device is None else on_device(device, training, full=False, short=short)
        title = "Training step of one GPU" if short else "Training step"
        return Lines(f"{title}{_named(device)}", (on_one, *of_device))
    note = "The rows do not add up to the peak: gradients grow while activations are freed."
    rows = (*rows, *_step_times(training))
    note = f"The peak is at {training.peak_at}. {note}"
    return Table("Training step", ("", "this encoder"), rows, note)


def _step_times(training: TrainingReport) -> Iterator[tuple[str, str]]:
    """The times of a step and of its phases, if a device was asked for."""
    times = {
        "time of the forward": training.forward_ms,
        "time of the backward": training.backward_ms,
        "  of which computed again": training.recomputed_ms or None,
        "time of the optimizer's step": training.optimizer_ms,
        "time of a whole step": training.step_ms,
    }
    yield from ((name, format_ms(time)) for name, time in times.items() if time is not None)


def _changes(report: Analysis, options: Options) -> Table:
    full = options.full
    shown = report.changes if full else report.changes[:MOST_CHANGES]
    set_ = _settings_of(shown, options)
    rows = tuple(
        (
            change.change,
            format_bytes(change.peak_bytes),
            format_change(change.peak_bytes_saving),
            *([] if change.fits is None else ["fits" if change.fits else ""]),
            setting,
        )
        for change, setting in zip(shown, set_, strict=True)
    )
    title = f"What would lower the {report.config.run.mode} peak"
    note = (
        "Without its global layers it is a different model."
        if full and any(_is_another(c) for c in report.changes)
        else ""
    )
    if others := len(report.changes) - len(shown):
        note = f"{format_things(others, 'other change')} {'lowers' if others == 1 else 'lower'} it less: --full shows them."
    columns = len(rows[0])
    last = "" if set_[0].startswith("--set") else "--set"
    headers = ("one change", "peak", *[""] * (columns - 3), last)
    return Table(title, headers, rows, note, text_columns=(0, *range(3, columns)))


def _settings_of(changes: Sequence[Change], options: Options) -> list[str]:
    """What to set for each change as options; the keys alone where a line has no room, as a setting is not broken."""
    whole = [options_of("--set", change.set) for change in changes]
    room = max(options.width, NARROW) - max(len(change.change) for change in changes) - FIGURES_OF_CHANGE
    return whole if max(map(len, whole)) <= room else [" ".join(change.set) for change in changes]


def _is_another(change: Change) -> bool:
    """Whether it sets more than how the encoder is run."""
    return not all(text.startswith("run.") for text in change.set)


def _exact(value: int) -> str:
    return f"{value:,}" if value < LONGEST else format_count(value)


def _shares(report: Analysis) -> Bars:
    return Bars(
        "Share of FLOPs",
        tuple(
            (s.part, s.share, (format_percent(s.share), format_count(s.flops, "FLOP"))) for s in report.shares
        ),
    )


def chart(report: Analysis) -> dict[str, Any]:
    """Bars of each layer's cost; the parts next to the layers are not drawn."""
    from ..charts import bars
    from ..charts.bars import Bar

    title, shape = heading_of(report.config)
    shown = [each for each in always("layer") if report.device or not each.needs]
    costs = {figure.name: _cost(figure, report) for figure in shown}
    layers = tuple(
        Bar(layer.name, layer.attention, tuple(getattr(layer, name) for name in costs))
        for layer in report.layers
    )
    subtitle = f"{shape}. Blocks alone, without {', '.join(part.name for part in report.parts)}."
    return bars.spec(bars.Picture(title, subtitle, tuple(costs.values()), layers))


def _cost(figure: Figure, report: Analysis) -> Cost:
    from ..charts.scales import unit_of
    from ..charts.strip import Cost

    on = f" on {report.device.name}" if figure.needs and report.device else ""
    return Cost(f"{figure.word_in([report.config.run.mode])}{on}", unit_of(figure))


def _memory(report: Analysis) -> dict[str, Any] | None:
    from .memory_chart import chart as drawn

    return None if report.timeline is None else drawn(report)


LAYOUT = Layout(page, rows, chart, charts={"memory": _memory})
