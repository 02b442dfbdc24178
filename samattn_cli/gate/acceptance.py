"""Whether a change of a baseline is justified: anyone can edit the file, so its figures and reasons are verified."""

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
    """Verifies figures that are new or larger since the base. `cases` are today's configs by their paths."""

    base: AtBase
    cases: Mapping[str, Case]

    def doubts(self, then: Entry, now: Entry) -> str:
        """What is wrong with the reason for a larger figure; "" if nothing is."""
        if now.accepted is None or now.accepted == then.accepted:
            return "without a reason"
        doubt = next(self._doubts(then, now, now.accepted), "")
        return doubt and f"with an invalid reason ({doubt})"

    def excess(self, now: Entry) -> str:
        """That a figure is larger than today's; "" if it is not, or if today's is unknown."""
        today = self._today(now)
        if today is None or Fraction(now.value) <= Fraction(today):
            return ""
        value, gives = format_apart(unit_of(now.metric), now.value, today)
        return f"{now.metric} of {value} is above that of the config, which is {gives}"

    def _doubts(self, then: Entry, now: Entry, accepted: Accepted) -> Iterator[str]:
        rules = {rule.id: rule for rule in self.base.file.thresholds.rules}
        if accepted.rule not in rules:
            yield f"it was accepted under the rule {accepted.rule!r}, which does not exist"
        elif unfit := _unfit(rules[accepted.rule], now):
            yield f"it was accepted under the rule {accepted.rule!r}, which {unfit}"
        if accepted.was != then.value:
            claimed, was = format_apart(unit_of(now.metric), accepted.was, then.value)
            yield f"it claims a former figure of {claimed}, and that was {was}"
        if excess := self.excess(now):
            yield excess

    def _today(self, entry: Entry) -> float | None:
        """Today's figure of a config; None if it is unknown."""
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
    """Why a rule does not apply to a figure; "" if it does."""
    if rule.vs != "baseline":
        return "has no `vs: baseline`"
    if (rule.metric, rule.profile) != (entry.metric, entry.profile):
        return f"limits {' in '.join(filter(None, [rule.metric, rule.profile]))}"
    return "" if matches(rule.match, entry.config) else f"does not match {entry.config}"
