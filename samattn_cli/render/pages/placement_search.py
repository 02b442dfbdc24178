"""A search of placements: what was searched, and the Pareto front."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...reports.placements import Placements, SearchReport
from ...units import format_apart, format_things, ranges
from ..elements import Lines, Section
from ..options import Options
from .placement_tables import (
    Row,
    compared_cost,
    costs,
    facts,
    flows,
    listed,
    name_of,
    numbered,
    picked,
    room_for_names,
)

FACTS = {
    "first_full_context": "the first layer after which every token has seen the whole image (the earlier, the better)",
    "longest_without_global": "the most consecutive layers without a global one (the fewer, the better)",
}


def search_sections(report: Placements, search: SearchReport, options: Options) -> Iterator[Section]:
    """What was searched, the Pareto front, and the config's own placement if it is not on it."""
    yield Lines("Search", tuple(_searched(report, search)))
    room = room_for_names(report)
    front = list(numbered(search.front, room))
    if not front:
        return
    some = front if options.all_layers else picked(front)
    title = "Pareto front"
    if len(some) < len(front):
        title += f": {len(some)} of {len(front)}, evenly picked (--all shows every one)"
    yield costs(title, some, report, options)
    yield from flows("Layers of the Pareto front, and how information flows", some, report)
    if len(report.placements) == 1 and not any(row.names for _, row in front):
        own = [(name_of(report.own, room), report.own)]
        yield costs(f"The config's own placement ({_why_not_on_front(search)})", own, report, options)
        yield from flows("Its layers", own, report, note="")


def _why_not_on_front(search: SearchReport) -> str:
    """Why the config's own placement is not on the Pareto front."""
    if search.own_is_beaten:
        return "dominated"
    return "not searched" if search.own_within else "beyond the budget"


def _searched(report: Placements, search: SearchReport) -> Iterator[str]:
    of = _numbers(search.numbers)
    if search.numbers:
        looked = f"{format_things(search.searched, 'placement')} of {of} among the {format_things(search.choices, 'layer')} that can be windowed or global"
        yield f"{looked}: all were counted, none sampled"
    if search.refused:
        yield f"{format_things(search.refused, 'placement')} left out: {search.why_refused}"
    if search.ruled_out:
        yield f"{_numbers(search.ruled_out)}: even the cheapest placement is beyond the budget"
    if search.budget:
        yield f"within {', '.join(search.budget)}: {format_things(search.within, 'placement')}"
    compared = "; ".join(FACTS[fact] for fact in search.facts)
    yield f"compared: {compared_cost(search).word} (lower is better); {compared}; alike: placements that are equal in all of these"
    if search.front:
        own = f"dominated by {_winner(report, search)}" if search.own_is_beaten else "not dominated"
        within = "" if search.own_within else ", and beyond the budget"
        yield f"the config's own placement ({ranges(report.own.global_layers) or 'none'}) is {own}{within}"


def _winner(report: Placements, search: SearchReport) -> str:
    """The placement that dominates the config's own by most values, and by which."""
    winners = [row for row in search.front if row.global_layers in search.beaten_by]
    if not winners:  # of an older report, which does not say
        return "one of them"
    best = max(winners, key=lambda row: len(_better(report.own, row, search)))
    others = len(winners) - 1
    winner = f"{listed(best.global_layers)} ({'; '.join(_better(report.own, best, search))}; otherwise equal)"
    return f"{winner} and by {format_things(others, 'other')}" if others else winner


def _better(own: Row, other: Row, search: SearchReport) -> list[str]:
    """What is better in a placement than in the config's own: "run: 6, not 7"."""
    figure = compared_cost(search)
    values = [getattr(row.figures, figure.name) for row in (other, own)]
    pairs = [(figure.word, *format_apart(figure.unit, *values))] if values[0] < values[1] else []
    flow = [facts(row.flow) if row.flow else ("", "") for row in (other, own)]
    pairs += [
        (name, *pair) for name, *pair in zip(("sees all", "run"), *flow, strict=False) if len(set(pair)) > 1
    ]
    return [f"{name}: {there}, not {here}" for name, there, here in pairs]


def _numbers(numbers: Sequence[int]) -> str:
    """Numbers of global layers: "1 global layer", "2-4 global layers"."""
    return f"{ranges(numbers) or 'no'} global layer{'' if list(numbers) == [1] else 's'}"
