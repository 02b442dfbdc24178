"""What a change does to the thresholds themselves: what it loosens, removes, and takes out of their reach."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ..encoder.presets import presets
from ..encoder.tree import Loc
from ..errors import ConfigError, SamattnError
from ..files.globs import matches
from ..studies.places import place_of
from ..units import format_things
from .base import AtBase
from .baseline_edits import by_hand
from .configs import configs_of
from .load_thresholds import ThresholdsFile
from .loosened import Change, loosened, same_rules, strictest
from .policy import LOOSENED, OUTCOME_OF
from .references import Case
from .reports.check import Result
from .thresholds import Action, Policy

MOST_NAMES = 3


def history(base: AtBase, cases: Sequence[Case]) -> Iterator[Result]:
    """The findings, each by the stricter of the policy at the base and today's.

    Args:
        base: the base.
        cases: all configs of today's thresholds file, without profiles.
    """
    try:
        before = base.thresholds
        if before is None:
            yield _no_thresholds(base)
        changes = _changes(base, before, cases)
    except SamattnError as error:
        yield _unknown(base, error)
        return
    policies = tuple(file.thresholds.policy for file in (base.file, before) if file)
    try:
        yield from by_hand(base, cases, strictest(policy.loosened for policy in policies))
    except SamattnError as error:
        yield _unknown(base, error)
    yield from (found for change in changes for found in _by_policy(base, before, change, policies))


def _changes(base: AtBase, before: ThresholdsFile | None, cases: Sequence[Case]) -> list[Change]:
    """What is allowed now that was not, and what is out of reach."""
    out = _out_of_configs(base, before or base.file, cases)
    if before is None:
        return list(out)
    rules = (*loosened(before, base.file), *_out_of_rules(base, before, cases))
    return [*rules, *_left_out(base, before, cases), *out]


def _by_policy(
    base: AtBase, before: ThresholdsFile | None, change: Change, policies: Sequence[Policy]
) -> Iterator[Result]:
    action = strictest(getattr(policy, change.kind) for policy in policies)
    if action == "ignore":
        return
    stood = f"; it stood at {before.where(*change.then)}" if before and change.then else ""
    yield _found(base, change.kind, action, f"{change.summary} (since {base.name}){stood}", change.now)


def _found(base: AtBase, kind: str, action: Action, summary: str, loc: Loc) -> Result:
    where = place_of(base.file.where(*loc))
    return Result(
        rule=f"policy.{kind}",
        config="",
        outcome=OUTCOME_OF[action],
        summary=summary,
        place=where,
        rule_place=where,
    )


def _no_thresholds(base: AtBase) -> Result:
    label, unknown = base.file.label, "nothing can be said of what this change loosens"
    if gone := base.removed_thresholds:
        policy = base.file.thresholds.policy
        said = f"{_names(gone)} was removed since {base.name}, and {label} is new, not alike: {unknown}"
        return _found(base, "removed", strictest((policy.removed, policy.new)), said, ())
    said = f"{base.name} has no {label}: {unknown}"
    return _found(base, "new", base.file.thresholds.policy.new, said, ())


def _unknown(base: AtBase, error: SamattnError) -> Result:
    """Thresholds, or a baseline, that cannot be read at the base."""
    where = place_of(base.file.where())
    problems = error.problems if isinstance(error, ConfigError) else ()
    reason = str(problems[0]) if problems else str(error)
    return Result(
        rule=LOOSENED,
        config="",
        outcome="unchecked",
        summary=f"could not check what this change loosens: in {base.name}: {reason}",
        place=where,
        rule_place=where,
    )


def _out_of_rules(base: AtBase, before: ThresholdsFile, cases: Sequence[Case]) -> Iterator[Change]:
    """Rules that are no longer for configs that they were for, whether `match` or the config's name changed."""
    then = _today(base, before) | _paths(base, before)
    former = [(case, then[path]) for case in cases if (path := _former(base, case)) in then]
    for pair in same_rules(before, base.file):
        lost = [
            case.reference
            for case, was in former
            if matches(pair.then.match, was.path) and not matches(pair.now.match, case.path)
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


def _left_out(base: AtBase, before: ThresholdsFile, cases: Sequence[Case]) -> Iterator[Change]:
    """New configs that the base's thresholds would lead to, and today's do not."""
    known = {*_paths(base, before), *(os.path.normpath(case.reference) for case in cases)}
    own = {os.path.normpath(path) for path in (base.path, base.file.label) if path}
    for path, case in _today(base, before).items():
        if path not in known | own and Path(path).is_file():
            said = f"the new config {case.reference} is not checked: configs led to it, and does no more"
            yield Change("loosened", said, ("configs",))


def _today(base: AtBase, before: ThresholdsFile) -> dict[str, Case]:
    """The configs that thresholds of the base lead to on the disk, by their paths."""
    found = configs_of(replace(before, files=base.file.files))
    return {os.path.normpath(case.reference): case for each in found.values() for case in each}


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
