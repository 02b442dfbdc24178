"""Recordings for a terminal, a row for each case; and predictions compared with them, by case and by layer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

from rich.text import Text

from ..encoder.model import EncoderConfig
from ..encoder.registry import REFERENCE
from ..encoder.torch_versions import NEWEST
from ..reports.judgement import MOST_ERROR, Errors, JudgedCase, JudgedPeak, Judgement
from ..reports.recording import CUDA_GRAPHS, MeasuredCase, Recording
from ..units import format_bytes, format_change, format_ms, format_percent, format_size
from .elements import Table
from .formats.terminal import render_tables, to_text
from .options import Options
from .pages.analysis import how_it_checkpoints, how_it_steps

DRY_RUN = "A dry run: torch's own CUDA code, allocations real, kernels not run; no times."
COMPILED = "Compiled: a compiled graph has no layers. Peaks are those of a pass after compilation, which takes minutes and more memory."
GRAPHS = "CUDA graphs keep their memory in a pool of their own: reserved bytes show it, and the peak of allocated bytes does not."


def compile_notes(mode: str) -> tuple[str, ...]:
    """What to know about figures of a mode of torch.compile; nothing for eager runs."""
    return (*[COMPILED] * bool(mode), *[GRAPHS] * (mode in CUDA_GRAPHS))


def case_name(config: EncoderConfig) -> str:
    """What tells a case from the others."""
    run = config.run
    words = [
        config.name,
        *[config.implementation] * (config.implementation != REFERENCE),
        format_size(config.image_size),
        run.dtype if run.autocast == "none" else f"autocast {run.autocast}",
        run.attention,
        f"batch {run.batch_size}",
        run.mode if run.mode == "inference" else f"training ({run.optimizer})",
    ]
    words += ["without no_grad"] * run.keeps_graph
    words += how_it_steps(run) if run.mode == "training" else ()
    words += [f"torch {run.torch}"] * (run.torch_version != NEWEST)
    words += [run.allocator] * bool(run.allocator)
    return " ".join([*words, *how_it_checkpoints(run), *["TF32"] * run.tf32])


def result(case: MeasuredCase) -> str:
    """The outcome of a case in a line."""
    if case.measured is None:
        predicted = f"; predicted {_bytes(predicted_of(case))}" if case.predicted_bytes else ""
        reason = f": {case.message}" if case.message and case.status != "out of memory" else ""
        return f"{case.status}{predicted}{reason}"
    took = case.measured.latency
    time = (
        f", {format_ms(took.median_ms)}"
        if took
        else f", {_bytes(case.measured.peak_reserved_bytes)} reserved"
    )
    return f"{format_bytes(case.measured.peak_allocated_bytes)}{time}"


def render_recording(recording: Recording, options: Options) -> str:
    """A row for each case, and the device they were measured on."""
    print_ = recording.fingerprint
    head = Text(
        f"{print_.device}{' (dry run)' * (print_.kind == 'dry')}: torch {print_.torch}{print_.cuda and f', CUDA {print_.cuda}'}"
        f"{print_.compiled and f', compiled ({print_.compiled})'}",
        "bold",
    )
    is_dry = print_.kind == "dry"
    has_reserved = print_.kind != "cpu"
    headers = ("", "case", "peak", "predicted", "", *(("reserved", "predicted", "") if has_reserved else ()))
    headers += () if is_dry else ("median", "10th", "90th")
    note = "Peak: bytes that torch's allocator gave out at once, weights and input included. Predicted: "
    note += "what it is predicted to take, and how far that is off" if has_reserved else "that of tensors"
    note += f". {DRY_RUN}" if is_dry else "; the median, the 10th and the 90th percentile of the latency."
    note = " ".join((note, *compile_notes(print_.compiled)))
    rows = tuple(
        _case_row(number, case, has_reserved=has_reserved)[: len(headers)]
        for number, case in enumerate(recording.cases, 1)
    )
    table = Table("", headers, rows, note, text_columns=(0, 1))
    return to_text([head, Text()], options) + render_tables([table], options)


def _case_row(number: int, case: MeasuredCase, *, has_reserved: bool) -> tuple[str, ...]:
    measured, latency = case.measured, case.measured and case.measured.latency
    peak = case.status if measured is None else _bytes(measured.peak_allocated_bytes)
    reserved = None if measured is None else measured.peak_reserved_bytes
    times = map(format_ms, (latency.median_ms, latency.low_ms, latency.high_ms)) if latency else ("", "", "")
    in_cache = (_bytes(reserved), _bytes(case.predicted_reserved_bytes), _off(case.reserved_error))
    return (
        str(number),
        case_name(case.config),
        peak,
        _bytes(predicted_of(case)),
        _off(case.error),
        *(in_cache if has_reserved else ()),
        *times,
    )


def predicted_of(case: MeasuredCase) -> int | None:
    """The prediction that is comparable with the measured peak."""
    allocated = case.predicted_allocated_bytes
    return case.predicted_bytes if allocated is None else allocated


def _off(error: float | None) -> str:
    return "" if error is None else format_change(-error)


OF_CUDNN = (
    "Layers with a convolution are not judged: cuDNN may take a workspace for it, which is not predicted."
)


def render_judgement(judgement: Judgement, options: Options) -> str:
    """The cases, then the layers of each, then the worst and the median error."""
    headers = ("", "case", "device", "predicted", "measured", "error", "worst layer", "")
    numbered = list(enumerate(judgement.cases, 1))
    rows = tuple(_judged_row(number, case) for number, case in numbered)
    text = render_tables([Table("", headers, rows, text_columns=(0, 1, 2, 6))], options)
    reasons = [Text(f"{number}: not judged: {case.message}") for number, case in numbered if not case.whole]
    text += to_text(reasons, options)
    for number, case in numbered:
        if case.layers:
            title = Text(f"\n{number}: {case_name(case.config)}, on {case.device}", "bold")
            text += to_text([title], options) + render_tables([_layer_table(case)], options)
    return text + to_text([Text(), *_summary(judgement)], options)


def _judged_row(number: int, case: JudgedCase) -> tuple[str, ...]:
    name, worst = (str(number), case_name(case.config), case.kind), case.worst_layer
    if case.whole is None:
        return (*name, "", "", "", "", "")
    where = (f"{worst.name} {worst.phase}", format_change(-worst.error)) if worst else ("", "")
    return (*name, *_figures(case.whole), *where)


def _layer_table(case: JudgedCase) -> Table:
    headers = ("layer", "pass", "predicted", "measured", "error")
    return Table("", headers, tuple(_layer_rows(case.layers)), text_columns=(0, 1))


def _layer_rows(layers: Iterable[JudgedPeak]) -> Iterator[tuple[str, ...]]:
    """Consecutive layers with the same figures share a row."""
    for (phase, *_), group in groupby(
        layers, key=lambda peak: (peak.phase, peak.predicted_bytes, peak.measured_bytes)
    ):
        peaks = list(group)
        first, last = peaks[0], peaks[-1]
        name = first.name if first is last else f"{first.name} to {last.name}"
        yield (name, phase, *_figures(first))


def _figures(peak: JudgedPeak) -> tuple[str, str, str]:
    return (
        format_bytes(peak.predicted_bytes),
        format_bytes(peak.measured_bytes),
        format_change(-peak.error),
    )


def _summary(judgement: Judgement) -> Iterator[Text]:
    yield _errors("Whole", judgement.whole_errors)
    yield _errors("Layers", judgement.layer_errors)
    kinds = {case.kind for case in judgement.cases if case.whole}
    note = "Predicted: what the caching allocator hands out, with cuBLAS workspaces."
    if "dry" in kinds:
        note += f" {DRY_RUN}"
    if "cpu" in kinds:
        note = "The prediction is for CUDA's kernels and allocator: on the CPU it is shown, but not judged."
    if any(peak.by_cudnn for case in judgement.cases for peak in case.layers):
        note += f" {OF_CUDNN}"
    yield Text(note, "dim")
    if not judgement.is_close:
        yield Text(f"An error is larger than {format_percent(MOST_ERROR)}.", "red")


def _errors(what: str, errors: Errors) -> Text:
    return Text(f"{what}: worst {format_percent(errors.worst)}, median {format_percent(errors.median)}")


def _bytes(value: int | None) -> str:
    return "" if value is None else format_bytes(value)
