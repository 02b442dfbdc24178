"""Predicted memory next to measured memory: the verdict, a row for each case, then the layers of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

from ...reports.judgement import MOST_ERROR, Errors, JudgedCase, JudgedPeak, Judgement
from ...units import format_bytes, format_change, format_percent, format_things
from ..elements import BAD, CAUTION, GOOD, Answer, Lines, Page, Section, Table
from ..layout import Layout
from ..measured import DRY_RUN, case_name
from ..options import Options

OF_CUDA = "Predicted: what the caching allocator hands out, with cuBLAS workspaces."
OF_CPU = "The prediction is for CUDA's kernels and allocator: on the CPU it is shown, but not judged."
OF_CUDNN = (
    "Layers with a convolution are not judged: cuDNN may take a workspace for it, which is not predicted."
)
HEADERS = ("", "case", "device", "predicted", "measured", "error", "worst layer", "")
OF_LAYERS = ("layer", "pass", "predicted", "measured", "error")


def page(report: Judgement, options: Options) -> Page:  # noqa: ARG001 - the same at any width
    """The verdict first."""
    title = f"Predicted memory against measured, {format_things(len(report.cases), 'case')}"
    return Page(title, _note(report), tuple(_sections(report)), tuple(_short(report)))


def _short(report: Judgement) -> Iterator[Answer]:
    limit = format_percent(MOST_ERROR)
    if all(case.kind == "cpu" for case in report.cases):
        yield Answer(": it was measured on a CPU, and predictions are of CUDA", CAUTION, "not judged")
    elif report.is_close:
        yield Answer(": every error that is judged", GOOD, f"within {limit}")
    else:
        yield Answer(": an error is larger", BAD, f"not within {limit}")
    yield Answer(_errors("Whole pass", report.whole_errors))
    yield Answer(_errors("Layers", report.layer_errors))


def _errors(what: str, errors: Errors) -> str:
    return f"{what}: worst {format_percent(errors.worst)}, median {format_percent(errors.median)}"


def _note(report: Judgement) -> str:
    """What was predicted, and what is not judged."""
    kinds = {case.kind for case in report.cases if case.whole}
    notes = [OF_CPU] if "cpu" in kinds else [OF_CUDA, *[DRY_RUN] * ("dry" in kinds)]
    notes += [OF_CUDNN] * any(peak.by_cudnn for case in report.cases for peak in case.layers)
    return " ".join(notes)


def _sections(report: Judgement) -> Iterator[Section]:
    numbered = list(enumerate(report.cases, 1))
    rows = tuple(_row(number, case) for number, case in numbered)
    yield Table("Cases", HEADERS, rows, text_columns=(0, 1, 2, 6))
    reasons = tuple(f"{number}: not judged: {case.message}" for number, case in numbered if not case.whole)
    if reasons:
        yield Lines("Not judged", reasons)
    for number, case in numbered:
        if case.layers:
            title = f"{number}: {case_name(case.config)}, on {case.device}"
            yield Table(title, OF_LAYERS, tuple(_layer_rows(case.layers)), text_columns=(0, 1))


def _row(number: int, case: JudgedCase) -> tuple[str, ...]:
    name, worst = (str(number), case_name(case.config), case.kind), case.worst_layer
    if case.whole is None:
        return (*name, "", "", "", "", "")
    where = (f"{worst.name} {worst.phase}", format_change(-worst.error)) if worst else ("", "")
    return (*name, *_figures(case.whole), *where)


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


def rows(report: Judgement) -> Iterator[dict[str, Any]]:
    """A row for the whole pass of each case, and for each of its layers; a case that could not be compared has one without figures."""
    for number, case in enumerate(report.cases, 1):
        first = {"case": number, "config": case.config.name, "run": case_name(case.config)}
        first |= {"device": case.device, "kind": case.kind}
        for peak in (case.whole, *case.layers):
            yield {**first, **_peak(peak), "message": case.message}


def _peak(peak: JudgedPeak | None) -> dict[str, Any]:
    return {
        "layer": peak and peak.name,
        "pass": peak and peak.phase,
        "predicted_bytes": peak and peak.predicted_bytes,
        "measured_bytes": peak and peak.measured_bytes,
        "error": peak and peak.error,
        "by_cudnn": peak and peak.by_cudnn,
    }


LAYOUT = Layout(page, rows)
