"""Placements side by side: what each costs, its layers as a strip, how information flows, what was published."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from functools import partial
from typing import Any

from ...figures import FIGURES, Figure, always, named, of
from ...reports.analysis import Figures
from ...reports.flow import FlowFacts, LayerFlow
from ...reports.placements import FrontPlacement, PlacementReport, Placements, SearchReport, VsOwn
from ...units import (
    format_apart,
    format_percent,
    format_ratio,
    format_things,
    ranges,
)
from ..charts.theme import Spec
from ..elements import Lines, Page, Section, Table
from ..layers import amount
from ..layout import Layout
from ..options import Options
from .analysis import heading_of

NAME_AND_STRIP = 47
"""Columns of the narrowest terminal for names and strips together."""
SHORTEST_NAME = 13
MOST_ON_FRONT = 20
"""Rows of a front, unless all are asked for."""

SEEN = "▁▂▃▄▅▆▇"
SEEN_ALL, GLOBAL, STAGE = "█", "G", "|"

FLOW_NOTE = f"{GLOBAL}: a global layer; {SEEN[0]} to {SEEN_ALL}: mean share of the image seen after a layer."
READING = (
    "of own: divided by the figure of the config's own placement",
    "peak: of an inference pass; training: of a training step",
)
READING_FLOW = (
    "sees all: the first layer after which every token has seen the whole image",
    "run: the most consecutive layers without a global one",
    "share: the share of layers after which every token has seen the whole image",
    "after: layers after the last global one",
    "what tokens see follows from the windows alone; it says nothing about accuracy",
)
READING_ALIKE = (
    "alike: how many placements are equal in everything that the search compares; one of them is shown",
)
FACTS = {
    "first_full_context": "the first layer after which every token has seen the whole image (the earlier the better)",
    "longest_without_global": "the most consecutive layers without a global one (the fewer the better)",
}

Row = PlacementReport
Column = tuple[str, Callable[[Row], str]]


def page(report: Placements, options: Options) -> Page:
    """The placements that were asked for, then those that a search found."""
    title, shape = heading_of(report.config)
    return Page(title, shape, tuple(_sections(report, options)))


def _sections(report: Placements, options: Options) -> Iterator[Section]:
    room = _room(report)
    compared = [(_name(row, room), row) for row in report.placements]
    if len(compared) > 1 or report.search is None:
        yield _costs("Placements of global layers", compared, report, options)
        yield from _flows("Layers, and how information flows", compared, report)
        yield from _published(compared)
    if report.search is not None:
        yield from _search(report, report.search, options)
    if report.unfit or report.flow_missing:
        yield Lines("Not shown", (*report.unfit, *filter(None, [report.flow_missing])))
    if len(compared) > 1 or report.search is None or report.search.front:
        yield Lines("How to read it", tuple(_reading(report)))
    if options.all_layers:
        front = report.search.front if report.search else ()
        for name, row in (*compared, *_numbered(front, room)):
            yield _layers(name, row)


def _reading(report: Placements) -> Iterator[str]:
    yield from READING
    yield from () if report.flow_missing else READING_FLOW
    result = next((row.published for row in report.placements if row.published), None)
    if result and (len(report.placements) > 1 or report.search is None):
        yield f"published: {result.source}, {result.address}; for that model and task: it does not predict this encoder"
    yield from READING_ALIKE if report.search and report.search.front else ()


def _costs(title: str, rows: Sequence[tuple[str, Row]], report: Placements, options: Options) -> Table:
    columns = [*_cost_columns(report, wide=options.wide)]
    if any(isinstance(row, FrontPlacement) for _, row in rows):
        columns.insert(len(columns) - options.wide, ("alike", _ties))
    cells = tuple((name, *(cell(row) for _, cell in columns)) for name, row in rows)
    headers = ("placement", *(header for header, _ in columns))
    text = (0, len(columns)) if options.wide else (0,)
    on = f" on {report.device}" if report.device else ""
    return Table(f"{title}{on}", headers, cells, text_columns=text)


def _cost_columns(report: Placements, *, wide: bool) -> Iterator[Column]:
    depth = len(report.own.layers)
    yield "global", lambda row: f"{len(row.global_layers)}/{depth}"
    ratios = always("encoder")[: None if wide else 1]
    for figure in _shown(report, wide=wide):
        yield figure.title, partial(_amount, figure)
        if figure in ratios:
            yield "of own", partial(_ratio, figure)
    if wide:
        yield "global layers", lambda row: ranges(row.global_layers)


def _shown(report: Placements, *, wide: bool = False) -> Iterator[Figure]:
    """The costs that are shown: that which is searched by, the usual ones, and others where there is room."""
    by = _cost(report.search) if report.search else None
    for figure in of("encoder"):
        usual = figure.shown == "always" or (wide and figure.shown == "wide")
        if (usual or figure == by) and (report.device or not figure.needs):
            yield figure


def _cost(search: SearchReport) -> Figure:
    """The figure that a search compares; older reports have other names of it."""
    return FIGURES[named(search.cost) or search.cost]


def _amount(figure: Figure, row: Row) -> str:
    return amount(figure, getattr(row.figures, figure.name) or 0)


def _ratio(figure: Figure, row: Row) -> str:
    return format_ratio(getattr(row.vs_own, figure.over_own) or 0.0)


def _flows(
    title: str, rows: Sequence[tuple[str, Row]], report: Placements, note: str = FLOW_NOTE
) -> Iterator[Table]:
    headers = ("placement", f"layers 0-{len(report.own.layers) - 1}", "sees all", "run", "share", "after")
    cells = tuple((name, strip(row.flow.layers), *_facts(row.flow)) for name, row in rows if row.flow)
    if cells:
        yield Table(title, headers, cells, note, text_columns=(0, 1), strip_columns=(1,))


def _facts(flow: FlowFacts) -> tuple[str, ...]:
    after = flow.refined_after_last_global
    return (
        "never" if flow.first_full_context is None else str(flow.first_full_context),
        str(flow.longest_without_global),
        f"{100 * flow.global_share:.0f} %",
        "" if after is None else str(after),
    )


def _ties(row: Row) -> str:
    return f"{row.ties:,}" if isinstance(row, FrontPlacement) else ""


def strip(layers: Sequence[LayerFlow]) -> str:
    """The layers as characters: global ones marked, else the share that is seen; stages parted."""
    cells = []
    for before, layer in zip((None, *layers), layers, strict=False):
        if before is not None and before.stage != layer.stage:
            cells.append(STAGE)
        cells.append(GLOBAL if layer.attention == "global" else _seen(layer))
    return "".join(cells)


def _seen(layer: LayerFlow) -> str:
    if layer.sees_all:
        return SEEN_ALL
    return SEEN[min(int(layer.mean_share * len(SEEN)), len(SEEN) - 1)]


def _published(rows: Sequence[tuple[str, Row]]) -> Iterator[Table]:
    results = [(name, row.published) for name, row in rows if row.published is not None]
    if results:
        first = results[0][1]
        cells = tuple((name, each.strategy, *each.figures) for name, each in results)
        title = f"Published for {first.model} on {first.task}"
        yield Table(title, ("placement", "strategy", *first.measures), cells, text_columns=(0, 1))


def _search(report: Placements, search: SearchReport, options: Options) -> Iterator[Section]:
    yield Lines("Search", tuple(_searched(report, search)))
    room = _room(report)
    front = list(_numbered(search.front, room))
    if not front:
        return
    picked = front if options.all_layers else _picked(front)
    some = (
        f"{len(picked)} of {len(front)}, evenly picked (--all shows every one)"
        if len(picked) < len(front)
        else ""
    )
    yield _costs(f"Pareto front{some and f': {some}'}", picked, report, options)
    yield from _flows("Layers of the Pareto front, and how information flows", picked, report)
    if len(report.placements) == 1 and not any(row.names for _, row in front):
        own = [(_name(report.own, room), report.own)]
        yield _costs(f"The config's own placement ({_why_not_on_front(search)})", own, report, options)
        yield from _flows("Its layers", own, report, note="")


def _why_not_on_front(search: SearchReport) -> str:
    """Why the config's own placement is not on the Pareto front."""
    if search.own_is_beaten:
        return "beaten"
    return "not searched" if search.own_within else "beyond the budget"


