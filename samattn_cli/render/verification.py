"""The verdicts of `samattn verify` for a terminal: a row for each config, then what differs or could not be checked."""

from __future__ import annotations

from collections.abc import Iterator

from ..reports.verification import Verification, Verified
from .crosscheck import CHECK_NAMES, STATUS_STYLES, verdicts
from .formats.parts import Column, Grid, Part, Row, line
from .formats.terminal import to_text, verdict_grid
from .options import Options


def render(report: Verification, options: Options) -> str:
    """A table of verdicts, and the details of those that are not exact."""
    columns = tuple(map(Column, ("config", *CHECK_NAMES.values(), "blocks run")))
    table = Grid(columns, tuple(map(_row, report.results)), gap=1, is_ruled=True)
    return to_text([table, *_details(report)], options)


def _row(result: Verified) -> Row:
    if result.crosscheck is None:
        statuses, blocks = ["failed"] * len(CHECK_NAMES), ""
    else:
        statuses = [check.status for check in result.crosscheck.checks.values()]
        blocks = str(result.crosscheck.layers_run or "")
    cells = (line(status, STATUS_STYLES[status]) for status in statuses)
    return Row((line(result.config), *cells, line(blocks)))


def _details(report: Verification) -> Iterator[Part]:
    for result in report.results:
        if result.crosscheck is None:
            yield line(f"\n{result.error}", "red")
        elif result.crosscheck.status != "exact":
            yield line(f"\n{result.config}", "bold")
            yield verdict_grid(each for each in verdicts(result.crosscheck) if each.status != "exact")
