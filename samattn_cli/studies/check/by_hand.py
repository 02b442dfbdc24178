"""What was done to a baseline since the base of a change, otherwise than by `samattn baseline update`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from ...config.globs import matches
from ...config.metric_names import unit_of
from ...config.thresholds import Action
from ...errors import SamattnError
from ...reports.baseline import Entry
from ...reports.check import Result
from ...reports.diff import CHANGED, Place
from ...units import format_amount, format_apart
from .base import AtBase
from .baseline import UPDATE, Baseline, read_baseline
from .loosened import same_rules
from .policy import LOOSENED, OUTCOME_OF
from .references import Case

Names = Mapping[str, str]
"""The paths that configs have now, and had then, from the folder of the thresholds."""

Keys = Mapping[tuple[str, str], tuple[str, str]]
"""The profile and metric that a rule names now, and named then."""


def by_hand(base: AtBase, cases: Sequence[Case], action: Action) -> Iterator[Result]:
    """Figures that were raised otherwise than with a reason, or taken out of it.

    Raises:
        SamattnError: if the baseline cannot be read at the base.
    """
    now = _today(base)
    then = base.baseline if now and action != "ignore" else None
    if then is None or now is None:
        return
    found = _Found(base, action, {case.path: case.reference for case in cases})
    names = {case.path: _path(base, case) for case in cases}
    keys = _former_keys(base)
    for was, entry in _raised(then, now, names, keys):
        values = CHANGED.join(format_apart(unit_of(entry.metric), was.value, entry.value))
        said = f"the baseline was raised without a reason: {entry.metric} {values}"
        advice = f"{UPDATE} --accept RULE --reason TEXT raises it, and keeps the reason"
        yield found.result(entry.config, entry, said, advice, Place(now.label, entry.line, 1))
    for path, entry in _taken_out(then, now, base, names, keys):
        value = format_amount(entry.value, unit_of(entry.metric))
        said = f"the baseline lost a figure: {entry.metric} {value}"
        yield found.result(path, entry, said, "restore its line from git", Place(now.label, 1, 1))


def _today(base: AtBase) -> Baseline | None:
    try:
        return read_baseline(base.file)
    except SamattnError:
        return None  # of which the rules that need it tell


@dataclass(frozen=True)
class _Found:
    """What findings have in common; `called` is what configs are called in reports, by their paths."""

    base: AtBase
    action: Action
    called: Mapping[str, str]

    def result(self, path: str, entry: Entry, summary: str, advice: str, place: Place) -> Result:
        return Result(
            rule=LOOSENED,
            config=self.called.get(path, path),
            profile=entry.profile,
            outcome=OUTCOME_OF[self.action],
            summary=f"{summary} (since {self.base.name})",
            advice=advice,
            place=place,
            rule_place=place,
        )


def _path(base: AtBase, case: Case) -> str:
    """What the baseline at the base calls a config."""
    try:
        return base.path_of(case)
    except SamattnError:
        return case.path


def _former_keys(base: AtBase) -> Keys:
    """Of rules that are called otherwise than at the base, run in a profile or of a metric of another name."""
    pairs = same_rules(base.thresholds, base.file) if base.thresholds else []
    return {(pair.now.profile, pair.now.metric): (pair.then.profile, pair.then.metric) for pair in pairs}


def _raised(before: Baseline, now: Baseline, names: Names, keys: Keys) -> Iterator[tuple[Entry, Entry]]:
    """Figures that are larger than they were without a reason of their own: then and now."""
    for (path, *key), entry in now.entries.items():
        profile, metric = keys.get((entry.profile, entry.metric), key)
        then = before.entries.get((names.get(path, path), profile, metric))
        if then is None or then.counting != entry.counting or Fraction(entry.value) <= Fraction(then.value):
            continue
        if entry.accepted is None or entry.accepted == then.accepted:
            yield then, entry


def _taken_out(
    before: Baseline, now: Baseline, base: AtBase, names: Names, keys: Keys
) -> Iterator[tuple[str, Entry]]:
    """Figures that are there no more under any name, though a rule asks for them and their configs are there."""
    rules = [rule for rule in base.file.thresholds.rules if rule.vs == "baseline"]
    for path, then in names.items():
        asked = {(rule.profile, rule.metric) for rule in rules if matches(rule.match, path)}
        for key in sorted(asked):
            entry = before.entries.get((then, *keys.get(key, key)))
            if entry and not any((name, *key) in now.entries for name in (path, then)):
                yield path, entry