def _searched(report: Placements, search: SearchReport) -> Iterator[str]:
    of = _numbers(search.numbers)
    if search.numbers:
        looked = f"{format_things(search.searched, 'placement')} of {of} global layers among the {format_things(search.choices, 'layer')} that can be windowed or global"
        yield f"{looked}: all were counted, none sampled"
    if search.ruled_out:
        yield f"{_numbers(search.ruled_out)} global layers: even the cheapest placement is beyond the budget"
    if search.budget:
        yield f"within {', '.join(search.budget)}: {format_things(search.within, 'placement')}"
    compared = "; ".join(FACTS[fact] for fact in search.facts)
    yield f"compared: {_cost(search).word} (the less the better); {compared}; alike: placements that are equal in these"
    if search.front:
        own = f"beaten by {_winner(report, search)}" if search.own_is_beaten else "not beaten"
        within = "" if search.own_within else ", and beyond the budget"
        yield f"the config's own placement ({ranges(report.own.global_layers) or 'none'}) is {own}{within}"


def _winner(report: Placements, search: SearchReport) -> str:
    """The placement that beats the config's own in most, and in what."""
    winners = [row for row in search.front if row.global_layers in search.beaten_by]
    if not winners:  # of an older report, which does not say
        return "one of them"
    best = max(winners, key=lambda row: len(_better(report.own, row, search)))
    others = len(winners) - 1
    winner = (
        f"{_listed(best.global_layers)} ({'; '.join(_better(report.own, best, search))}; otherwise equal)"
    )
    return f"{winner} and by {format_things(others, 'other')}" if others else winner


