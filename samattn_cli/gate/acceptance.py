"""Whether a figure of a baseline may be what a change made of it: a baseline is a file that anyone may edit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

from ..errors import ConfigError, SamattnError
from ..files.globs import matches
from ..metric_names import unit_of
from ..units import format_apart
from .base import AtBase
from .references import Case
from .reports.baseline import Accepted, Entry
from .thresholds import Rule


@dataclass(frozen=True)
class Acceptances:
    """What is wrong with figures that are new or larger since the base; `cases` are today's by their paths."""

    base: AtBase
    cases: Mapping[str, Case]

    def doubts(self, then: Entry, now: Entry) -> str:
        """What is wrong with the reason of a figure that is larger than it was; "" if nothing."""
        if now.accepted is None or now.accepted == then.accepted:
            return "without a reason"
        doubt = next(self._doubts(then, now, now.accepted), "")
        return doubt and f"with a reason that does not hold ({doubt})"

    def excess(self, now: Entry) -> str:
        """That a figure is larger than that of the config today; "" if it is not, or today's cannot be told."""
        today = self._today(now)
        if today is None or Fraction(now.value) <= Fraction(today):
            return ""
        value, gives = format_apart(unit_of(now.metric), now.value, today)
        return f"{now.metric} of {value} is more than the config gives, which is {gives}"

    def _doubts(self, then: Entry, now: Entry, accepted: Accepted) -> Iterator[str]:
        rules = {rule.id: rule for rule in self.base.file.thresholds.rules}
        if accepted.rule not in rules:
            yield f"there is no rule {accepted.rule!r}, under which it was accepted"
        elif unfit := _unfit(rules[accepted.rule], now):
            yield f"the rule {accepted.rule!r}, under which it was accepted, {unfit}"
        if accepted.was != then.value:
            said, was = format_apart(unit_of(now.metric), accepted.was, then.value)
            yield f"it says that it was {said}, and it was {was}"
        if excess := self.excess(now):
            yield excess

    def _today(self, entry: Entry) -> float | None:
        """The figure of a config as it is now."""
        case, profiles = self.cases.get(entry.config), self.base.file.thresholds.profiles or {}
        if case is None or (entry.profile and entry.profile not in profiles):
            return None
        encoder = self.base.encoders.of(Case(case.path, case.reference, entry.profile))
        if isinstance(encoder, ConfigError) or not entry.counts_as_today:
            return None
        try:
            return max(reading.value for reading in encoder.readings(entry.metric))
        except SamattnError:
            return None


def _unfit(rule: Rule, entry: Entry) -> str:
    """Why a rule cannot have let a figure rise; "" if it can."""
    if rule.vs != "baseline":
        return "is not vs baseline"
    if (rule.metric, rule.profile) != (entry.metric, entry.profile):
        return f"is of {' in '.join(filter(None, [rule.metric, rule.profile]))}"
    return "" if matches(rule.match, entry.config) else f"is not for {entry.config}"
