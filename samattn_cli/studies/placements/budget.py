"""Budgets as text: "flops <= 6 TFLOP, peak_memory <= 8 GiB". Units must be said, and are kept apart."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ...errors import UsageError
from ...figures import Figure, figure_for_option, of
from ...quantities import EXAMPLES, KINDS, TIMES, Units, parse_quantity

PS_PER_MS = 10**9
PICOSECONDS = {unit: scale * PS_PER_MS for unit, scale in TIMES.items()}
"""In picoseconds, of which times are whole numbers in a search, so that sums are exact."""


@dataclass(frozen=True)
class Metric:
    """A cost by which placements are limited and compared: the figure of a table, its units, and a use of one."""

    name: str
    figure: str
    units: Units
    example: str


def _metric(figure: Figure) -> Metric:
    is_time = figure.unit == "ms"
    units = PICOSECONDS if is_time else KINDS[figure.unit]
    column = f"{figure.stem}_ps" if is_time else figure.name
    return Metric(figure.name, column, units, EXAMPLES[figure.unit].partition(" (")[0])


METRICS = {figure.name: _metric(figure) for figure in of("encoder")}

LIMIT = re.compile(r"(\w+)\s*([<>=≤≥]+)\s*([\d._]+)\s*([A-Za-z]*)")


@dataclass(frozen=True)
class Limit:
    """The most of a metric, in the unit of its figure, and as it was said."""

    metric: Metric
    most: int
    text: str


def budget(text: str | None) -> tuple[Limit, ...]:
    """The limits of a budget.

    Raises:
        UsageError: for what is no limit, a metric or a unit that there is not, or the same metric twice.
    """
    limits = [_limit(part.strip()) for part in text.split(",")] if text is not None else []
    names = [limit.metric.name for limit in limits]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"--budget: {name} is limited twice: keep one")
    return tuple(limits)


def metric(name: str, option: str) -> Metric:
    """The metric of a name.

    Raises:
        UsageError: if there is none.
    """
    return METRICS[figure_for_option(option, name, METRICS)]


def _limit(part: str) -> Limit:
    found = LIMIT.fullmatch(part)
    if found is None:
        raise UsageError(
            f"--budget: '{part}' is no limit: use METRIC <= NUMBER UNIT, such as 'flops <= 6 TFLOP'"
        )
    name, operator, number, unit = found.groups()
    of = metric(name, "--budget:")
    if operator not in {"<=", "≤"}:
        raise UsageError(
            f"--budget: '{part}': a limit is the most that there may be, so use <=, not {operator}"
        )
    where, example = f"--budget: '{part}'", f"'{of.name} <= {of.example}'"
    most = parse_quantity(f"{number} {unit}", of.units, of=of.name, where=where, example=example)
    return Limit(of, most, f"{of.name} <= {number} {unit}")
