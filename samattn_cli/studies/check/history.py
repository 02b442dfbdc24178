"""What a change does to the thresholds themselves: what it loosens, removes, and takes out of their reach."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...config.globs import matches
from ...config.load_thresholds import ThresholdsFile
from ...config.metric_names import unit_of
from ...config.presets import presets
from ...config.thresholds import Action, Policy
from ...config.yaml12 import Loc
from ...errors import ConfigError, SamattnError
from ...reports.baseline import Entry
from ...reports.check import Result
from ...reports.diff import CHANGED, Place
from ...units import format_amount, format_apart, format_things
from .base import AtBase
from .baseline import UPDATE, raised_by_hand, read_baseline, taken_out
from .found import configs_of
from .loosened import STRICTNESS, Change, loosened, same_rules
from .policy import NEW, place_of
from .references import Case

MOST_NAMES = 3


def history(base: AtBase, cases: Sequence[Case]) -> Iterator[Result]:
    """The findings, each by the stricter of the policy at the base and today's.

    Args:
        base: the base.
        cases: all configs of today's thresholds file, without profiles.
    """
    now = base.file
    try:
        before = base.thresholds
        if before is None:
            yield _no_thresholds(base)
            changes: list[Change] = []
        else:
            changes = [*loosened(before, now), *_out_of_rules(base, before, cases)]
        changes += _out_of_configs(base, before or now, cases)
    except SamattnError as error:
        yield _unknown(base, error)
        return
    policies = (now.thresholds.policy, (before or now).thresholds.policy)
    yield from _of_baseline(base, cases, max((policy.loosened for policy in policies), key=STRICTNESS.index))
    yield from (found for change in changes for found in _by_policy(base, before, change, policies))


def _by_policy(
    base: AtBase, before: ThresholdsFile | None, change: Change, policies: Sequence[Policy]
) -> Iterator[Result]:
    actions: list[Action] = [getattr(policy, change.kind) for policy in policies]
    action = max(actions, key=STRICTNESS.index)
    if action == "ignore":
        return
    stood = f"; it stood at {before.where(*change.then)}" if before and change.then else ""
    yield _found(base, change.kind, action, f"{change.summary} (since {base.name}){stood}", change.now)


def _of_baseline(base: AtBase, cases: Sequence[Case], action: Action) -> Iterator[Result]:
    """Figures of the baseline that were raised otherwise than with a reason, or taken out of it."""
    try:
        then, now = read_baseline(base.file, base.tree), read_baseline(base.file)
    except SamattnError:
        return  # of today's the rules that need it tell; what cannot be read at the base held nothing
    if then is None or now is None or action == "ignore":
        return
    for was, entry in raised_by_hand(then, now):
        values = CHANGED.join(format_apart(unit_of(entry.metric), was.value, entry.value))
        said = f"the baseline was raised without a reason: {entry.metric} {values}"
        advice = f"{UPDATE} --accept RULE --reason TEXT raises it, and keeps the reason"
        yield _of_figure(base, action, entry, said, advice, Place(now.label, entry.line, 1))
    for entry in taken_out(then, now, base.file, {case.path for case in cases}):
        said = (
            f"the baseline lost a figure: {entry.metric} {format_amount(entry.value, unit_of(entry.metric))}"
        )
        yield _of_figure(base, action, entry, said, "restore its line from git", Place(now.label, 1, 1))


def _of_figure(base: AtBase, action: Action, entry: Entry, summary: str, advice: str, place: Place) -> Result:
    return Result(
        rule="policy.loosened",
        config=entry.config,
        profile=entry.profile,
        outcome=NEW[action],
        summary=f"{summary} (since {base.name})",
        advice=advice,
        place=place,
        rule_place=place,
    )


def _found(base: AtBase, kind: str, action: Action, summary: str, loc: Loc) -> Result:
    where = place_of(base.file.where(*loc))
    return Result(
        rule=f"policy.{kind}", config="", outcome=NEW[action], summary=summary, place=where, rule_place=where
    )


def _no_thresholds(base: AtBase) -> Result:
    said = f"{base.name} has no {base.file.label}: nothing can be said of what this change loosens"
    return _found(base, "new", base.file.thresholds.policy.new, said, ())


def _unknown(base: AtBase, error: SamattnError) -> Result:
    """Thresholds that cannot be read at the base."""
    where = place_of(base.file.where())
    problems = error.problems if isinstance(error, ConfigError) else ()
    reason = str(problems[0]) if problems else str(error)
    return Result(
        rule="policy.loosened",
        config="",
        outcome="unchecked",
        summary=f"could not check what this change loosens: in {base.name}: {reason}",
        place=where,
        rule_place=where,
    )


def _out_of_rules(base: AtBase, before: ThresholdsFile, cases: Sequence[Case]) -> Iterator[Change]:
    """Rules that are no longer for configs that they were for, whether `match` or the config's name changed."""
    known = _paths(base, before)
    former = [(case, known[path]) for case in cases if (path := _former(base, case)) in known]
    for pair in same_rules(before, base.file):
        lost = [
            case.reference
            for case, then in former
            if matches(pair.then.match, then.path) and not matches(pair.now.match, case.path)
        ]
        if lost:
            key = "match" if pair.now.match != pair.then.match else "id"
            said = f"the rule {pair.now.id!r} is no longer for {_names(lost)}"
            yield Change("loosened", said, ("rules", pair.index, key))


def _out_of_configs(base: AtBase, before: ThresholdsFile, cases: Sequence[Case]) -> Iterator[Change]:
    """Configs of the base that are gone, or that `configs` no longer leads to."""
    still = {_former(base, case) for case in cases} | {os.path.normpath(case.reference) for case in cases}
    for path, case in _paths(base, before).items():
        if path not in still:
            is_there = Path(path).exists() or not base.tree.exists(Path(path))
            how = "is no longer checked: nothing in configs leads to it" if is_there else "was removed"
            yield Change("removed", f"the config {case.reference} {how}", ("configs",))


def _paths(base: AtBase, before: ThresholdsFile) -> dict[str, Case]:
    """The configs that the base's thresholds led to, by their paths there."""
    if before.files is base.tree:
        found = configs_of(before)
    else:  # it had none: those that today's would have led to
        found = configs_of(
            ThresholdsFile(before.thresholds, before.tree, before.label, before.folder, base.tree)
        )
    own = os.path.normpath(base.path) if base.path else ""
    cases = {os.path.normpath(case.reference): case for each in found.values() for case in each}
    return {path: case for path, case in cases.items() if path != own and _was_there(base, path, case)}


def _was_there(base: AtBase, path: str, case: Case) -> bool:
    return case.reference in presets() or base.tree.exists(Path(path))


def _former(base: AtBase, case: Case) -> str:
    """The path that a config had at the base; its own, if it was not there."""
    try:
        former = base.former(case)
    except SamattnError:
        former = None
    return os.path.normpath(former or case.reference)


def _names(names: Sequence[str]) -> str:
    if len(names) <= MOST_NAMES:
        return ", ".join(names)
    return f"{', '.join(names[:MOST_NAMES])} and {format_things(len(names) - MOST_NAMES, 'more config')}"