def _better(own: Row, other: Row, search: SearchReport) -> list[str]:
    """What is better in a placement than in the config's own: "run: 6, not 7"."""
    figure = _cost(search)
    costs = [getattr(row.figures, figure.name) for row in (other, own)]
    pairs = [(figure.word, *format_apart(figure.unit, *costs))] if costs[0] < costs[1] else []
    facts = [_facts(row.flow) if row.flow else ("", "") for row in (other, own)]
    pairs += [
        (name, *pair) for name, *pair in zip(("sees all", "run"), *facts, strict=False) if len(set(pair)) > 1
    ]
    return [f"{name}: {there}, not {here}" for name, there, here in pairs]


def _listed(layers: Sequence[int]) -> str:
    return ",".join(map(str, layers)) or "none"


def _numbers(numbers: Sequence[int]) -> str:
    return ranges(numbers) or "no"


def _numbered(front: Sequence[FrontPlacement], room: int) -> Iterator[tuple[str, Row]]:
    """Each with its layers as its name, or where they are many a number."""
    for number, row in enumerate(front, 1):
        layers = _listed(row.global_layers)
        name = layers if len(layers) <= room else f"{len(row.global_layers)} layers, #{number}"
        yield _name(row, room) if row.names else name, row


def _picked(front: Sequence[tuple[str, Row]]) -> list[tuple[str, Row]]:
    """So many, the first and the last among them."""
    last, most = len(front) - 1, MOST_ON_FRONT - 1
    return list(front) if last <= most else [front[place * last // most] for place in range(most + 1)]


def _layers(name: str, row: Row) -> Table:
    shown = [figure for figure in always("layer") if getattr(row.layers[0], figure.name) is not None]
    flows = row.flow.layers if row.flow else (None,) * len(row.layers)
    cells = tuple(
        (
            str(cost.index),
            cost.attention,
            "" if flow is None else format_percent(flow.smallest_share),
            "" if flow is None else format_percent(flow.mean_share),
            *(amount(figure, getattr(cost, figure.name)) for figure in shown),
        )
        for cost, flow in zip(row.layers, flows, strict=True)
    )
    headers = ("layer", "attention", "sees, least", "mean", *(figure.title for figure in shown))
    return Table(f"Layers of {name}", headers, cells, text_columns=(0, 1))


def _room(report: Placements) -> int:
    """Characters that a name may have next to the strip."""
    return max(SHORTEST_NAME, NAME_AND_STRIP - len(report.own.layers) - len(report.config.stages) + 1)


def _name(row: Row, room: int) -> str:
    """All its names, as far as there is room."""
    names = [name.replace(" ", "") for name in row.names]
    first, *others = [
        name if len(name) <= room else f"{name.count(',') + 1} from {name.split(',')[0]}" for name in names
    ]
    for other in others:
        first = f"{first} = {other}" if len(f"{first} = {other}") <= room else first
    return first


def rows(report: Placements) -> Iterator[dict[str, Any]]:
    """A row a placement: those compared, then the front of a search, figures exact."""
    for row in report.placements:
        yield _flat("compared", row)
    for row in report.search.front if report.search else ():
        yield _flat("front", row)


def _flat(group: str, row: Row) -> dict[str, Any]:
    published = row.published
    return {
        "row": group,
        "names": " ".join(name.replace(" ", "") for name in row.names),
        "global_layers": " ".join(map(str, row.global_layers)),
        "number_of_global_layers": len(row.global_layers),
        **{field.name: getattr(row.figures, field.name) for field in fields(Figures)},
        **{f"vs_own_{field.name}": getattr(row.vs_own, field.name) for field in fields(VsOwn)},
        **{field.name: row.flow and getattr(row.flow, field.name) for field in fields(FlowFacts)},
        "alike": row.ties if isinstance(row, FrontPlacement) else None,
        "published_for": published and published.model,
        "published": published and " / ".join(published.figures),
        "published_measures": published and " / ".join(published.measures),
        "published_source": published and published.address,
    }


def chart(report: Placements) -> Spec:
    """The strips of the placements with their costs; of a search the own placement and the front."""
    from ..charts.scales import unit_of
    from ..charts.strip import Cell, Cost, Picture, Placement, spec

    title, shape = heading_of(report.config)
    room = _room(report)
    front = list(_numbered(report.search.front if report.search else (), room))
    shown = [*((_name(row, room), row) for row in report.placements), *_picked(front)]
    figures = list(_shown(report))

    def cells(row: Row) -> tuple[Cell, ...]:
        flows = row.flow.layers if row.flow else (None,) * len(row.layers)
        return tuple(
            Cell(layer.attention, 0.0 if flow is None else flow.mean_share)
            for layer, flow in zip(row.layers, flows, strict=True)
        )

    return spec(
        Picture(
            title=f"{title}: where its global layers are",
            subtitle=shape,
            placements=tuple(
                Placement(name, cells(row), _values(row, figures), own="own" in row.names, note=_note(row))
                for name, row in shown
            ),
            costs=tuple(
                Cost(f"{figure.title} on {report.device}" if figure.needs else figure.word, unit_of(figure))
                for figure in figures
            ),
            stages=tuple(stage.depth for stage in report.config.stages),
        )
    )


def _values(row: Row, figures: Sequence[Figure]) -> tuple[float | None, ...]:
    return tuple(getattr(row.figures, figure.name) for figure in figures)


def _note(row: Row) -> str:
    """For the pointer: its global layers, and what was published for its strategy."""
    parts = [f"global: {ranges(row.global_layers) or 'none'}"]
    if result := row.published:
        figures = ", ".join(
            f"{measure} {figure}" for measure, figure in zip(result.measures, result.figures, strict=True)
        )
        parts.append(f"published for {result.model} on {result.task}: {figures} ({result.source})")
    return "; ".join(parts)


LAYOUT = Layout(page, rows, chart)
