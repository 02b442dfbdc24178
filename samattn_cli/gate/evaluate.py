"""Rules against figures: each form of rule, in exact arithmetic. A bound itself passes."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from ..metric_names import is_share, unit_of
from ..quantities import PERCENT, Quantity
from ..records import dataclass
from ..units import format_apart, format_excess, format_share
from .lookup import Reading
from .reports.check import EXPECTED, Outcome
from .thresholds import LEVELS, Bounds, Increase, Rule


@dataclass(frozen=True, kw_only=True)
class Judged:
    """The verdict of a rule on a figure.

    Attributes:
        outcome: the outcome.
        reading: the figure; the worst one, if there are several.
        limit: the value that just passes.
        compared: the figure that it was compared with, if any.
        compared_with: the name of what has that figure.
        summary: a sentence.
    """

    outcome: Outcome
    reading: Reading
    limit: Fraction
    compared: Fraction | None = None
    compared_with: str = ""
    summary: str

    @property
    def excess(self) -> Fraction | None:
        """Value - limit; None if the rule passes."""
        return None if self.outcome == "pass" else Fraction(self.reading.value) - self.limit


def shown_unit(rule: Rule) -> str:
    """The unit in which a rule's figures are shown: "%" for a share."""
    bounds = (bound for form in (rule.limit, rule.at_least) if form for bound in _levels(form).values())
    written = [bound.unit for bound in (rule.expect, *bounds) if bound]
    return PERCENT if is_share(rule.metric) or PERCENT in written else unit_of(rule.metric)


def judge(rule: Rule, readings: Sequence[Reading]) -> Judged:
    """The verdict of a rule without `vs`."""
    if rule.limit is not None:
        return _bounded(rule, rule.limit, max(readings, key=_value), 1)
    if rule.at_least is not None:
        return _bounded(rule, rule.at_least, min(readings, key=_value), -1)
    return _expected(rule, readings)


def judge_increase(rule: Rule, readings: Sequence[Reading], there: Sequence[Reading], name: str) -> Judged:
    """The verdict of a rule with `vs`, on the largest reading.

    Args:
        rule: the rule, which has `increase`.
        readings: of the config.
        there: of the same config in the reference.
        name: of the reference.
    """
    assert rule.increase is not None  # noqa: S101 - the caller's; for the type checker
    reading, before = max(readings, key=_value), _value(max(there, key=_value))
    least = rule.increase.and_above
    bounds = _levels(rule.increase)
    limits = {
        level: before + max([_growth(bound, before), *([least.amount] if least else [])])
        for level, bound in bounds.items()
    }
    broken = (level for level in limits if _value(reading) > limits[level])
    outcome: Outcome = next(broken, "pass")
    shown = outcome if outcome in limits else next(iter(limits))
    return Judged(
        outcome=outcome,
        reading=reading,
        limit=limits[shown],
        compared=before,
        compared_with=name,
        summary=_grown(rule, reading, before, name, bounds[shown], outcome),
    )


def reaches(rule: Rule, value: Fraction, upto: Fraction) -> bool:
    """Whether a value that breaks a rule is still within `upto`, and on the side of the rule on which `upto` is."""
    sign = side(rule, upto)
    return sign * (value - upto) <= 0 and (rule.expect is None or sign * (value - rule.expect.amount) >= 0)


def side(rule: Rule, upto: Fraction) -> int:
    """The direction in which `upto` allows more: 1 if upwards, -1 if downwards."""
    below = rule.expect is not None and upto < rule.expect.amount
    return -1 if rule.at_least is not None or below else 1


def _value(reading: Reading) -> Fraction:
    return Fraction(reading.value)


def _levels(bounds: Bounds | Increase) -> dict[Outcome, Quantity]:
    """The bounds that a rule sets, `error` first."""
    return {level: bound for level in LEVELS if (bound := getattr(bounds, level)) is not None}


def _growth(bound: Quantity, before: Fraction) -> Fraction:
    return bound.amount * abs(before) if bound.unit == PERCENT else bound.amount


