"""Published figures of memory next to predictions, as tables of README.md (`summary`) and tests/README.md (`rows`)."""

from __future__ import annotations

from collections.abc import Iterator

from samattn_cli.render.pages.published_memory import NOTHING, bound_of, in_unit, printed_of
from samattn_cli.reports.published_memory import PublishedMemory, PublishedRow
from samattn_cli.studies.published_memory import published_memory

SUMMARY_HEADER = """| judged | rows | used | median | worst | bound |
| :-- | --: | --: | --: | --: | :-- |
"""
HEADER = """| figures | model | published | predicted | error | step | published step | source |
| :-- | :-- | --: | --: | --: | --: | --: | :-- |
"""
UNKNOWN = """What is in the figures and is not predicted:

"""


def summary(report: PublishedMemory | None = None) -> Iterator[str]:
    """A row for each judged group."""
    for group in (report or published_memory()).groups:
        if group.is_judged:
            yield (
                f"| {group.title} | {group.rows} | {group.compared} | {group.median:.2%} | {group.worst:.2%} | "
                f"{bound_of(group)} |"
            )


def rows(report: PublishedMemory | None = None) -> Iterator[str]:
    """A row for each figure."""
    report = report or published_memory()
    titles = {group.name: group.title for group in report.groups}
    for row in report.rows:
        cells = (
            titles[row.group],
            row.model,
            printed_of(row),
            in_unit(row, row.predicted_bytes),
            _error(row),
            in_unit(row, row.step_bytes),
            in_unit(row, row.published_step_bytes),
            f"[{row.title}]({row.address})",
        )
        yield f"| {' | '.join(cells)} |"


def unknown(report: PublishedMemory | None = None) -> Iterator[str]:
    """What is not predicted, a line for each group."""
    for group in (report or published_memory()).groups:
        yield f"- **{group.title}**{'' if group.is_judged else ' (not reproduced)'}: {group.unknown}."


def _error(row: PublishedRow) -> str:
    if row.is_fitted:
        return "fitted"
    return NOTHING if row.error is None else f"{row.error:+.2%}"
