"""Every rule on every config that it is for, and what could not be checked."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

from ...config.device import Device
from ...config.globs import is_glob, matches
from ...config.load import load_config
from ...config.load_thresholds import ThresholdsFile
from ...config.model import EncoderConfig
from ...config.thresholds import Action, Rule
from ...config.yaml12 import Where
from ...errors import ConfigError, SamattnError
from ...reports.check import CheckReport, Outcome, Result
from ...reports.diff import Place
from ...units import format_things
from .evaluate import Judged, judge, judge_increase, number, shown_unit
from .found import configs_of, given_configs
from .measured import Recordings, alike
from .metrics import Encoder, Reading
from .references import Case, Reference
from .waivers import waive

CONFIG = "config"
UNMATCHED = "policy.unmatched"
NEW: dict[Action, Outcome] = {"error": "error", "warn": "warn", "ignore": "pass"}
PLACE = re.compile(r"(.*?)(?::(\d+):(\d+))?", re.DOTALL)


def check(
    file: ThresholdsFile,
    given: Sequence[str] = (),
    *,
    today: date,
    recordings: Recordings | None = None,
    references: Mapping[str, Reference] | None = None,
) -> CheckReport:
    """Check encoders against thresholds.

    Args:
        file: the thresholds.
        given: the configs to check, as paths from the working directory or presets; those of the file if none.
        today: the day by which waivers expire.
        recordings: of measured metrics; those that ship with samattn if None.
        references: what rules compare with, by their `vs`.
    """
    run = _Run(file, tuple(given), today, recordings or Recordings(), references or {})
    return CheckReport(
        thresholds=file.label,
        configs=tuple(dict.fromkeys(case.reference for case in run.cases)),
        base=references["base"].name if references and "base" in references else "",
        results=tuple(run.results()),
    )


@dataclass(frozen=True)
class _Run:
    """One check: its configs, and its encoders as far as they have been loaded."""

    file: ThresholdsFile
    given: tuple[str, ...]
    today: date
    recordings: Recordings
    references: Mapping[str, Reference]
    loaded: dict[tuple[str, str], Encoder | ConfigError] = field(default_factory=dict)
    twins: dict[tuple[EncoderConfig, str], Encoder] = field(default_factory=dict)

    @cached_property
    def of_file(self) -> dict[int, list[Case]]:
        return configs_of(self.file)

    @cached_property
    def known(self) -> list[Case]:
        """Those of the file and those that were given."""
        return _unlike([*(case for cases in self.of_file.values() for case in cases), *self.cases])

    @cached_property
    def cases(self) -> list[Case]:
        """Those to check, without profiles."""
        if self.given:
            return _unlike(given_configs(self.file, self.given))
        return _unlike([case for cases in self.of_file.values() for case in cases])

    def results(self) -> Iterator[Result]:
        """All results: of rules on configs, then of what could not be loaded, and of what matches nothing."""
        for index, rule in enumerate(self.file.thresholds.rules):
            for case in self.cases:
                if matches(rule.match, case.path):
                    yield from self._of_rule(index, rule, replace(case, profile=rule.profile))
        yield from self._unloaded()
        yield from self._empty_globs()
        yield from self._unmatched()

    # -- rules --

    def _of_rule(self, index: int, rule: Rule, case: Case) -> Iterator[Result]:
        encoder = self._encoder(case)
        if isinstance(encoder, ConfigError):
            return  # said once for all rules
        about: dict[str, Any] = {
            "rule": rule.id,
            "config": case.reference,
            "profile": case.profile,
            "metric": rule.metric,
            "unit": shown_unit(rule),
            "advice": rule.message,
            "rule_place": _place(self.file.where("rules", index)),
        }
        try:
            judged = self._judged(rule, case, encoder.readings(rule.metric))
        except SamattnError as error:
            reason = str(error).replace("\n", "; ")
            yield Result(**about, outcome="unchecked", summary=f"could not check {rule.metric}: {reason}")
            return
        if judged is None:
            yield self._new(rule, about)
        else:
            yield self._said(rule, case, about, judged)

    def _judged(self, rule: Rule, case: Case, readings: tuple[Reading, ...]) -> Judged | None:
        """The verdict; None where there is nothing to compare with."""
        if rule.vs is None:
            judged = judge(rule, alike(readings))
        else:
            reference = self.references.get(rule.vs)
            if reference is None:
                raise SamattnError(REMEDIES[rule.vs])
            there = _there(reference, case, rule)
            if there is None:
                return None
            here = alike(readings, there)
            judged = judge_increase(rule, here, alike(there, here), reference.name)
        return waive(judged, rule, case, self.file.thresholds.waivers, self.today)

    def _new(self, rule: Rule, about: Mapping[str, Any]) -> Result:
        name = self.references[rule.vs].name if rule.vs else ""
        summary = f"is new: {name} has no such config, and so nothing to compare {rule.metric} with"
        return Result(**about, outcome=NEW[self.file.thresholds.policy.new], summary=summary)

    def _said(self, rule: Rule, case: Case, about: Mapping[str, Any], judged: Judged) -> Result:
        fails = judged.outcome != "pass"
        reference = self.references.get(rule.vs or "base") if fails else None
        return Result(
            **about,
            outcome=judged.outcome,
            value=number(judged.reading.value),
            compared=None if judged.compared is None else number(judged.compared),
            compared_with=judged.compared_with,
            limit=number(judged.limit),
            excess=None if judged.excess is None else number(judged.excess),
            summary=judged.summary,
            place=Place(case.reference) if fails and Path(case.reference).is_file() else None,
            causes=reference.causes(case, rule.metric) if reference else (),
            command=self._more(case, reference) if fails else "",
        )

    def _more(self, case: Case, reference: Reference | None) -> str:
        """The command that shows more: how it differs from the reference, or its analysis."""
        if reference is not None and (command := reference.command(case)):
            return command
        words = ["samattn", "analyze", case.reference]
        for override in self.file.overrides(case.profile):
            value = override.value.plain()
            words += ["--set", f"{override.key}={value if isinstance(value, str) else json.dumps(value)}"]
        device = (self.file.thresholds.profiles or {})[case.profile].device if case.profile else ""
        return shlex.join([*words, *(["--device", device] if device else [])])

    # -- encoders --

    def _encoder(self, case: Case) -> Encoder | ConfigError:
        """The encoder of a case, or why it cannot be loaded. Twins are one: they share their passes."""
        at = (case.path, case.profile)
        if at not in self.loaded:
            self.loaded[at] = self._load(case)
        return self.loaded[at]

    def _load(self, case: Case) -> Encoder | ConfigError:
        try:
            config = load_config(case.reference, self.file.overrides(case.profile))
        except ConfigError as error:
            return error
        key = (replace(config, name="", description=""), case.profile)
        if key not in self.twins:
            self.twins[key] = Encoder(config, self._device(case.profile), self.recordings)
        return self.twins[key]

    def _device(self, profile: str) -> Device | None:
        if profile not in self.devices:
            self.devices[profile] = self.file.device(profile)
        return self.devices[profile]

    @cached_property
    def devices(self) -> dict[str, Device | None]:
        return {}

    # -- what could not be checked --

    def _unloaded(self) -> Iterator[Result]:
        for case in self.cases:
            if not any(matches(rule.match, case.path) for rule in self.file.thresholds.rules):
                self._encoder(case)
            errors = [(profile, found) for (path, profile), found in self.loaded.items() if path == case.path]
            for profile, error in errors:
                if isinstance(error, ConfigError):
                    yield _not_loaded(case, profile, error)

    def _empty_globs(self) -> Iterator[Result]:
        for index, cases in self.of_file.items():
            pattern = self.file.thresholds.configs[index]
            if not cases and is_glob(pattern) and not self.given:
                where = _place(self.file.where("configs", index))
                summary = f"no file matches {pattern!r}"
                yield Result(
                    rule=CONFIG,
                    config="",
                    outcome="unchecked",
                    summary=summary,
                    place=where,
                    rule_place=where,
                )

    def _unmatched(self) -> Iterator[Result]:
        """Rules and waivers that match no config, configs that no rule matches."""
        thresholds = self.file.thresholds
        for index, rule in enumerate(thresholds.rules):
            if not any(matches(rule.match, case.path) for case in self.known):
                summary = f"the rule {rule.id!r} is for no config: {rule.match!r} matches none"
                yield from self._by_policy("unchecked", summary, ("rules", index))
        for index, waiver in enumerate(thresholds.waivers):
            if not any(self._waives(waiver.rule, waiver.config, case) for case in self.known):
                summary = f"the waiver of {waiver.rule!r} is for no config: {waiver.config!r} matches none that the rule is for"
                yield from self._by_policy("error", summary, ("waivers", index))
        for case in self.cases:
            if not any(matches(rule.match, case.path) for rule in thresholds.rules):
                summary = f"no rule is for {case.reference}"
                yield from self._by_policy("unchecked", summary, ("rules",), case.reference)

    def _waives(self, rule_id: str, pattern: str, case: Case) -> bool:
        rules = (rule for rule in self.file.thresholds.rules if rule.id == rule_id)
        return matches(pattern, case.path) and any(matches(rule.match, case.path) for rule in rules)

    def _by_policy(
        self, worst: Outcome, summary: str, loc: tuple[str | int, ...], config: str = ""
    ) -> Iterator[Result]:
        action = self.file.thresholds.policy.unmatched
        if action == "ignore":
            return
        outcome = worst if action == "error" else "warn"
        where = _place(self.file.where(*loc))
        yield Result(
            rule=UNMATCHED, config=config, outcome=outcome, summary=summary, place=where, rule_place=where
        )


def _there(reference: Reference, case: Case, rule: Rule) -> tuple[Reading, ...] | None:
    """The figure elsewhere; None where there is no such config."""
    try:
        return reference.readings(case, rule.metric)
    except SamattnError as error:
        raise SamattnError(f"in {reference.name}: {error}") from None


REMEDIES = {
    "base": "there is no base to compare with",
    "baseline": "there is no baseline to compare with",
}


def _unlike(cases: Sequence[Case]) -> list[Case]:
    """Each config once."""
    return list({case.path: case for case in cases}.values())


def _not_loaded(case: Case, profile: str, error: ConfigError) -> Result:
    first, *others = error.problems
    more = f" (and {format_things(len(others), 'more problem')})" if others else ""
    return Result(
        rule=CONFIG,
        config=case.reference,
        profile=profile,
        outcome="unchecked",
        summary=f"cannot be loaded: {first.message}{more}",
        place=_parsed_place(first.where),
        causes=tuple(map(str, others)),
    )


def _parsed_place(where: str) -> Place | None:
    """Of a problem that stands in a file."""
    found = PLACE.fullmatch(where)
    if found is None or found[2] is None:
        return None
    return Place(found[1], int(found[2]), int(found[3]))


def _place(where: Where) -> Place:
    return Place(where.source, where.line, where.column)
