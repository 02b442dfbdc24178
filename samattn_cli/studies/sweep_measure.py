"""Measurements of the points of a sweep, next to their predictions."""

from __future__ import annotations

from collections.abc import Iterable

from ..encoder.model import EncoderConfig
from ..records import replace
from ..reports.recording import Fingerprint, MeasuredCase
from ..reports.sweep import MeasuredPoint, MeasuredPoints, Sweep
from .points import AXES, at


def encoders_at(report: Sweep) -> list[EncoderConfig]:
    """The encoder of each point."""
    each = report.points // len(report.configs)
    points = (
        {name: int(report.columns[name][row]) for name in AXES if name in report.columns}
        for row in range(report.points)
    )
    return [at(report.configs[row // each], point) for row, point in enumerate(points)]


def with_measured(report: Sweep, fingerprint: Fingerprint, cases: Iterable[MeasuredCase]) -> Sweep:
    """The report with measurements; `cases` are those of its points, in their order."""
    points = tuple(_point(report, row, case) for row, case in enumerate(cases))
    return replace(report, measured=MeasuredPoints(fingerprint, points))


def _point(report: Sweep, row: int, case: MeasuredCase) -> MeasuredPoint:
    times = report.columns.get("latency_ms")
    predicted_ms = None if times is None else float(times[row])
    assert case.predicted_bytes is not None  # noqa: S101 - for the type checker: each case has a prediction
    if case.measured is None:
        return MeasuredPoint(
            point=row, status=case.status, message=case.message, predicted_bytes=case.predicted_bytes
        )
    allocated, workspace = case.predicted_allocated_bytes, case.measured.workspace_bytes
    predicted = case.predicted_bytes if allocated is None else allocated
    peak = case.measured.peak_allocated_bytes - (workspace if allocated is None else 0)
    took = case.measured.latency
    return MeasuredPoint(
        point=row,
        status=case.status,
        message=case.message,
        predicted_bytes=predicted,
        peak_bytes=peak,
        peak_ratio=peak / predicted,
        predicted_ms=predicted_ms,
        latency_ms=None if took is None else took.median_ms,
        low_ms=None if took is None else took.low_ms,
        high_ms=None if took is None else took.high_ms,
        latency_ratio=None if predicted_ms is None or took is None else took.median_ms / predicted_ms,
    )
