"""Published figures of memory next to predictions: the answer, the groups, each figure, and what is not reproduced."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from decimal import Decimal
from typing import Any

from ...reports.published_memory import PublishedGroup, PublishedMemory, PublishedRow
from ...units import format_change, format_percent, format_things
from ..elements import BAD, GOOD, Answer, Lines, Page, Section, Table
from ..layout import Layout
from ..options import Options

TITLE = "Published figures of GPU memory, predicted"
SUBTITLE = (
    "Memory that torch's allocator gives out, as others printed it. Nothing is fitted but one constant for each head of a detector or "
    "segmenter: on the first size, which is not compared."
)
HEADERS = ("figures", "rows", "used", "median", "worst", "bound", "")
ROW_HEADERS = ("model", "published", "predicted", "error", "step", "published step")
NOTE = (
    "Used: rows with a prediction that is not fitted. Bound: what the errors must stay within. A group that is not reproduced has none, and "
    "does not count. A step is what a row has more than the one before; the printed one is exact to one digit, since both figures are "
    "rounded by half of one. GB: as detectron2 and OpenMMLab print it, 1,000 MiB; 1 GiB for Swin V2; MB: 1 MiB, but 1,000,000 bytes for SAM 2; "
    "x: times the 14.6 GB of the first row."
)
WITHOUT_STEPS = 4
"""How many of the columns stand in a table without steps."""
FITTED = "fitted"
NOTHING = "-"
MOST_DECIMALS = 3


def page(report: PublishedMemory, options: Options) -> Page:  # noqa: ARG001 - the same at any width
    """The whole of it."""
    return Page(TITLE, SUBTITLE, tuple(_sections(report)), tuple(_short(report)))


def _short(report: PublishedMemory) -> Iterator[Answer]:
    judged = [group for group in report.groups if group.is_judged]
    outside = [group.title for group in judged if not group.is_within]
    of = f"{format_things(len(judged), 'judged group')}"
    if outside:
        yield Answer(f": {len(outside)} of {of}: {', '.join(outside)}", BAD, "outside the bound")
    else:
        yield Answer(f": all {of}", GOOD, "within the bounds")


def _sections(report: PublishedMemory) -> Iterator[Section]:
    yield Lines("Answer", tuple(_answer(report)))
    groups = tuple(map(_group_row, report.groups))
    yield Table("Groups", HEADERS, groups, NOTE, text_columns=(0, 5, 6))
    for group in report.groups:
        rows = report.rows_of(group)
        columns = len(ROW_HEADERS) if any(row.step_bytes is not None for row in rows) else WITHOUT_STEPS
        cells = tuple(_figure_row(row)[:columns] for row in rows)
        yield Table(group.title, ROW_HEADERS[:columns], cells, _source(rows))
    yield Lines("What is not predicted", tuple(f"{group.title}: {group.unknown}." for group in report.groups))


def _answer(report: PublishedMemory) -> Iterator[str]:
    judged = [group for group in report.groups if group.is_judged]
    held = sum(group.is_within for group in judged)
    figures = sum(group.compared for group in judged)
    predicted = sum(row.predicted_bytes is not None for row in report.rows)
    yield (
        f"{len(report.rows)} published figures in {len(report.groups)} groups, {predicted} of them predicted. {len(judged)} groups are "
        f"judged, by {figures} figures: {held} are within their bounds."
    )
    for group in judged:
        name = f"{group.title}: {_things(group)}"
        missed = "" if group.is_within else ", OUTSIDE its bound"
        yield f"{name}, median {_percent(group.median)}, worst {_percent(group.worst)}{missed}."
    yield f"{len(report.groups) - len(judged)} groups are not reproduced: the last section says what is unknown."


def _things(group: PublishedGroup) -> str:
    return format_things(group.compared, "figure")


def _group_row(group: PublishedGroup) -> tuple[str, ...]:
    return (
        group.title,
        str(group.rows),
        str(group.compared),
        _percent(group.median),
        _percent(group.worst),
        bound_of(group) if group.is_judged else NOTHING,
        ("within" if group.is_within else "OUTSIDE") if group.is_judged else "",
    )


def bound_of(group: PublishedGroup) -> str:
    """The bound in words: "median 0.5 %, worst 1 %"."""
    if not group.is_judged:
        return "not reproduced"
    shares = (("median", group.most_median), ("worst", group.most_worst))
    words = [f"{name} {100 * most:g} %" for name, most in shares if most is not None]
    step = group.most_step_bytes
    words += [] if step is None else [f"steps {step / group.unit_bytes:g} {group.unit}"]
    return ", ".join(words)


def _figure_row(row: PublishedRow) -> tuple[str, ...]:
    return (
        row.model,
        printed_of(row),
        in_unit(row, row.predicted_bytes),
        FITTED if row.is_fitted else NOTHING if row.error is None else format_change(-row.error),
        in_unit(row, row.step_bytes),
        in_unit(row, row.published_step_bytes),
    )


def printed_of(row: PublishedRow) -> str:
    """The published figure as printed; one with many decimals is rounded to three, and JSON has all of them."""
    decimals = min(_decimals(row), MOST_DECIMALS)
    return f"{Decimal(row.figure):.{decimals}f} {row.unit}"


def _decimals(row: PublishedRow) -> int:
    return len(row.figure.partition(".")[2])


def in_unit(row: PublishedRow, nbytes: int | None) -> str:
    """Bytes in the unit of a row, to one digit more than is printed, three at most: "20.88 GB"."""
    if nbytes is None:
        return NOTHING
    return f"{nbytes / row.unit_bytes:.{min(_decimals(row) + 1, MOST_DECIMALS)}f} {row.unit}"


def _source(rows: tuple[PublishedRow, ...]) -> str:
    """Where the figures are printed, and what is known of the run."""
    first = rows[0]
    where = ", ".join(dict.fromkeys(row.address for row in rows))
    torch = ", ".join(dict.fromkeys(row.torch for row in rows))
    return (
        f"{first.title}: {where}. Device: {first.device}; torch: {torch}. The figures are {first.includes}."
    )


def _percent(share: float | None) -> str:
    return NOTHING if share is None else format_percent(share)


def rows_of(report: PublishedMemory) -> Iterator[dict[str, Any]]:
    """A line for each figure, with its group's verdict."""
    groups = {group.name: group for group in report.groups}
    for row in report.rows:
        group = groups[row.group]
        verdict = {"is_judged": group.is_judged, "is_within": group.is_within, "unknown": group.unknown}
        yield {**asdict(row), "keys": " ".join(row.keys), **verdict}


LAYOUT = Layout(page, rows_of)
