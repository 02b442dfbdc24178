"""Budgets as text: "flops <= 6 TFLOP, peak_memory <= 8 GiB". Units are required and must suit the metric."""

from __future__ import annotations

import re

from ...errors import UsageError
from ...figures import Figure, figure_for_option, of
from ...quantities import EXAMPLES, KINDS, TIMES, Units, parse_quantity
from ...records import dataclass

PS_PER_MS = 10**9
PICOSECONDS = {unit: scale * PS_PER_MS for unit, scale in TIMES.items()}
"""Units of time in picoseconds: a search sums times as whole numbers, so that sums are exact."""


@dataclass(frozen=True)
class Metric:
    """A cost by which placements are limited and compared: its name, the figure of a table, its units, an example."""

    name: str
    figure: str
    units: Units
    example: str


def _metric(figure: Figure) -> Metric:
    units = PICOSECONDS if figure.is_time else KINDS[figure.unit]
    column = f"{figure.stem}_ps" if figure.is_time else figure.name
    return Metric(figure.name, column, units, EXAMPLES[figure.unit].partition(" (")[0])


METRICS = {figure.name: _metric(figure) for figure in of("encoder")}

LIMIT = re.compile(r"(\w+)\s*([<>=≤≥]+)\s*([\d._]+)\s*([A-Za-z]*)")


@dataclass(frozen=True)
class Limit:
    """The largest value of a metric, in the unit of its figure, and as text."""

    metric: Metric
    most: int
    text: str


def budget(text: str | None) -> tuple[Limit, ...]:
    """The limits of a budget.

    Raises:
        UsageError: for a text that is not a limit, an unknown metric or unit, or the same metric twice.
    """
    limits = [_limit(part.strip()) for part in text.split(",")] if text is not None else []
    names = [limit.metric.name for limit in limits]
    for name in names:
        if names.count(name) > 1:
            raise UsageError("given-twice", f"--budget: {name} is limited twice")
    return tuple(limits)


def metric(name: str, option: str) -> Metric:
    """The metric of a name.

    Raises:
        UsageError: for an unknown name.
    """
    return METRICS[figure_for_option(option, name, METRICS)]


def _limit(part: str) -> Limit:
    match = LIMIT.fullmatch(part)
    if match is None:
        raise UsageError(
            "not-a-limit",
            f"--budget: '{part}' is not a limit; use METRIC <= NUMBER UNIT, such as 'flops <= 6 TFLOP'",
        )
    name, operator, number, unit = match.groups()
    of = metric(name, "--budget:")
    if operator not in {"<=", "≤"}:
        raise UsageError(
            "not-a-limit", f"--budget: '{part}': a limit is an upper bound; use <=, not {operator}"
        )
    where, example = f"--budget: '{part}'", f"'{of.name} <= {of.example}'"
    most = parse_quantity(f"{number} {unit}", of.units, of=of.name, where=where, example=example)
    return Limit(of, most, f"{of.name} <= {number} {unit}")
