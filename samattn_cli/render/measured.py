"""Recordings for a terminal, a row for each case."""

from __future__ import annotations

from rich.text import Text

from ..encoder.model import EncoderConfig
from ..encoder.registry import REFERENCE
from ..reports.recording import CUDA_GRAPHS, MeasuredCase, Recording
from ..units import format_bytes, format_change, format_ms, format_size
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
    """What tells a case from the others; which torch ran them all, their recording says."""
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


def _bytes(value: int | None) -> str:
    return "" if value is None else format_bytes(value)
