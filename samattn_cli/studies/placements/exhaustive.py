"""Every placement of some numbers of global layers: what is asked, whether it can be done, and what is reported of it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from math import comb
from typing import TYPE_CHECKING

from ...device.model import Device
from ...encoder.model import EncoderConfig
from ...encoder.placed import placed
from ...errors import UsageError
from ...figures import FIGURES, PEAKS
from ...reports.placements import FrontPlacement, PlacementReport, SearchReport
from ...units import format_things
from ..flow import WindowedFlow, windowed_flow
from ..progress import Tell, silent
from .budget import METRICS, PS_PER_MS, Limit, Metric, budget, metric
from .placing import movable
from .reported import report_of
from .strategies import Placement

if TYPE_CHECKING:  # not before there is something to search: they bring NumPy
    from .search import Point, Question
    from .table import Table

MOST = 200_000_000
"""Placements that a search takes: about two minutes, or four with the peaks of a training step."""

NUMBERS = re.compile(r"(\d+)(?::(\d+))?")
IN_TRAINING = METRICS["training_bytes"].figure


@dataclass(frozen=True)
class Asked:
    """What a search is for: "4" or "2:6" global layers (None: any number), limits, the metric to compare."""

    numbers: str | None
    limits: tuple[Limit, ...]
    cost: Metric


def asked(numbers: str | None, limits: str | None, cost: str | None) -> Asked | None:
    """A search as options have it; None if there is none to be done.

    Raises:
        UsageError: for what is no budget, and for a cost that there is not, or to which there is no search.
    """
    if numbers is None and limits is None:
        if cost is not None:
            raise UsageError(
                f"--by {cost} chooses the cost that a search compares: use it with --search or --budget"
            )
        return None
    return Asked(numbers, budget(limits), metric(cost or "flops", "--by"))


def search_report(
    config: EncoderConfig,
    own: PlacementReport,
    question: Asked,
    device: Device | None,
    tell: Tell = silent,
) -> SearchReport:
    """Search every placement.

    Raises:
        UsageError: for times without a device, and for more placements than `MOST`.
    """
    from .search import possible, search
    from .table import table_of

    limited = [limit.metric for limit in question.limits]
    for each in (question.cost, *limited):
        if device is None and FIGURES[each.name].needs:
            raise UsageError(f"{each.name} needs a device to be on: use --device, such as --device h100")
    layers, flow = movable(config), windowed_flow(config)
    terms = _terms(config, question, flow)
    numbers = _numbers(question.numbers, config, len(layers))
    if not question.limits:
        _check_size(numbers, len(layers))
    table = table_of(config, layers, flow.mixing, device=device, training=IN_TRAINING in terms.figures)
    feasible = possible(table, numbers, question.limits)
    _check_size(feasible, len(layers))
    found = search(table, feasible, terms, tell)
    of_own = terms.point(table, table.mask(own.global_layers))
    _prove(own, table.figures_of(of_own.mask, terms.figures))
    front = [_with_own(point, of_own) for point in found.front]
    better = [point for point in front if point.beats(of_own)]
    reported = {point: _on_front(config, table, terms, point, own, device) for point in front}
    return SearchReport(
        choices=len(layers),
        numbers=tuple(feasible),
        ruled_out=tuple(number for number in numbers if number not in feasible),
        budget=tuple(limit.text for limit in question.limits),
        cost=question.cost.name,
        searched=found.searched,
        within=found.within,
        front=tuple(reported.values()),
        own_within=terms.is_within(table, of_own.mask),
        own_is_beaten=bool(better),
        beaten_by=tuple(reported[point].global_layers for point in better),
    )


def _terms(config: EncoderConfig, question: Asked, flow: WindowedFlow) -> Question:
    from .search import Question

    peak = PEAKS[config.run.mode]
    return Question(question.cost, question.limits, peak, flow.depth, flow.first_full_context)


def _numbers(text: str | None, config: EncoderConfig, choices: int) -> range:
    """The numbers of global layers that are asked for: "4", "2:6" with both ends, None for any."""
    if text is None:
        return range(choices + 1)
    found = NUMBERS.fullmatch(text.replace(" ", ""))
    if found is None:
        raise UsageError(
            f"--search {text}: is not a number of global layers: use one such as 4, or a range such as 2:6"
        )
    low, high = int(found[1]), int(found[2] or found[1])
    if low > high:
        raise UsageError(f"--search {text}: the range is reversed: use {high}:{low}")
    if high > choices:
        has = f"{config.name} has {format_things(choices, 'layer')} that can be windowed or global"
        raise UsageError(f"--search {text}: {has}: use at most {choices}")
    return range(low, high + 1)


def _check_size(numbers: Sequence[int], choices: int) -> None:
    """Refuse more placements than a search takes."""
    sizes = [comb(choices, number) for number in numbers]
    if sum(sizes) <= MOST:
        return
    fitting = [total for total in accumulate(sizes) if total <= MOST]
    first = numbers[0]
    if fitting:
        how = f"--search {first}:{first + len(fitting) - 1} ({fitting[-1]:,} placements)"
    else:
        most = max(number for number in range(choices // 2 + 1) if comb(choices, number) <= MOST)
        how = f"--search {most} ({comb(choices, most):,} placements)"
    raise UsageError(
        f"{sum(sizes):,} placements of {_range(numbers)} global layers among {choices} are more than the {MOST:,} that a "
        f"search takes: narrow it, such as {how}, or limit FLOPs in --budget"
    )


def _range(numbers: Sequence[int]) -> str:
    return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"


def _with_own(point: Point, own: Point) -> Point:
    """Of placements that tie the config's own is shown."""
    return replace(point, mask=own.mask) if point.compared == own.compared else point


def _on_front(
    config: EncoderConfig,
    table: Table,
    terms: Question,
    point: Point,
    own: PlacementReport,
    device: Device | None,
) -> FrontPlacement:
    """A placement of the front, by a real pass, which the table must have told exactly."""
    chosen = table.chosen(point.mask)
    placement = Placement.of(placed(config, chosen))
    if placement.layers == own.global_layers:
        placement = replace(placement, names=own.names)
    report = FrontPlacement(**report_of(placement, own.figures, device), ties=point.ties)
    _prove(report, table.figures_of(point.mask, terms.figures))
    facts = report.flow
    full = None if point.full == terms.depth else point.full
    if facts is None or (facts.first_full_context, facts.longest_without_global) != (full, point.longest):
        raise AssertionError(
            f"the search has other facts of flow for {report.global_layers}: {point}, {facts}"
        )
    return report


def _prove(report: PlacementReport, told: Mapping[str, int]) -> None:
    """Every figure that the search went by is that of the real pass; of times, to a millionth of a millisecond."""
    for name, figure in told.items():
        if name == "latency_ps":
            same = math.isclose(figure / PS_PER_MS, report.figures.latency_ms or 0.0, abs_tol=1e-6)
        else:
            same = figure == getattr(report.figures, name)
        if not same:
            raise AssertionError(
                f"the search has {name} {figure:,} for {report.global_layers}: {report.figures}"
            )
