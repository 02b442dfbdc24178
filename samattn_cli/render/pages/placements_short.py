"""The answer of a comparison of placements in short: the cheapest, the cheapest that sees all, the least memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...figures import FIGURES, PEAKS
from ...reports.placements import Placements, SearchReport
from ...units import format_amount, format_ratio
from ..elements import CAUTION, GOOD, Answer
from .placement_tables import Row, listed, name_of, room_for_names


def in_short(report: Placements) -> Iterator[Answer]:
    """At most five lines."""
    if len(report.placements) > 1:
        yield from _of_compared(report, report.placements)
    if report.search is not None and report.search.front:
        yield from _of_search(report.search)


def _of_search(search: SearchReport) -> Iterator[Answer]:
    """Whether another placement of the search is at least as good as the own one in everything, and better in something."""
    of = f"of {_placements(search.searched)}"
    if search.own_is_beaten:
        others = f" and {len(search.beaten_by) - 1} more" if len(search.beaten_by) > 1 else ""
        verb = "beat" if others else "beats"
        which = f"{listed(search.beaten_by[0])}{others}"
        yield Answer(f": {which} {verb} the config's placement ({of})", CAUTION, "not on the Pareto front")
    elif search.own_within:
        yield Answer(f": none {of} beats the config's placement", GOOD, "on the Pareto front")


def _placements(number: int) -> str:
    return f"{number:,} placement{'' if number == 1 else 's'}"


def _of_compared(report: Placements, rows: Sequence[Row]) -> Iterator[Answer]:
    """The cheapest in FLOPs or, on a device, in time, and the cheapest of those that see the whole image."""
    cost = "latency_ms" if report.device else "flops"
    cheapest = min(rows, key=lambda row: getattr(row.figures, cost))
    word = FIGURES[cost].word_in([report.config.run.mode])
    yield Answer(f"least {word}: {_named(report, cheapest, cost)}{_sees(cheapest)}")
    seeing = [row for row in rows if row.flow is not None and row.flow.first_full_context is not None]
    if seeing and cheapest not in seeing:
        best = min(seeing, key=lambda row: getattr(row.figures, cost))
        yield Answer(f"least {word} where every token sees all: {_named(report, best, cost)}")
    where = "" if not seeing else " where every token sees all" if cheapest in seeing else " of these"
    lightest = min(seeing or rows, key=lambda row: row.figures.training_bytes)
    yield Answer(f"least training peak{where}: {_named(report, lightest, PEAKS['training'])}")


def _named(report: Placements, row: Row, metric: str) -> str:
    """A placement, its cost, and that over the cost of the config's own."""
    value, own = getattr(row.figures, metric), getattr(report.own.figures, metric)
    ratio = f", {format_ratio(value / own)} of own" if own else ""
    return f"{name_of(row, room_for_names(report))} ({format_amount(value, FIGURES[metric].unit)}{ratio})"


def _sees(row: Row) -> str:
    """That tokens do not see the whole image."""
    never = row.flow is not None and row.flow.first_full_context is None
    return "; tokens do not see all" if never else ""
