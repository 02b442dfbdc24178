"""Placements side by side: what each costs, its layers as a strip, how information flows, what was published."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any

from ...figures import Figure, always
from ...reports.analysis import Costs
from ...reports.flow import FlowFacts
from ...reports.placements import FrontPlacement, Placements, VsOwn
from ...units import format_percent, ranges
from ..charts.theme import Spec
from ..elements import Lines, Page, Section, Table
from ..layer_columns import amount
from ..layout import Layout
from ..options import Options
from .analysis import heading_of
from .placement_search import search_sections
from .placement_tables import Row, costs, flows, name_of, numbered, picked, room_for_names, shown
from .placements_short import in_short

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


def page(report: Placements, options: Options) -> Page:
    """The placements that were asked for, then those that a search found."""
    title, shape = heading_of(report.config)
    return Page(title, shape, tuple(_sections(report, options)), tuple(in_short(report)))


def _sections(report: Placements, options: Options) -> Iterator[Section]:
    room = room_for_names(report)
    compared = [(name_of(row, room), row) for row in report.placements]
    if len(compared) > 1 or report.search is None:
        yield costs("Placements of global layers", compared, report, options)
        yield from flows("Layers, and how information flows", compared, report)
        yield from _published(compared)
    if report.search is not None:
        yield from search_sections(report, report.search, options)
    if report.unfit or report.flow_missing:
        yield Lines("Not shown", (*report.unfit, *filter(None, [report.flow_missing])))
    if len(compared) > 1 or report.search is None or report.search.front:
        yield Lines("How to read it", tuple(_reading(report)))
    if options.all_layers:
        front = report.search.front if report.search else ()
        for name, row in (*compared, *numbered(front, room)):
            yield _layers(name, row)


def _reading(report: Placements) -> Iterator[str]:
    yield from READING
    yield from () if report.flow_missing else READING_FLOW
    result = next((row.published for row in report.placements if row.published), None)
    if result and (len(report.placements) > 1 or report.search is None):
        yield f"published: {result.source}, {result.address}; for that model and task: it does not predict this encoder"
    yield from READING_ALIKE if report.search and report.search.front else ()


def _published(rows: Sequence[tuple[str, Row]]) -> Iterator[Table]:
    results = [(name, row.published) for name, row in rows if row.published is not None]
    if results:
        first = results[0][1]
        cells = tuple((name, each.strategy, *each.figures) for name, each in results)
        title = f"Published for {first.model} on {first.task}"
        yield Table(title, ("placement", "strategy", *first.measures), cells, text_columns=(0, 1))


def _layers(name: str, row: Row) -> Table:
    figures = [figure for figure in always("layer") if getattr(row.layers[0], figure.name) is not None]
    flow_of_layers = row.flow.layers if row.flow else (None,) * len(row.layers)
    cells = tuple(
        (
            str(cost.index),
            cost.attention,
            "" if flow is None else format_percent(flow.smallest_share),
            "" if flow is None else format_percent(flow.mean_share),
            *(amount(figure, getattr(cost, figure.name)) for figure in figures),
        )
        for cost, flow in zip(row.layers, flow_of_layers, strict=True)
    )
    headers = ("layer", "attention", "sees, least", "mean", *(figure.title for figure in figures))
    return Table(f"Layers of {name}", headers, cells, text_columns=(0, 1))


def rows(report: Placements) -> Iterator[dict[str, Any]]:
    """A row for each placement: those compared, then the front of a search, figures exact."""
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
        **{field.name: getattr(row.figures, field.name) for field in fields(Costs)},
        **{f"vs_own_{field.name}": getattr(row.vs_own, field.name) for field in fields(VsOwn)},
        **{field.name: row.flow and getattr(row.flow, field.name) for field in fields(FlowFacts)},
        "alike": row.ties if isinstance(row, FrontPlacement) else None,
        "published_for": published and published.model,
        "published": published and " / ".join(published.figures),
        "published_measures": published and " / ".join(published.measures),
        "published_source": published and published.address,
    }


def chart(report: Placements) -> Spec:
    """Strips of the placements with their costs; for a search, the own placement and the front."""
    from ..charts.scales import unit_of
    from ..charts.strip import Cell, Cost, Picture, Placement, spec

    title, shape = heading_of(report.config)
    room = room_for_names(report)
    front = list(numbered(report.search.front if report.search else (), room))
    named_rows = [*((name_of(row, room), row) for row in report.placements), *picked(front)]
    figures = list(shown(report))

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
                for name, row in named_rows
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


def front_chart(report: Placements) -> Spec | None:
    """The front of a search: cost against the first layer that sees all; None without a search that found one."""
    from ..charts import front
    from ..charts.scales import unit_of
    from .placement_tables import compared_cost

    search = report.search
    if search is None or not search.front or report.own.flow is None:
        return None
    cost = compared_cost(search)
    on_front = any(row.global_layers == report.own.global_layers for row in search.front)
    rows = [*search.front, *([] if on_front else [report.own])]
    unit = unit_of(cost)
    title, shape = heading_of(report.config)
    return front.spec(
        front.Picture(
            title=f"{title}: cost of seeing the whole image",
            subtitle=f"{shape}. Placements of global layers on the Pareto front, by cost and by the first layer after which every "
            "token has seen the whole image. Lower, further left and bluer is better: a point is on the front if no other is at least as good in all three.",
            cost_title=cost.title if cost.needs else cost.word,
            cost_unit=unit,
            fact_title="first layer that sees all",
            shade_title="layers in a row without a global one",
            points=tuple(
                front.Point(
                    getattr(row.figures, cost.name),
                    _sees_all(row),
                    row.flow.longest_without_global,
                    ranges(row.global_layers) or "none",
                    own=row.global_layers == report.own.global_layers,
                )
                for row in rows
                if row.flow is not None and row.flow.first_full_context is not None
            ),
        )
    )


def _sees_all(row: Row) -> int:
    return 0 if row.flow is None or row.flow.first_full_context is None else row.flow.first_full_context


LAYOUT = Layout(page, rows, chart, charts={"front": front_chart})
