"""The verdicts of `samattn verify`: those of all encoders first, a row for each, then what differs or could not be checked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...reports.verification import Verification, Verified
from ...units import format_things
from ...verdicts import CrossCheck, Status
from ..crosscheck import CHECK_NAMES, verdicts
from ..elements import BAD, CAUTION, GOOD, Answer, Lines, Page, Section, Table
from ..layout import Layout
from ..options import Options

COMPARED = (
    "parameters by name and shape, counts by module and kind, memory and products operation by operation"
)
MOST_NAMES = 6
"""Encoders that a line of the answer lists."""
WORDS: dict[Status, tuple[str, str, str]] = {
    "differs": (BAD, "differs", " from the real PyTorch stack (below)"),
    "failed": (BAD, "could not be checked", " (below)"),
    "skipped": (CAUTION, "not cross-checked", " (below)"),
    "exact": (GOOD, "exact", ": counts and memory equal those of the real PyTorch stack"),
}
"""The sign and the words of each verdict, the worst first."""


def page(report: Verification, options: Options) -> Page:
    """The verdicts; with `full`, what was compared, too."""
    title = f"{format_things(len(report.results), 'encoder')} against the real PyTorch stack"
    return Page(title, COMPARED, tuple(_sections(report, options)), tuple(_short(report)))


def _short(report: Verification) -> Iterator[Answer]:
    """A line for each verdict that an encoder has."""
    for status, (sign, word, rest) in WORDS.items():
        names = [result.config for result in report.results if result.status == status]
        if names:
            more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
            of = f": {', '.join(names[:MOST_NAMES])}{more}" if len(report.results) > 1 else ""
            yield Answer(f"{of}{rest}", sign, word)


def _sections(report: Verification, options: Options) -> Iterator[Section]:
    yield Table(
        "Checks",
        ("config", *CHECK_NAMES.values(), "blocks run"),
        tuple(map(_row, report.results)),
        text_columns=tuple(range(len(CHECK_NAMES) + 1)),
    )
    for result in report.results:
        if result.status != "exact":
            yield Lines(result.config, tuple(_details(result)))
    if options.full:
        yield _compared(report)


def _row(result: Verified) -> tuple[str, ...]:
    if result.crosscheck is None:
        return (result.config, *["failed"] * len(CHECK_NAMES), "")
    statuses = (check.status for check in result.crosscheck.checks.values())
    return (result.config, *statuses, str(result.crosscheck.layers_run or ""))


def _details(result: Verified) -> Iterator[str]:
    """What is not exact: a line for each check, and one for each difference."""
    if result.crosscheck is None:
        yield from result.error.splitlines()
        return
    for verdict in verdicts(result.crosscheck):
        if verdict.status != "exact":
            yield f"{verdict.status}: {verdict.name}: {verdict.text}"
            yield from verdict.differences


def _compared(report: Verification) -> Table:
    """The numbers behind the verdicts."""
    rows = tuple(
        (result.config, verdict.name, verdict.status, verdict.text)
        for result in report.results
        if result.crosscheck is not None
        for verdict in verdicts(result.crosscheck)
    )
    return Table(
        "What was compared", ("config", "check", "outcome", "numbers"), rows, text_columns=(0, 1, 2, 3)
    )


def rows(report: Verification) -> Iterator[dict[str, Any]]:
    """A row for each check of each encoder; all fail of an encoder that could not be loaded."""
    for result in report.results:
        found = result.crosscheck or CrossCheck.not_run("failed", result.error)
        for name, check in found.checks.items():
            yield {
                "config": result.config,
                "check": CHECK_NAMES[name],
                "status": check.status,
                "total": check.total,
                "compared": check.compared,
                "differences": len(check.differences),
                "layers_run": found.layers_run,
                "reason": check.reason,
            }


LAYOUT = Layout(page, rows)
