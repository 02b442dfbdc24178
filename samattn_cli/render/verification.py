"""The verdicts of `samattn verify` for a terminal: a row for each config, then what differs or could not be checked."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from ..reports.verification import Verification, Verified
from .crosscheck import CHECK_NAMES, STATUS_STYLES, verdicts
from .formats.terminal import plain_table, to_text, verdict_grid
from .options import Options


def render(report: Verification, options: Options) -> str:
    """A table of verdicts, and the details of those that are not exact."""
    table = plain_table()
    for header in ("config", *CHECK_NAMES.values(), "blocks run"):
        table.add_column(header)
    for result in report.results:
        _add(table, result)
    return to_text([table, *_details(report)], options)


def _add(table: RichTable, result: Verified) -> None:
    if result.crosscheck is None:
        table.add_row(result.config, *(Text("failed", STATUS_STYLES["failed"]) for _ in CHECK_NAMES), "")
        return
    checks = result.crosscheck.checks.values()
    statuses = [Text(check.status, STATUS_STYLES[check.status]) for check in checks]
    table.add_row(result.config, *statuses, str(result.crosscheck.layers_run or ""))


def _details(report: Verification) -> Iterator[RenderableType]:
    for result in report.results:
        if result.crosscheck is None:
            yield Text(f"\n{result.error}", "red")
        elif result.crosscheck.status != "exact":
            yield Text(f"\n{result.config}", "bold")
            yield verdict_grid(line for line in verdicts(result.crosscheck) if line.status != "exact")