def _bounded(rule: Rule, bounds: Bounds, reading: Reading, sign: int) -> Judged:
    """Against the most that passes (`sign` 1), or the least (-1)."""
    levels = _levels(bounds)
    broken = (level for level, bound in levels.items() if sign * (_value(reading) - bound.amount) > 0)
    outcome: Outcome = next(broken, "pass")
    bound = levels[outcome if outcome in levels else next(iter(levels))]
    what = ("limit" if sign > 0 else "minimum") + f" of {bound}"
    over = ("over" if sign > 0 else "under") + f" the {what} by {_by(rule, reading, bound.amount)}"
    verdict = f"within the {what}" if outcome == "pass" else over
    return Judged(
        outcome=outcome,
        reading=reading,
        limit=bound.amount,
        summary=f"{_value_is(rule, reading, bound.amount)}, {verdict}",
    )


def _expected(rule: Rule, readings: Sequence[Reading]) -> Judged:
    assert rule.expect is not None  # noqa: S101 - a rule has one of four forms; for the type checker
    expected, leeway = rule.expect.amount, slack(rule)

    def off(reading: Reading) -> Fraction:
        return abs(_value(reading) - expected)

    reading = max(readings, key=off)
    near = expected + (leeway if _value(reading) > expected else -leeway)
    within = f" within {rule.tolerance}" if rule.tolerance else " exactly"
    outcome: Outcome = "error" if off(reading) > leeway else "pass"
    verdict = f"not {rule.expect}{within}" if outcome == "error" else f"as expected: {rule.expect}{within}"
    return Judged(
        outcome=outcome,
        reading=reading,
        limit=near,
        compared=expected,
        compared_with=EXPECTED,
        summary=f"{_value_is(rule, reading, near)}, {verdict}",
    )


def slack(rule: Rule) -> Fraction:
    """How far a figure may be from the expected one. A percentage means points if that is a share, else a share of it."""
    expect, tolerance = rule.expect, rule.tolerance
    if expect is None or tolerance is None:
        return Fraction(0)
    if tolerance.unit == PERCENT and expect.unit != PERCENT:
        return tolerance.amount * abs(expect.amount)
    return tolerance.amount


def _value_is(rule: Rule, reading: Reading, other: Fraction) -> str:
    """The start of a sentence, with as many digits as tell the value from another one."""
    shown = _amounts(rule, number(reading.value), number(other))[0]
    return f"{rule.metric} is {shown}{f' at {reading.at}' if reading.at else ''}"


def _by(rule: Rule, reading: Reading, bound: Fraction) -> str:
    """By how much, and in percent."""
    excess = abs(_value(reading) - bound)
    share = float(excess / abs(bound)) if bound else None
    return _without_name(rule, format_excess(shown_unit(rule), number(excess), share))


def _amounts(rule: Rule, *values: float) -> tuple[str, ...]:
    """Figures to compare, for a sentence that names the metric."""
    return tuple(_without_name(rule, amount) for amount in format_apart(shown_unit(rule), *values))


def _without_name(rule: Rule, amount: str) -> str:
    """An amount without a unit that the metric has in its name: "params is 29.23 M", not "29.23 M params"."""
    unit = shown_unit(rule)
    return amount.replace(f" {unit}", "", 1) if unit and rule.metric.endswith(unit) else amount


def _grown(
    rule: Rule, reading: Reading, before: Fraction, name: str, bound: Quantity, outcome: Outcome
) -> str:
    change = _value(reading) - before
    was, now = _amounts(rule, number(before), number(reading.value)) if change else ("", "")
    least = f" and above {rule.increase.and_above}" if rule.increase and rule.increase.and_above else ""
    at = f" at {reading.at}" if reading.at else ""
    if not change:
        text = f"{rule.metric} is {_amounts(rule, number(before))[0]}{at} as in {name}"
    else:
        percent = f" ({format_share(float(change / abs(before)), '+')})" if before else ""
        verb = "grew" if change > 0 else "fell"
        text = f"{rule.metric} {verb} from {was} in {name} to {now}{at}{percent}"
    return f"{text}, {'within' if outcome == 'pass' else 'beyond'} {bound}{least}"


def number(value: Fraction | float) -> float:
    """A figure as reports have it: an int if it is whole."""
    exact = Fraction(value)
    return exact.numerator if exact.denominator == 1 else float(exact)
