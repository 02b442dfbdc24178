"""Placements in tables: what they are called, what each costs, and how information flows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from ...figures import FIGURES, Figure, always, named, of
from ...reports.flow import FlowFacts, LayerFlow
from ...reports.placements import FrontPlacement, PlacementReport, Placements, SearchReport
from ...units import format_ratio, ranges
from ..elements import Table
from ..layer_columns import amount
from ..options import Options

NAME_AND_STRIP = 47
"""Columns of the narrowest terminal for names and strips together."""
SHORTEST_NAME = 13
MOST_ON_FRONT = 20
"""Rows of a front, unless all are asked for."""

SEEN = "▁▂▃▄▅▆▇"
SEEN_ALL, GLOBAL, CHANNEL, STAGE = "█", "G", "C", "|"

FLOW_NOTE = f"{GLOBAL}: a global layer; {SEEN[0]} to {SEEN_ALL}: mean share of the image seen after a layer."

KINDS = {"global": GLOBAL, "channel": CHANNEL}
"""The characters of layers that are not shown by the share that they see."""

CHANNEL_NOTE = f"{CHANNEL}: a layer over channels, whose scores are sums over the whole image."
"""Added to the note of a table with such layers."""

Row = PlacementReport
Column = tuple[str, Callable[[Row], str]]


# -- names -----------------------------------------------------------------------------------------------------------


def room_for_names(report: Placements) -> int:
    """Characters that a name may have next to the strip."""
    return max(SHORTEST_NAME, NAME_AND_STRIP - len(report.own.layers) - len(report.config.stages) + 1)


def name_of(row: Row, room: int) -> str:
    """Its names, as many as there is room for."""
    names = [name.replace(" ", "") for name in row.names]
    first, *others = [
        name if len(name) <= room else f"{name.count(',') + 1} from {name.split(',')[0]}" for name in names
    ]
    for other in others:
        first = f"{first} = {other}" if len(f"{first} = {other}") <= room else first
    return first


def numbered(front: Sequence[FrontPlacement], room: int) -> Iterator[tuple[str, Row]]:
    """Each placement with its name: its layers, or a number if they are many."""
    for number, row in enumerate(front, 1):
        layers = listed(row.global_layers)
        name = layers if len(layers) <= room else f"{len(row.global_layers)} layers, #{number}"
        yield name_of(row, room) if row.names else name, row


def listed(layers: Sequence[int]) -> str:
    """Indexes of layers, as options take them."""
    return ",".join(map(str, layers)) or "none"


def picked(front: Sequence[tuple[str, Row]]) -> list[tuple[str, Row]]:
    """At most `MOST_ON_FRONT`, with the first and the last."""
    last, most = len(front) - 1, MOST_ON_FRONT - 1
    return list(front) if last <= most else [front[place * last // most] for place in range(most + 1)]


# -- costs -----------------------------------------------------------------------------------------------------------


def costs(title: str, rows: Sequence[tuple[str, Row]], report: Placements, options: Options) -> Table:
    """A row for each placement with its costs."""
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
    for figure in shown(report, wide=wide):
        yield figure.title, partial(_amount, figure)
        if figure in ratios:
            yield "of own", partial(_ratio, figure)
    if wide:
        yield "global layers", lambda row: ranges(row.global_layers)


def shown(report: Placements, *, wide: bool = False) -> Iterator[Figure]:
    """The costs to show: the one that a search compares, the usual ones, and others if there is room."""
    by = compared_cost(report.search) if report.search else None
    for figure in of("encoder"):
        usual = figure.shown == "always" or (wide and figure.shown == "wide")
        if (usual or figure == by) and (report.device or not figure.needs):
            yield figure


def compared_cost(search: SearchReport) -> Figure:
    """The figure that a search compares; older reports have other names for it."""
    return FIGURES[named(search.cost) or search.cost]


def _amount(figure: Figure, row: Row) -> str:
    return amount(figure, getattr(row.figures, figure.name) or 0)


def _ratio(figure: Figure, row: Row) -> str:
    return format_ratio(getattr(row.vs_own, figure.over_own) or 0.0)


def _ties(row: Row) -> str:
    return f"{row.ties:,}" if isinstance(row, FrontPlacement) else ""


# -- flow ------------------------------------------------------------------------------------------------------------


def flows(
    title: str, rows: Sequence[tuple[str, Row]], report: Placements, note: str = FLOW_NOTE
) -> Iterator[Table]:
    """A row for each placement with its layers and the facts of its flow; no table if none has a flow."""
    headers = ("placement", f"layers 0-{len(report.own.layers) - 1}", "sees all", "run", "share", "after")
    cells = tuple((name, strip(row.flow.layers), *facts(row.flow)) for name, row in rows if row.flow)
    if any(layer.attention == "channel" for _, row in rows if row.flow for layer in row.flow.layers):
        note = f"{note} {CHANNEL_NOTE}"
    if cells:
        yield Table(title, headers, cells, note, text_columns=(0, 1), strip_columns=(1,))


def facts(flow: FlowFacts) -> tuple[str, ...]:
    """The cells of "sees all", "run", "share" and "after"."""
    after = flow.refined_after_last_global
    return (
        "never" if flow.first_full_context is None else str(flow.first_full_context),
        str(flow.longest_without_global),
        f"{100 * flow.global_share:.0f} %",
        "" if after is None else str(after),
    )


def strip(layers: Sequence[LayerFlow]) -> str:
    """The layers as characters: `GLOBAL`, `CHANNEL`, or the share that is seen; `STAGE` between stages."""
    cells = []
    for before, layer in zip((None, *layers), layers, strict=False):
        if before is not None and before.stage != layer.stage:
            cells.append(STAGE)
        cells.append(KINDS.get(layer.attention) or _seen(layer))
    return "".join(cells)


def _seen(layer: LayerFlow) -> str:
    if layer.sees_all:
        return SEEN_ALL
    return SEEN[min(int(layer.mean_share * len(SEEN)), len(SEEN) - 1)]
