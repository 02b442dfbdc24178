"""Waivers: a config may break a rule, up to a value and until a date."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from fractions import Fraction

from ..files.globs import matches
from ..records import replace
from .evaluate import Judged, reaches
from .references import Case
from .thresholds import Rule, Waiver


def waive(judged: Judged, rule: Rule, case: Case, waivers: Sequence[Waiver], today: date) -> Judged:
    """The verdict, waived if a waiver applies. If one is exceeded or has expired, the summary says so."""
    if judged.outcome == "pass":
        return judged
    reasons = []
    for waiver in waivers:
        if waiver.rule != rule.id or not matches(waiver.config, case.path):
            continue
        if not reaches(rule, Fraction(judged.reading.value), waiver.upto.amount):
            reasons.append(f"beyond its waiver up to {waiver.upto}")
        elif today > waiver.expires:
            reasons.append(f"its waiver expired on {waiver.expires} (UTC)")
        else:
            waived = f"waived up to {waiver.upto} until {waiver.expires} (UTC): {waiver.reason}"
            return replace(judged, outcome="waived", summary=f"{judged.summary}; {waived}")
    return replace(judged, summary="; ".join([judged.summary, *reasons]))
