"""A search of all placements of some numbers of global layers: the question, its size, and the report."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import accumulate
from math import comb
from typing import TYPE_CHECKING

from ...device.model import Device
from ...encoder.model import EncoderConfig
from ...encoder.placed import placed
from ...encoder.plan_rules import problems_of_plan
from ...errors import Message, UsageError
from ...figures import FIGURES, IN_MEMORY, PEAKS
from ...records import dataclass, replace
from ...reports.placements import FrontPlacement, PlacementReport, SearchReport
from ...units import format_things
from ..flow import windowed_flow
from ..progress import Tell, silent
from .budget import METRICS, PS_PER_MS, Limit, Metric, budget, metric
from .placing import movable
from .reported import report_of
from .strategies import ComparedEncoder

if TYPE_CHECKING:  # imported only for a search
    from .points import Point, Question
    from .table import Table

MOST = 200_000_000
"""The most placements that are looked at one by one: about two minutes, or four with the peaks of a training step."""

NUMBERS = re.compile(r"(\d+)(?::(\d+))?")
IN_TRAINING = METRICS["training_bytes"].figure


@dataclass(frozen=True)
class Asked:
    """The question of a search: "4" or "2:6" global layers (None: any number), limits, the metric to compare."""

    numbers: str | None
    limits: tuple[Limit, ...]
    cost: Metric


def asked(numbers: str | None, limits: str | None, cost: str | None) -> Asked | None:
    """The question that options ask; None without a search.

    Raises:
        UsageError: for a text that is not a budget, for an unknown cost, and for a cost without a search.
    """
    if numbers is None and limits is None:
        if cost is not None:
            raise UsageError("missing-option", f"--by {cost}: needs --search or --budget")
        return None
    return Asked(numbers, budget(limits), metric(cost or "flops", "--by"))


def search_report(
    config: EncoderConfig,
    own: PlacementReport,
    question: Asked,
    device: Device | None,
    tell: Tell = silent,
) -> SearchReport:
    """Search all placements.

    Raises:
        UsageError: for times without a device, and for more placements to look at than `MOST`.
    """
    from .search import looked_at, search
    from .table import table_of

    limited = [limit.metric for limit in question.limits]
    for each in (question.cost, *limited):
        if device is None and FIGURES[each.name].needs:
            raise UsageError("needs-device", f"{each.name} needs --device, such as --device h100")
        if each.name == "communication_bytes":
            raise UsageError(
                "figure-not-usable",
                f"{each.name} is not searched: GPUs send the weights, and the place of a global layer hardly changes those",
            )
        if each.name in IN_MEMORY:
            peak = PEAKS[config.run.mode]
            raise UsageError(
                "figure-not-usable",
                f"{each.name} is replayed for one placement at a time, and a search compares too many: use {peak}",
            )
    layers, flow = movable(config), windowed_flow(config)
    terms = _terms(config, question)
    if config.run.parallel != "none" and IN_TRAINING in terms.figures:
        raise UsageError(
            "figure-not-usable",
            f"a search does not know what several GPUs share and hold, which {IN_TRAINING} includes: leave out run.parallel",
        )
    numbers = _numbers(question.numbers, config, len(layers))
    if not question.limits and not terms.adds_up:
        _check_size(numbers, len(layers), question)
    table = table_of(config, layers, flow, device=device, training=IN_TRAINING in terms.figures)
    refused = _refused(config, table, numbers)
    allowed = _allowed(numbers, refused, len(layers))
    feasible = [number for number in allowed if terms.is_possible(table, number)]
    _check_size(looked_at(table, feasible, terms, refused), len(layers), question)
    left_out = {mask: why for mask, why in refused.items() if mask.bit_count() in feasible}
    result = search(table, config.name, feasible, terms, tell, left_out)
    of_own = terms.point(table, table.mask(own.global_layers))
    _prove(own, table.figures_of(of_own.mask, terms.figures))
    is_searched = of_own.mask.bit_count() in feasible and of_own.mask not in left_out
    front = [_with_own(point, of_own) if is_searched else point for point in result.front]
    better = [point for point in front if point.beats(of_own)]
    reported = {point: _on_front(config, table, terms, point, own, device) for point in front}
    return SearchReport(
        choices=len(layers),
        numbers=tuple(feasible),
        ruled_out=tuple(number for number in allowed if number not in feasible),
        budget=tuple(limit.text for limit in question.limits),
        cost=question.cost.name,
        searched=result.searched,
        refused=len(left_out),
        why_refused=next(iter(left_out.values()), ""),
        within=result.within,
        front=tuple(reported.values()),
        own_within=terms.is_within(table, of_own.mask),
        own_is_beaten=bool(better),
        beaten_by=tuple(reported[point].global_layers for point in better),
    )


def _refused(config: EncoderConfig, table: Table, numbers: Sequence[int]) -> dict[int, Message]:
    """The placements that the rules of the encoder's families refuse, as masks, and why.

    Only those with at most one global layer are looked at: a rule that refuses a placement asks for a global layer that it
    does not have, as that of a neck that reads what global blocks return.
    """
    masks = [0, *(1 << bit for bit in range(len(table.layers)))]
    found: dict[int, Message] = {}
    for mask in masks:
        if mask.bit_count() in numbers:
            problem = next(problems_of_plan(placed(config, table.chosen(mask))), None)
            if problem is not None:
                found[mask] = problem[1]
    return found


def _allowed(numbers: Sequence[int], refused: Mapping[int, Message], choices: int) -> list[int]:
    """The numbers of global layers of which not all placements are refused.

    Raises:
        UsageError: if there is none.
    """
    of_number = Counter(mask.bit_count() for mask in refused)
    allowed = [number for number in numbers if of_number[number] < comb(choices, number)]
    if not allowed:
        raise UsageError(next(iter(refused.values())))
    return allowed


def _terms(config: EncoderConfig, question: Asked) -> Question:
    from .points import Question

    return Question(question.cost, question.limits, PEAKS[config.run.mode])


def _numbers(text: str | None, config: EncoderConfig, choices: int) -> range:
    """The numbers of global layers of "4", "2:6" (both ends included) or None (any number)."""
    if text is None:
        return range(choices + 1)
    match = NUMBERS.fullmatch(text.replace(" ", ""))
    if match is None:
        raise UsageError(
            "not-a-number", f"--search {text}: must be a number such as 4, or a range such as 2:6"
        )
    low, high = int(match[1]), int(match[2] or match[1])
    if low > high:
        raise UsageError("reversed-range", f"--search {text}: the range is reversed; use {high}:{low}")
    if high > choices:
        layers = f"{format_things(choices, 'layer')} that can be windowed or global"
        raise UsageError(
            "out-of-range", f"--search {text}: {config.name} has {layers}; use at most {choices}"
        )
    return range(low, high + 1)


def _check_size(numbers: Sequence[int], choices: int, question: Asked) -> None:
    """Check that not too many placements are to be looked at one by one.

    Raises:
        UsageError: if there are.
    """
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
    metrics = (question.cost, *(limit.metric for limit in question.limits))
    names_ = " and ".join(dict.fromkeys(each.name for each in metrics))
    raise UsageError(
        "too-many-placements",
        f"{_range(numbers)} global layers among {choices} have {sum(sizes):,} placements, and a search by {names_} looks at "
        f"each, at most {MOST:,}; narrow it, such as {how}, limit FLOPs with --budget, or search by flops alone, which "
        "add up over layers and have no such limit",
    )


def _range(numbers: Sequence[int]) -> str:
    return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"


def _with_own(point: Point, own: Point) -> Point:
    """If the config's own placement is among those that tie, show it."""
    return replace(point, mask=own.mask) if point.compared == own.compared else point


