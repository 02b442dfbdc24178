"""Budgets as text: "flops <= 6 TFLOP, peak_memory <= 8 GiB". Units must be said, and are kept apart."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

from ...errors import UsageError, did_you_mean

PREFIXES = {"": 0, "K": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
BINARY = {"KiB": 10, "MiB": 20, "GiB": 30, "TiB": 40, "PiB": 50}
BYTES = {f"{prefix}B": Decimal(10) ** power for prefix, power in PREFIXES.items()} | {
    unit: Decimal(2) ** power for unit, power in BINARY.items()
}
FLOPS = {f"{prefix}FLOP": Decimal(10) ** power for prefix, power in PREFIXES.items()}
MACS = {f"{prefix}MAC": Decimal(10) ** power for prefix, power in PREFIXES.items()}
PARAMS = {f"{prefix}{noun}": Decimal(10) ** PREFIXES[prefix] for noun in ("param", "") for prefix in "KMG"}
PS_PER_MS = 10**9
TIMES = {"us": Decimal(PS_PER_MS) / 1000, "ms": Decimal(PS_PER_MS), "s": Decimal(PS_PER_MS) * 1000}
"""In picoseconds, of which times are whole numbers in a search, so that sums are exact."""


@dataclass(frozen=True)
class Metric:
    """A cost by which placements are limited and compared: the figure of a table, its units, and a use of one."""

    name: str
    figure: str
    units: dict[str, Decimal]
    example: str

    @property
    def has_plurals(self) -> bool:
        """Whether its units may be said in the plural: FLOPs, not GiBs."""
        return self.units is FLOPS or self.units is MACS or self.units is PARAMS


METRICS = {
    metric.name: metric
    for metric in (
        Metric("flops", "flops", FLOPS, "6 TFLOP"),
        Metric("macs", "macs", MACS, "3 TMAC"),
        Metric("params", "params", PARAMS, "640 Mparam"),
        Metric("peak_memory", "peak_bytes", BYTES, "8 GiB"),
        Metric("training_memory", "training_bytes", BYTES, "24 GiB"),
        Metric("latency", "latency_ps", TIMES, "80 ms"),
    )
}

LIMIT = re.compile(r"(\w+)\s*([<>=≤≥]+)\s*([\d._]+)\s*([A-Za-z]*)")
NUMBER = re.compile(r"\d+(\.\d+)?")


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
    if name not in METRICS:
        known = ", ".join(METRICS)
        raise UsageError(f"{option}: there is no metric {name}, but {known}{did_you_mean(name, METRICS)}")
    return METRICS[name]


def _limit(part: str) -> Limit:
    found = LIMIT.fullmatch(part)
    if found is None:
        raise UsageError(
            f"--budget: '{part}' is no limit: use METRIC <= NUMBER UNIT, such as 'flops <= 6 TFLOP'"
        )
    name, operator, number, unit = found.groups()
    of = metric(name, "--budget")
    if operator not in {"<=", "≤"}:
        raise UsageError(
            f"--budget: '{part}': a limit is the most that there may be, so use <=, not {operator}"
        )
    if not NUMBER.fullmatch(number):
        raise UsageError(f"--budget: '{part}': {number} is no number: use one such as 6 or 5.5")
    return Limit(of, int(Decimal(number) * _scale(of, unit, part)), f"{of.name} <= {number} {unit}")


def _scale(of: Metric, unit: str, part: str) -> Decimal:
    """How much a unit is; capitals do not matter, nor a plural."""
    for name, scale in of.units.items():
        if unit.lower() in {name.lower(), *([f"{name}s".lower()] if of.has_plurals else [])}:
            return scale
    known, example = ", ".join(of.units), f"as in '{of.name} <= {of.example}'"
    if not unit:
        raise UsageError(f"--budget: '{part}' has no unit: use {known}, {example}")
    raise UsageError(f"--budget: '{part}': {unit} is no unit of {of.name}: use {known}, {example}")
