"""The answer of `samattn check`: each rule on each config that it is for, and what is wrong with the rules themselves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from ...reports import SCHEMA_VERSION
from ...reports.diff import Place
from ...version import __version__

Outcome = Literal["pass", "waived", "warn", "error", "unchecked"]
"""From best to worst; "unchecked": what could not be checked, which never passes."""

WORST_FIRST: tuple[Outcome, ...] = ("unchecked", "error", "warn", "waived", "pass")

FailOn = Literal["warn", "error", "never"]
"""From which outcome on a check fails."""

FAILING: dict[FailOn, frozenset[Outcome]] = {
    "warn": frozenset({"warn", "error"}),
    "error": frozenset({"error"}),
    "never": frozenset(),
}

EXPECTED = "expected"
"""What the value of a rule with `expect` is compared with."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """One rule on one config, or a finding about the thresholds themselves (then `config` may be "").

    Attributes:
        rule: the rule's id, or "policy.removed", "policy.loosened", "config" (one that cannot be loaded), ...
        config: the config's path as it was found.
        profile: the profile's name.
        outcome: of the rule here.
        metric: what was looked up; "" where there is none.
        unit: "B", "FLOP", "MAC", "ms", "params", "" for a ratio, "%" for a share of 1 (0.943 is shown as "94.30 %").
        value: here; None where there is none.
        compared: with what: the value at the base, in the baseline, or what was expected; None for an absolute limit.
        compared_with: "base main (1a2b3c4)", "the baseline", EXPECTED, or "".
        limit: the largest (or for a saving the smallest) value that passes, in `unit`; None where there is none.
        excess: value - limit, in `unit`, of what fails.
        summary: one sentence: what is wrong and by how much.
        advice: the rule's own message.
        place: what to look at: the line of the config or of the thresholds file.
        rule_place: where the rule stands.
        causes: the keys and layers that did it, a line each.
        command: what shows more.
    """

    rule: str
    config: str
    profile: str = ""
    outcome: Outcome
    metric: str = ""
    unit: str = ""
    value: int | float | None = None
    compared: int | float | None = None
    compared_with: str = ""
    limit: int | float | None = None
    excess: int | float | None = None
    summary: str
    advice: str = ""
    place: Place | None = None
    rule_place: Place | None = None
    causes: tuple[str, ...] = ()
    command: str = ""


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """All results in the order of rules and configs.

    `base` is what it was compared with ("" if nothing); `fail_on` says which outcomes fail the check.
    """

    thresholds: str
    configs: tuple[str, ...]
    base: str
    fail_on: FailOn = "error"
    results: tuple[Result, ...]
    kind: Literal["check"] = "check"
    schema_version: int = SCHEMA_VERSION
    samattn_version: str = __version__

    @property
    def outcome(self) -> Outcome:
        """The worst."""
        return _worst(result.outcome for result in self.results)

    @property
    def verdict(self) -> Outcome:
        """The worst, of what results count as: see `weight`."""
        return _worst(map(self.weight, self.results))

    def fails(self, result: Result) -> bool:
        """Whether a result fails the check; what could not be checked does so whatever `fail_on` says, and otherwise."""
        return result.outcome in FAILING[self.fail_on]

    def weight(self, result: Result) -> Outcome:
        """The outcome that a result counts as for others: a warning that fails the check is an error to them.

        With "never" an error remains one: that nobody is to be stopped by it does not make it less.
        """
        return "error" if self.fails(result) else result.outcome


def _worst(outcomes: Iterable[Outcome]) -> Outcome:
    return min(outcomes, key=WORST_FIRST.index, default="unchecked")
