"""`samattn check`: every rule on every config that it matches, and everything that could not be checked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import date
from functools import cached_property
from itertools import chain
from typing import Any

from ..errors import ConfigError, Message, SamattnError
from ..files.globs import matches
from ..records import dataclass, replace
from ..studies.places import place_of
from ..studies.progress import Tell, silent, telling
from .base import AtBase
from .baseline import UPDATE, Baseline
from .configs import configs_of, each_once, named_configs, paths_of
from .encoders import Encoders
from .evaluate import Judged, judge, judge_increase, number, shown_unit
from .evidence import NOTHING, evidence
from .history import history
from .load_thresholds import ThresholdsFile
from .lookup import Reading
from .open_references import known_references
from .policy import OUTCOME_OF, empty_globs, has_rule, not_loaded, removed, unmatched
from .reasons import in_context, reason
from .recordings import Recordings, alike
from .references import Case, Reference
from .reports.check import CheckReport, Result, coded
from .thresholds import Rule
from .waivers import waive

Check = tuple[int, Rule, Case]
"""A rule, its index and a config, without a profile."""


def check(
    file: ThresholdsFile,
    configs: Sequence[str] = (),
    *,
    today: date,
    recordings: Recordings | None = None,
    base: str | None = None,
    references: Mapping[str, Reference] | None = None,
    tell: Tell = silent,
) -> CheckReport:
    """Check encoders against thresholds.

    Args:
        file: the thresholds.
        configs: the configs to check, as paths from the working directory or presets; by default all of the file.
        today: the date on which waivers are judged, in UTC.
        recordings: for measured metrics; by default those that ship with samattn.
        base: a ref; configs are compared with the commit where HEAD left it. "auto" is the ref that CI names, else the main
            branch. The default is "auto" if a rule has `vs: base`, else none.
        references: what rules compare with, by their `vs`, in place of the base and of the baseline next to the thresholds.
        tell: is called with the number of checks that are done and of all; a check is one rule on one config.

    Raises:
        GitError: if there is no such base; the message says how to fetch it.
        ConfigError: if the baseline is damaged, or the device of a profile is.
    """
    encoders = Encoders(file, recordings or Recordings(), paths_of(file, configs))
    references = known_references(encoders, base) if references is None else references
    run = _Run(file, tuple(configs), today, encoders, references, tell)
    return CheckReport(
        thresholds=file.label,
        configs=tuple(dict.fromkeys(case.reference for case in run.cases)),
        base=_described(references.get("base")),
        results=tuple(run.results()),
    )


@dataclass(frozen=True)
class _Run:
    """One check."""

    file: ThresholdsFile
    configs: tuple[str, ...]
    today: date
    encoders: Encoders
    references: Mapping[str, Reference]
    tell: Tell

    @cached_property
    def of_file(self) -> dict[int, list[Case]]:
        """The configs of the file, by the index of the entry that matches them."""
        return configs_of(self.file)

    @cached_property
    def cases(self) -> list[Case]:
        """The configs to check, without profiles."""
        return each_once(named_configs(self.file, self.configs) if self.configs else self._all_of_file)

    @property
    def _all_of_file(self) -> list[Case]:
        return [case for cases in self.of_file.values() for case in cases]

    def results(self) -> Iterator[Result]:
        """All results: of rules on configs, then configs that could not be loaded, then findings that no rule makes."""
        rules = enumerate(self.file.thresholds.rules)
        checks = [(*rule, case) for rule in rules for case in self.cases if matches(rule[1].match, case.path)]
        yield from chain.from_iterable(self._judged_by_config(checks))
        yield from self._not_loaded()
        if not self.configs:
            yield from empty_globs(self.file, self.of_file)
        known = each_once([*self._all_of_file, *self.cases])
        loaded = [case for case in self.cases if not self.encoders.failed(case.path)]
        yield from unmatched(self.file, known, loaded)
        base, baseline = self.references.get("base"), self.references.get("baseline")
        if isinstance(baseline, Baseline):
            yield from removed(self.file, baseline, known)
        if isinstance(base, AtBase):
            yield from history(base, each_once(self._all_of_file))

    def _judged_by_config(self, checks: Sequence[Check]) -> Iterable[Sequence[Result]]:
        """The results of each check, in the order of `checks`. One config after the other is judged, so that its passes can be dropped."""
        by_config: dict[Case, list[int]] = {}
        for place, (_, _, case) in enumerate(checks):
            by_config.setdefault(case, []).append(place)
        order = list(chain.from_iterable(by_config.values()))
        done = (tuple(self._of_rule(*checks[place])) for place in order)
        results = dict(zip(order, telling(done, self.tell, len(checks)), strict=True))
        return [results[place] for place in range(len(checks))]

    def _not_loaded(self) -> Iterator[Result]:
        for case in self.cases:
            if not has_rule(self.file, case):
                self.encoders.of(case)
            yield from (not_loaded(*failed) for failed in self.encoders.failed(case.path))

    def _of_rule(self, index: int, rule: Rule, case: Case) -> Iterator[Result]:
        case = replace(case, profile=rule.profile)
        encoder = self.encoders.of(case)
        if isinstance(encoder, ConfigError):
            return  # reported once for all rules
        about = self._about(index, rule, case)
        try:
            judged = self._judged(rule, case, encoder.readings(rule.metric))
        except SamattnError as error:
            yield coded(
                in_context(f"could not check {rule.metric}", reason(error)), **about, outcome="unchecked"
            )
            return
        if judged is None:
            yield self._new(rule, about)
        else:
            yield self._verdict(rule, case, about, judged)

    def _about(self, index: int, rule: Rule, case: Case) -> dict[str, Any]:
        """The attributes of a result that do not depend on the verdict."""
        return {
            "rule": rule.id,
            "config": case.reference,
            "profile": case.profile,
            "metric": rule.metric,
            "unit": shown_unit(rule),
            "advice": rule.message,
            "rule_place": place_of(self.file.where("rules", index)),
        }

    def _judged(self, rule: Rule, case: Case, readings: tuple[Reading, ...]) -> Judged | None:
        """The verdict; None if there is nothing to compare with."""
        if rule.vs is None:
            judged = judge(rule, alike(readings))
        else:
            reference = self.references[rule.vs]
            there = _there(reference, case, rule)
            if there is None and rule.vs == "baseline":
                there = _there(reference, self._copied(case), rule)
            if there is None:
                return None
            here = alike(readings, there)
            judged = judge_increase(rule, here, alike(there, here), reference.name)
        return waive(judged, rule, case, self.file.thresholds.waivers, self.today)

    def _copied(self, case: Case) -> Case:
        """The config that a new one is a copy of, whose figures the baseline has; itself, if it is not a copy."""
        base = self.references.get("base")
        try:
            return replace(case, path=base.path_of(case)) if isinstance(base, AtBase) else case
        except SamattnError:
            return case

    def _new(self, rule: Rule, about: Mapping[str, Any]) -> Result:
        name = self.references[rule.vs].name if rule.vs else ""
        remedy = f"; {UPDATE} adds it" if rule.vs == "baseline" else ""
        text = f"is new: {name} does not have this config, so {rule.metric} cannot be compared{remedy}"
        return coded(
            Message("new-config", text), **about, outcome=OUTCOME_OF[self.file.thresholds.policy.new]
        )

    def _verdict(self, rule: Rule, case: Case, about: Mapping[str, Any], judged: Judged) -> Result:
        fails = judged.outcome != "pass"
        base = self.references.get("base")
        known = (
            evidence(self.encoders, case, rule.metric, base if isinstance(base, AtBase) else None)
            if fails
            else NOTHING
        )
        return Result(
            **about,
            outcome=judged.outcome,
            value=number(judged.reading.value),
            compared=None if judged.compared is None else number(judged.compared),
            compared_with=judged.compared_with,
            limit=number(judged.limit),
            excess=None if judged.excess is None else number(judged.excess),
            summary=judged.summary,
            place=known.place,
            causes=(*(_copy(base, case) if fails and rule.vs else ()), *known.causes),
            command=known.command,
        )


def _described(base: Reference | None) -> str:
    """The name of the base in reports; "" if there is none."""
    return "" if base is None else base.described if isinstance(base, AtBase) else base.name


def _copy(base: Reference | None, case: Case) -> Iterator[str]:
    """Why a new config is compared with another."""
    with suppress(SamattnError):
        if isinstance(base, AtBase) and (original := base.copied_from(case)):
            verb = "is" if base.is_copy(case) else "extends"
            yield f"{case.reference} {verb} a copy of {base.label(original)}, which costs less now"


def _there(reference: Reference, case: Case, rule: Rule) -> tuple[Reading, ...] | None:
    """The figure of the reference; None if it does not have this config."""
    try:
        return reference.readings(case, rule.metric)
    except SamattnError as error:
        why = reason(error)
        text = f"in {reference.name}: {why}" if reference.name else str(why)
        raise SamattnError(why.code, text) from None
