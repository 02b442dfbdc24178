"""A calibration for a terminal: the factors, and how good they are on cases that they were not fitted to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

from rich.text import Text

from ..device.calibration import CalibrationReport, JudgedLatency, UnitCalibration
from ..device.model import ProductShares, TrafficShares
from ..reports.judgement import Errors
from ..units import format_change, format_ms, format_percent, format_things
from .elements import Table
from .formats.terminal import render_tables, to_text
from .measured import case_name
from .options import Options

SHARES = (
    "Shares of the datasheet's peak for products, then of its bandwidth (above 100 % where a cache helps), and microseconds "
    "a kernel. No time depends on a blank factor; the datasheet's value is used."
)
HALVES = (
    "The factors were fitted to every second case, in the order of mode, kernel and length; the errors are on the other "
    "cases."
)


def render_calibration(report: CalibrationReport, options: Options) -> str:
    """Where it was measured, the factors, their errors on the other cases, and those cases one by one."""
    device = report.device
    head = [
        Text(f"{device.name}{device.description and f' - {device.description}'}", "bold"),
        Text(f"calibrated by what was measured on {report.measured_on}"),
        *(Text(f"not calibrated: {reason}", "yellow") for reason in report.left_out),
        Text(),
    ]
    text = to_text(head, options) + render_tables([_factors(report)], options)
    text += to_text([Text(SHARES, "dim"), Text("\nLatency of a pass, predicted", "bold")], options)
    text += render_tables([_errors(report)], options) + to_text([Text(HALVES, "dim")], options)
    for unit in report.units:
        title = Text(f"\nThe cases in {unit.unit} that the factors were not fitted to", "bold")
        text += to_text([title], options) + render_tables([_cases(unit)], options)
    return text


def _factors(report: CalibrationReport) -> Table:
    fitted = [unit.factors for unit in report.units]
    products = [field.name for field in fields(ProductShares)]
    traffic = [field.name for field in fields(TrafficShares)]
    rows = (
        *((name, *(_share(getattr(one.compute, name)) for one in fitted)) for name in products),
        *((name, *(_share(getattr(one.memory, name)) for one in fitted)) for name in traffic),
        ("launch", *(_launch(one.launch_overhead_us) for one in fitted)),
    )
    return Table("", ("factor", *(unit.unit for unit in report.units)), rows)


def _errors(report: CalibrationReport) -> Table:
    headers = ("unit", "fitted to", "judged on", "datasheet: median", "worst", "calibrated: median", "worst")
    rows = [
        _error_row(unit.unit, unit.fitted, len(unit.judged), unit.datasheet, unit.calibrated)
        for unit in report.units
    ]
    if len(rows) > 1:
        fitted, judged = (
            sum(unit.fitted for unit in report.units),
            sum(len(unit.judged) for unit in report.units),
        )
        rows.append(_error_row("total", fitted, judged, report.datasheet, report.calibrated))
    return Table("", headers, tuple(rows))


def _error_row(unit: str, fitted: int, judged: int, *errors: Errors) -> tuple[str, ...]:
    sizes = (format_percent(size) for error in errors for size in (error.median, error.worst))
    return (unit, format_things(fitted, "case"), format_things(judged, "case"), *sizes)


def _cases(unit: UnitCalibration) -> Table:
    headers = ("case", "measured", "datasheet", "error", "calibrated", "error")
    return Table("", headers, tuple(_case_rows(unit.judged)))


def _case_rows(judged: tuple[JudgedLatency, ...]) -> Iterator[tuple[str, ...]]:
    for case in judged:
        yield (
            case_name(case.config),
            format_ms(case.measured_ms),
            format_ms(case.datasheet_ms),
            format_change(-case.datasheet_error),
            format_ms(case.calibrated_ms),
            format_change(-case.calibrated_error),
        )


def _share(share: float | None) -> str:
    return "" if share is None else format_percent(share)


def _launch(overhead_us: float | None) -> str:
    return "" if overhead_us is None else f"{overhead_us:.2f} us"
