"""The answer of `samattn check`: each rule on each config that it is for, and what is wrong with the rules themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..version import __version__
from . import SCHEMA_VERSION
from .diff import Place

Outcome = Literal["pass", "waived", "warn", "error", "unchecked"]
"""From best to worst; "unchecked": what could not be checked, which never passes."""

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
    value: float | None = None
    compared: float | None = None
    compared_with: str = ""
    limit: float | None = None
    excess: float | None = None
    summary: str
    advice: str = ""
    place: Place | None = None
    rule_place: Place | None = None
    causes: tuple[str, ...] = ()
    command: str = ""


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """All results in the order of rules and configs; `base` is what it was compared with ("" if nothing)."""

    thresholds: str
    configs: tuple[str, ...]
    base: str
    results: tuple[Result, ...]
    kind: Literal["check"] = "check"
    schema_version: int = SCHEMA_VERSION
    samattn_version: str = __version__

    @property
    def outcome(self) -> Outcome:
        """The worst."""
        order: tuple[Outcome, ...] = ("pass", "waived", "warn", "error", "unchecked")
        return max((result.outcome for result in self.results), key=order.index, default="unchecked")
