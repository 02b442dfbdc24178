"""The report of `samattn check`: each rule on each config that it matches, and findings about the rules themselves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from ...errors import code_of
from ...records import dataclass
from ...reports import SCHEMA_VERSION
from ...reports.diff import Place
from ...reports.shown import Shown
from ...version import __version__

Outcome = Literal["pass", "waived", "warn", "error", "unchecked"]
"""From best to worst. "unchecked" could not be checked, and never passes."""

WORST_FIRST: tuple[Outcome, ...] = ("unchecked", "error", "warn", "waived", "pass")

FailOn = Literal["warn", "error", "never"]
"""The mildest outcome that fails a check."""

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
        rule: the rule's id, or "policy.removed", "policy.loosened", "config" (a config that cannot be loaded), ...
        config: the path of the config, from the working directory, or the name of a preset.
        profile: the profile's name.
        outcome: the verdict.
        metric: the metric of the rule; "" if there is none.
        unit: "B", "FLOP", "MAC", "ms", "params", "" for a ratio, "%" for a share of 1 (0.943 is shown as "94.30 %").
        value: of the metric; None if there is none.
        compared: the value at the base, in the baseline, or the expected one; None for an absolute limit.
        compared_with: "base main (1a2b3c4)", "the baseline", EXPECTED, or "".
        limit: the largest (or for a saving the smallest) value that passes, in `unit`; None if there is none.
        excess: value - limit, in `unit`, of a result that fails.
        summary: one sentence: what is wrong and by how much.
        advice: the rule's own message.
        place: the line of the config or of the thresholds file to look at.
        rule_place: the line of the rule.
        causes: the keys and layers that caused it, a line each.
        command: a command that shows more.
        code: the kind of fault, of what could not be checked and of findings that no rule made; "" for the verdict of a rule.
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
    code: str = ""


def coded(message: str, **keys: Any) -> Result:
    """A result whose sentence is a message with a code.

    Args:
        message: see `Message`.
        keys: the other attributes of `Result`.
    """
    return Result(**keys, summary=str(message), code=code_of(message))


@dataclass(frozen=True, kw_only=True)
class CheckReport(Shown):
    """All results, in the order of rules and configs.

    `base` is the commit that configs were compared with ("" if there is none). `fail_on` says which outcomes fail the check.
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
        """The worst outcome."""
        return _worst(result.outcome for result in self.results)

    @property
    def verdict(self) -> Outcome:
        """The worst of what results count as: see `weight`."""
        return _worst(map(self.weight, self.results))

    def fails(self, result: Result) -> bool:
        """Whether the outcome of a result is one that `fail_on` names. "unchecked" is not: it has an exit code of its own."""
        return result.outcome in FAILING[self.fail_on]

    def weight(self, result: Result) -> Outcome:
        """The outcome that a result is reported as to other programs: a warning that fails the check is an error to them.

        With "never" an error remains an error, although it does not change the exit code.
        """
        return "error" if self.fails(result) else result.outcome


def _worst(outcomes: Iterable[Outcome]) -> Outcome:
    return min(outcomes, key=WORST_FIRST.index, default="unchecked")
