"""What no rule says: configs that cannot be loaded, and what matches nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath

from ..errors import ConfigError, SamattnError
from ..files.globs import matches
from ..reports.diff import Place
from ..shell import command
from ..studies.places import place_in, place_of
from ..units import format_things
from .baseline import UPDATE, Baseline
from .load_thresholds import FILE, ThresholdsFile
from .references import Case
from .reports.check import Outcome, Result
from .thresholds import Action

CONFIG = "config"
UNMATCHED = "policy.unmatched"
REMOVED = "policy.removed"
LOOSENED = "policy.loosened"
OUTCOME_OF: dict[Action, Outcome] = {"error": "error", "warn": "warn", "ignore": "pass"}
"""What a finding is by each action of a policy."""


def not_loaded(case: Case, error: ConfigError) -> Result:
    """A config that cannot be loaded, with all that is wrong with it."""
    first, *others = error.problems
    more = f" (and {format_things(len(others), 'more problem')})" if others else ""
    return Result(
        rule=CONFIG,
        config=case.reference,
        profile=case.profile,
        outcome="unchecked",
        summary=f"cannot be loaded: {first.message}{more}",
        place=place_in(first.where),
        causes=tuple(map(str, others)),
    )


def empty_globs(file: ThresholdsFile, found: Mapping[int, Sequence[Case]]) -> Iterator[Result]:
    """Those of the file's `configs` that lead to no file."""
    for index, cases in found.items():
        pattern = file.thresholds.configs[index]
        if not cases:
            where = place_of(file.where("configs", index))
            summary = f"no file matches {pattern!r}"
            yield Result(
                rule=CONFIG, config="", outcome="unchecked", summary=summary, place=where, rule_place=where
            )


def unmatched(file: ThresholdsFile, known: Sequence[Case], asked: Sequence[Case]) -> Iterator[Result]:
    """Rules and waivers that are for none of the `known` configs, and configs of those `asked` that no rule is for."""
    for index, rule in enumerate(file.thresholds.rules):
        if not any(matches(rule.match, case.path) for case in known):
            summary = f"the rule {rule.id!r} is for no config: {rule.match!r} matches none"
            yield from _by_policy(file, "unchecked", summary, ("rules", index))
    for index, waiver in enumerate(file.thresholds.waivers):
        if not any(_waives(file, waiver.rule, waiver.config, case) for case in known):
            none = f"{waiver.config!r} matches none that the rule is for"
            summary = f"the waiver of {waiver.rule!r} is for no config: {none}"
            yield from _by_policy(file, "error", summary, ("waivers", index))
    for case in asked:
        if not has_rule(file, case):
            yield from _by_policy(
                file,
                "unchecked",
                f"no rule is for {case.reference}",
                ("rules",),
                case.reference,
                _how_to_add(file, case),
            )


def gone(file: ThresholdsFile, baseline: Baseline, cases: Sequence[Case]) -> Iterator[Result]:
    """Configs that the baseline has figures of, which none of the file's is or was: what they were is not checked."""
    try:
        held = {baseline.path(case) for case in cases}
    except SamattnError:
        return  # said for each rule
    for path, entries in baseline.by_config.items():
        if path not in held:
            where = Place(baseline.label, entries[0].line, 1)
            yield Result(
                rule=REMOVED,
                config=path,
                outcome=OUTCOME_OF[file.thresholds.policy.removed],
                summary=f"the baseline has figures of {path}, and no config that is checked has or had that name",
                advice=f"{UPDATE} removes them",
                place=where,
                rule_place=where,
            )


def has_rule(file: ThresholdsFile, case: Case) -> bool:
    """Whether a rule is for a config."""
    return any(matches(rule.match, case.path) for rule in file.thresholds.rules)


def _waives(file: ThresholdsFile, rule_id: str, pattern: str, case: Case) -> bool:
    rules = (rule for rule in file.thresholds.rules if rule.id == rule_id)
    return matches(pattern, case.path) and any(matches(rule.match, case.path) for rule in rules)


def _how_to_add(file: ThresholdsFile, case: Case) -> str:
    """The command that gives a config its limits."""
    if PurePath(file.label).name != FILE:
        return ""
    where = () if file.folder == Path() else ("--directory", str(file.folder))
    return f"{command('init', '--add', case.reference, *where)} gives it limits of today's figures"


def _by_policy(
    file: ThresholdsFile,
    worst: Outcome,
    summary: str,
    loc: tuple[str | int, ...],
    config: str = "",
    advice: str = "",
) -> Iterator[Result]:
    """What the policy makes of something that matches nothing; `worst` is what it is as an error."""
    action = file.thresholds.policy.unmatched
    if action != "ignore":
        outcome = worst if action == "error" else "warn"
        where = place_of(file.where(*loc))
        yield Result(
            rule=UNMATCHED,
            config=config,
            outcome=outcome,
            summary=summary,
            advice=advice,
            place=where,
            rule_place=where,
        )