def _on_front(
    config: EncoderConfig,
    table: Table,
    terms: Question,
    point: Point,
    own: PlacementReport,
    device: Device | None,
) -> FrontPlacement:
    """A placement of the front with the figures of a real pass, which must equal those of the table."""
    chosen = table.chosen(point.mask)
    placement = ComparedEncoder.of(placed(config, chosen))
    if placement.layers == own.global_layers:
        placement = replace(placement, names=own.names)
    report = FrontPlacement(**report_of(placement, own.figures, device), ties=point.ties)
    _prove(report, table.figures_of(point.mask, terms.figures))
    facts = report.flow
    full = None if point.full == table.flow.depth else point.full
    if facts is None or (facts.first_full_context, facts.longest_without_global) != (full, point.longest):
        raise AssertionError(f"the flow of the search differs for {report.global_layers}: {point}, {facts}")
    return report


def _prove(report: PlacementReport, figures: Mapping[str, int]) -> None:
    """Check that each figure of the search equals that of the real pass; times to a millionth of a millisecond."""
    for name, figure in figures.items():
        if name == "latency_ps":
            same = math.isclose(figure / PS_PER_MS, report.figures.latency_ms or 0.0, abs_tol=1e-6)
        else:
            same = figure == getattr(report.figures, name)
        if not same:
            raise AssertionError(
                f"the search has {name} {figure:,} for {report.global_layers}: {report.figures}"
            )
