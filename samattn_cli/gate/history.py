"""What a change does to the thresholds themselves: limits that it loosens, and rules and configs that it removes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ..encoder.presets import presets
from ..encoder.tree import Loc
from ..errors import Message, SamattnError
from ..files.globs import matches
from ..records import replace
from ..studies.places import place_of
from ..units import format_things
from .base import AtBase
from .baseline_edits import baseline_edits
from .configs import configs_of
from .load_thresholds import ThresholdsFile
from .loosened import Change, loosened, same_rules, strictest
from .policy import LOOSENED, OUTCOME_OF
from .reasons import in_context, reason
from .references import Case
from .reports.check import Result, coded
from .thresholds import Action, Policy

MOST_NAMES = 3


def history(base: AtBase, cases: Sequence[Case]) -> Iterator[Result]:
    """The findings. The stricter of the policy at the base and today's decides about each.

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
        yield from baseline_edits(base, cases, strictest(policy.loosened for policy in policies))
    except SamattnError as error:
        yield _unknown(base, error)
    yield from (finding for change in changes for finding in _by_policy(base, before, change, policies))


def _changes(base: AtBase, before: ThresholdsFile | None, cases: Sequence[Case]) -> list[Change]:
    """Everything that is allowed now and was not, and everything that is no longer checked."""
    then = _paths(base, before or base.file)
    unchecked = _unchecked_configs(base, then, cases)
    if before is None:
        return list(unchecked)
    today = _today(base, before)
    rules = (*loosened(before, base.file), *_unmatched_configs(base, before, today | then, cases))
    return [*rules, *_unchecked_new_configs(base, today, then, cases), *unchecked]


def _by_policy(
    base: AtBase, before: ThresholdsFile | None, change: Change, policies: Sequence[Policy]
) -> Iterator[Result]:
    action = strictest(getattr(policy, change.kind) for policy in policies)
    if action == "ignore":
        return
    then = f"; it was at {before.where(*change.then)}" if before and change.then else ""
    message = Message(change.summary.code, f"{change.summary} (since {base.name}){then}")
    yield _finding(base, change.kind, action, message, change.now)


def _finding(base: AtBase, kind: str, action: Action, message: Message, loc: Loc) -> Result:
    where = place_of(base.file.where(*loc))
    return coded(
        message,
        rule=f"policy.{kind}",
        config="",
        outcome=OUTCOME_OF[action],
        place=where,
        rule_place=where,
    )


def _no_thresholds(base: AtBase) -> Result:
    label, unknown = base.file.label, "samattn cannot tell what this change loosens"
    policy = base.file.thresholds.policy
    if removed := base.removed_thresholds:
        text = f"{_names(removed)} was removed since {base.name}, and {label} is new and different: {unknown}"
        message = Message("thresholds-replaced", text)
        return _finding(base, "removed", strictest((policy.removed, policy.new)), message, ())
    message = Message("thresholds-new", f"{base.name} has no {label}: {unknown}")
    return _finding(base, "new", policy.new, message, ())


def _unknown(base: AtBase, error: SamattnError) -> Result:
    """Thresholds, or a baseline, that cannot be read at the base."""
    where = place_of(base.file.where())
    return coded(
        in_context(f"could not check what this change loosens: in {base.name}", reason(error)),
        rule=LOOSENED,
        config="",
        outcome="unchecked",
        place=where,
        rule_place=where,
    )


def _unmatched_configs(
    base: AtBase, before: ThresholdsFile, then: Mapping[str, Case], cases: Sequence[Case]
) -> Iterator[Change]:
    """Rules that no longer match a config that they matched, whether `match` or the config's name changed.

    `then` are the configs that thresholds of the base match, today or at the base, by their paths.
    """
    pairs = [(case, then[path]) for case in cases if (path := _old_path(base, case)) in then]
    for pair in same_rules(before, base.file):
        lost = [
            case.reference
            for case, was in pairs
            if matches(pair.then.match, was.path) and not matches(pair.now.match, case.path)
        ]
        if lost:
            key = "match" if pair.now.match != pair.then.match else "id"
            message = Message(
                "rule-matches-less", f"the rule {pair.now.id!r} no longer matches {_names(lost)}"
            )
            yield Change("loosened", message, ("rules", pair.index, key))


def _unchecked_configs(base: AtBase, then: Mapping[str, Case], cases: Sequence[Case]) -> Iterator[Change]:
    """Configs of the base that were removed, or that `configs` no longer matches; `then` are all of them, by their paths."""
    still = {_old_path(base, case) for case in cases} | {os.path.normpath(case.reference) for case in cases}
    for path, case in then.items():
        if path not in still:
            is_there = Path(path).exists() or not base.tree.exists(Path(path))
            what = f"the config {case.reference}"
            message = (
                Message("config-unlisted", f"{what} is no longer checked: no entry of `configs` matches it")
                if is_there
                else Message("config-removed", f"{what} was removed")
            )
            yield Change("removed", message, ("configs",))


def _unchecked_new_configs(
    base: AtBase, today: Mapping[str, Case], then: Mapping[str, Case], cases: Sequence[Case]
) -> Iterator[Change]:
    """New configs that `configs` of the base would match, and today's `configs` does not."""
    known = {*then, *(os.path.normpath(case.reference) for case in cases)}
    known |= {os.path.normpath(path) for path in (base.path, base.file.label) if path}
    for path, case in today.items():
        if path not in known and Path(path).is_file():
            text = f"the new config {case.reference} is not checked: `configs` of the base would match it"
            yield Change("loosened", Message("new-config-unlisted", text), ("configs",))


def _today(base: AtBase, before: ThresholdsFile) -> dict[str, Case]:
    """The configs on the disk that thresholds of the base match, by their paths."""
    configs = configs_of(replace(before, files=base.file.files))
    return {os.path.normpath(case.reference): case for each in configs.values() for case in each}


def _paths(base: AtBase, before: ThresholdsFile) -> dict[str, Case]:
    """The configs at the base that its thresholds match, by their paths there."""
    if before.files is base.tree:
        configs = configs_of(before)
    else:  # the base has no thresholds: the configs that today's would have matched
        configs = configs_of(
            ThresholdsFile(before.thresholds, before.tree, before.label, before.folder, base.tree)
        )
    own = os.path.normpath(base.path) if base.path else ""
    cases = {os.path.normpath(case.reference): case for each in configs.values() for case in each}
    return {path: case for path, case in cases.items() if path != own and _was_there(base, path, case)}


def _was_there(base: AtBase, path: str, case: Case) -> bool:
    return case.is_traced or case.reference in presets() or base.tree.exists(Path(path))


def _old_path(base: AtBase, case: Case) -> str:
    """The path of a config at the base; its own, if it is new."""
    try:
        path = base.old_path(case)
    except SamattnError:
        path = None
    return os.path.normpath(path or case.reference)


def _names(names: Sequence[str]) -> str:
    if len(names) <= MOST_NAMES:
        return ", ".join(names)
    return f"{', '.join(names[:MOST_NAMES])} and {format_things(len(names) - MOST_NAMES, 'more config')}"
