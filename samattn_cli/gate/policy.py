"""Findings that no rule makes: configs that cannot be loaded, and rules, waivers and configs that match nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath

from ..errors import ConfigError, Message, SamattnError, code_of
from ..files.globs import matches
from ..reports.diff import Place
from ..shell import command
from ..studies.places import place_in, place_of
from ..units import format_things
from .baseline import UPDATE, Baseline
from .load_thresholds import FILE, ThresholdsFile
from .references import Case
from .reports.check import Outcome, Result, coded
from .thresholds import Action

CONFIG = "config"
UNMATCHED = "policy.unmatched"
REMOVED = "policy.removed"
LOOSENED = "policy.loosened"
OUTCOME_OF: dict[Action, Outcome] = {"error": "error", "warn": "warn", "ignore": "pass"}
"""The outcome of a finding by the action of its policy."""


def not_loaded(case: Case, error: ConfigError) -> Result:
    """A config that cannot be loaded, with every problem in it."""
    first, *others = error.problems
    done = "traced" if case.is_traced else "loaded"
    more = f" (and {format_things(len(others), 'more problem')})" if others else ""
    return coded(
        Message(code_of(first.message), f"cannot be {done}: {first.message}{more}"),
        rule=CONFIG,
        config=case.reference,
        profile=case.profile,
        outcome="unchecked",
        place=place_in(first.where),
        causes=tuple(map(str, others)),
    )


def empty_globs(file: ThresholdsFile, configs: Mapping[int, Sequence[Case]]) -> Iterator[Result]:
    """The entries of the file's `configs` that match no file; `configs` are those that each entry matches."""
    for index, cases in configs.items():
        if not cases:
            where = place_of(file.where("configs", index))
            message = Message("no-file-matches", f"no file matches {file.thresholds.configs[index].path!r}")
            yield coded(message, rule=CONFIG, config="", outcome="unchecked", place=where, rule_place=where)


def unmatched(file: ThresholdsFile, known: Sequence[Case], asked: Sequence[Case]) -> Iterator[Result]:
    """Rules and waivers that match none of the `known` configs, and configs of those `asked` that no rule matches."""
    for index, rule in enumerate(file.thresholds.rules):
        if not any(matches(rule.match, case.path) for case in known):
            message = Message(
                "unmatched-rule", f"the rule {rule.id!r} matches no config: its `match` is {rule.match!r}"
            )
            yield from _by_policy(file, "unchecked", message, ("rules", index))
    for index, waiver in enumerate(file.thresholds.waivers):
        if not any(_waives(file, waiver.rule, waiver.config, case) for case in known):
            text = f"the waiver of {waiver.rule!r} matches no config of that rule: its `config` is {waiver.config!r}"
            yield from _by_policy(file, "error", Message("unmatched-waiver", text), ("waivers", index))
    for case in asked:
        if not has_rule(file, case):
            yield from _by_policy(
                file,
                "unchecked",
                Message("unmatched-config", f"no rule matches {case.reference}"),
                ("rules",),
                case.reference,
                _how_to_add(file, case),
            )


def removed(file: ThresholdsFile, baseline: Baseline, cases: Sequence[Case]) -> Iterator[Result]:
    """Configs whose figures the baseline has, and which none of `cases` is or was called: nothing checks them any more."""
    try:
        known = {baseline.path(case) for case in cases}
    except SamattnError:
        return  # reported for each rule
    for path, entries in baseline.by_config.items():
        if path not in known:
            where = Place(baseline.label, entries[0].line, 1)
            text = f"the baseline has figures of {path}, but no checked config has or had that name"
            yield coded(
                Message("baseline-without-config", text),
                rule=REMOVED,
                config=path,
                outcome=OUTCOME_OF[file.thresholds.policy.removed],
                advice=f"{UPDATE} removes them",
                place=where,
                rule_place=where,
            )


def has_rule(file: ThresholdsFile, case: Case) -> bool:
    """Whether a rule matches a config."""
    return any(matches(rule.match, case.path) for rule in file.thresholds.rules)


def _waives(file: ThresholdsFile, rule_id: str, pattern: str, case: Case) -> bool:
    rules = (rule for rule in file.thresholds.rules if rule.id == rule_id)
    return matches(pattern, case.path) and any(matches(rule.match, case.path) for rule in rules)


def _how_to_add(file: ThresholdsFile, case: Case) -> str:
    """Advice: the command that adds limits of a config."""
    if case.is_traced or PurePath(file.label).name != FILE:
        return ""
    where = () if file.folder == Path() else ("--directory", str(file.folder))
    return f"{command('init', '--add', case.reference, *where)} adds today's figures as limits"


def _by_policy(
    file: ThresholdsFile,
    worst: Outcome,
    message: Message,
    loc: tuple[str | int, ...],
    config: str = "",
    advice: str = "",
) -> Iterator[Result]:
    """The finding about something that matches nothing, unless the policy ignores it; `worst` is its outcome as an error."""
    action = file.thresholds.policy.unmatched
    if action != "ignore":
        outcome = worst if action == "error" else "warn"
        where = place_of(file.where(*loc))
        yield coded(
            message,
            rule=UNMATCHED,
            config=config,
            outcome=outcome,
            advice=advice,
            place=where,
            rule_place=where,
        )
