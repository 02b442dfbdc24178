"""How each figure of a report is known: derived, counted, traced or measured."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...reports.analysis import Analysis
from ...reports.judgement import Judgement
from ..crosscheck import CHECK_NAMES, layers_note, verdicts
from ..elements import Lines, Section, Table
from ..measured import DRY_RUN
from ..pages.analysis_evidence import measured_line

MEANINGS = {
    "derived": "worked out from the shapes of the config, without running anything",
    "counted": "counted by another tool on the real PyTorch modules, which run on shapes alone",
    "traced": "the allocations and operations of the real modules, noted while they run on shapes alone",
    "measured": "read on a device after a run",
}
"""What the words mean."""
HEADERS = ("figures", "known", "outcome", "how")
HOW = {"parameters": "counted", "fvcore": "counted", "FlopCounterMode": "counted", "memory trace": "traced"}
"""What each part of the cross-check does."""
COMPARED = {
    "parameters": "the name and the shape of each parameter of the real modules",
    "fvcore": "multiply-accumulates of each module, by kind of operation",
    "FlopCounterMode": "torch's own counts of each module, by kind of operation",
    "memory trace": "each allocation and each product of a forward and of a training step, in order",
}
"""What each part of the cross-check compares."""

WITHOUT = ("metrics", "oom")
"""Kinds of report that say themselves how their figures are known, or have none."""


def known(report: Any) -> Iterator[Section]:
    """A table of what is known how, and what the words mean."""
    if report.kind in WITHOUT:
        return
    rows = tuple(_of_judgement(report) if report.kind == "judgement" else _rows(report))
    yield _table(rows)
    used = [word for word in MEANINGS if any(row[1] == word for row in rows)]
    if used:
        yield Lines("What these words mean", tuple(f"{word}: {MEANINGS[word]}" for word in used))


def _table(rows: tuple[tuple[str, ...], ...]) -> Table:
    """Without the column of outcomes if there are none."""
    kept = [number for number in range(len(HEADERS)) if any(row[number] for row in rows)]
    cells = tuple(tuple(row[number] for number in kept) for row in rows)
    headers = tuple(HEADERS[number] for number in kept)
    return Table("How each figure is known", headers, cells, text_columns=tuple(range(len(headers))))


def _rows(report: Any) -> Iterator[tuple[str, ...]]:
    if getattr(report, "source", "") == "traced":
        yield (
            "parameters, FLOPs, memory",
            "traced",
            "",
            "every operation that the module runs, on tensors without data",
        )
    elif report.kind == "check":
        yield (
            "values of rules",
            "derived",
            "",
            "rules on measured metrics read a recording of samattn measure",
        )
    else:
        yield (
            "parameters, MACs, FLOPs, memory",
            "derived",
            "",
            "operation by operation, each allocation rounded up to 512 bytes",
        )
    if isinstance(report, Analysis):
        yield from _of_analysis(report)
    elif report.kind == "verification":
        yield from ((name, HOW[name], "", COMPARED[name]) for name in CHECK_NAMES.values())
    elif report.kind != "check":
        yield from _of_others(report)


def _of_analysis(report: Analysis) -> Iterator[tuple[str, ...]]:
    note = layers_note(report.crosscheck, report.config)
    for verdict in verdicts(report.crosscheck):
        text = "; ".join(filter(None, (verdict.text, *verdict.differences)))
        yield verdict.name, HOW.get(verdict.name, "counted"), verdict.status, text
    if note:
        yield "blocks of the cross-check", "traced", "", note
    if report.device is not None:
        yield (
            "times",
            "derived",
            "",
            "a roofline: each operation takes the longer of its compute and its memory time",
        )
    for measured in report.measured:
        yield "peak and time", "measured", measured.status, measured_line(measured, full=True)


def _of_judgement(report: Judgement) -> Iterator[tuple[str, ...]]:
    yield (
        "predicted memory",
        "derived",
        "",
        "operation by operation, through the rules of torch's memory allocator",
    )
    if any(case.kind != "dry" for case in report.cases):
        yield "measured memory", "measured", "", "by samattn measure"
    if any(case.kind == "dry" for case in report.cases):
        yield "measured memory", "traced", "", DRY_RUN


def _of_others(report: Any) -> Iterator[tuple[str, ...]]:
    if report.kind != "fit" and (getattr(report, "device", None) or getattr(report, "cards", None)):
        yield (
            "times",
            "derived",
            "",
            "a roofline: each operation takes the longer of its compute and its memory time",
        )
    if getattr(report, "measured", None):
        yield "measured peaks and times", "measured", "", "by samattn sweep --measure"
    if getattr(report, "source", "") != "traced":
        yield (
            "cross-check",
            "counted",
            "not run",
            "samattn verify CONFIG compares these figures with the real PyTorch modules",
        )
