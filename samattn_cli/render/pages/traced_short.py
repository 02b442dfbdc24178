"""The answer of a trace in short: what the module costs, its peak, whether it fits, whether it equals a config."""

from __future__ import annotations

from collections.abc import Iterator

from ...reports.analysis import DeviceReport
from ...reports.traced import Against, TracedAnalysis
from ...units import format_bytes, format_count, format_ms, format_things
from ..elements import BAD, GOOD, Answer
from .analysis_evidence import at_best, missing_of


def in_short(report: TracedAnalysis) -> Iterator[Answer]:
    """At most five lines, if names are not long."""
    yield Answer(_cost(report))
    yield Answer(_peak(report))
    if report.device is not None:
        yield _fits(report, report.device)
    if report.against is not None:
        yield _equals(report.against)


def _cost(report: TracedAnalysis) -> str:
    """Parameters and FLOPs, and how many layers attend globally."""
    totals, layers = report.totals, report.layers
    cost = f"batch {report.run.batch_size}: {format_count(totals.params)} parameters, {format_count(totals.flops, 'FLOP')}"
    attending = [layer for layer in layers if layer.attention is not None]
    if not attending:
        return cost
    number = sum(layer.attention == "global" for layer in attending)
    return f"{cost}; {number} of {format_things(len(layers), 'layer')} attend globally"


def _peak(report: TracedAnalysis) -> str:
    """The peak of the run's mode, and the operation that sets it."""
    totals, mode = report.totals, report.run.mode
    if totals.training_bytes is not None and totals.training_at is not None and mode == "training":
        return f"peak in training {format_bytes(totals.training_bytes)} at {totals.training_at}"
    return f"peak in {mode} {format_bytes(totals.peak_bytes)} at {totals.peak_at}"


def _fits(report: TracedAnalysis, device: DeviceReport) -> Answer:
    """Whether it fits; if so the time, if not the first layer that is too large."""
    room = f" {device.name} ({format_bytes(device.usable_bytes)})"
    if device.refused:
        return Answer(f" on {device.name}, whatever the memory: {device.refused}", BAD, "does not run")
    if device.fits:
        what = "a step" if report.training else "a pass"
        spare = f"with {format_bytes(device.spare_bytes)} to spare"
        return Answer(
            f"{room}, {spare}; {format_ms(device.latency_ms)} {what}{at_best(device)}", GOOD, "fits"
        )
    first = f", first in {device.too_large[0]}" if device.too_large else ""
    return Answer(f"{room}: {missing_of(device)}{first}", BAD, "does not fit")


def _equals(against: Against) -> Answer:
    if against.equal:
        return Answer(f" {against.config}, operation by operation", GOOD, "equal to")
    what = ", ".join(difference.what for difference in against.differences)
    return Answer(f" from {against.config} in {what} (below)", BAD, "differs")
