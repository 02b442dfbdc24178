"""What was done to a baseline since the base of a change, otherwise than by `samattn baseline update`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from ..errors import SamattnError
from ..files.globs import matches
from ..metric_names import unit_of
from ..reports.diff import CHANGED, Place
from ..units import format_amount, format_apart
from .acceptance import Acceptances
from .base import AtBase
from .baseline import UPDATE, Baseline, read_baseline
from .loosened import same_rules
from .policy import LOOSENED, OUTCOME_OF
from .references import Case
from .reports.baseline import Entry, Key
from .reports.check import Result
from .thresholds import Action

RAISE = f"{UPDATE} --accept RULE --reason TEXT raises it, and keeps the reason"

Names = Mapping[str, str]
"""The paths that configs have now, and had then, from the folder of the thresholds."""

Keys = Mapping[tuple[str, str], Sequence[tuple[str, str]]]
"""The profile and metric that a rule names now, to those that rules vs baseline named then, which it was."""


def by_hand(base: AtBase, cases: Sequence[Case], action: Action) -> Iterator[Result]:
    """Figures that were raised, each with its reason or as what is wrong with it; that are above today's; that are gone.

    Raises:
        SamattnError: if the baseline cannot be read at the base.
    """
    now = _today(base)
    if now is None or action == "ignore":
        return
    then = base.baseline
    before = then.entries if then else {}
    found = _Found(base, action, now.label, {case.path: case.reference for case in cases})
    names = {case.path: _path(base, case) for case in cases}
    keys = _former_keys(base)
    acceptances = Acceptances(base, {case.path: case for case in cases})
    for was, entry in _risen(before, now, names, keys):
        if was is None:
            yield from found.above(entry, acceptances.excess(entry))
        else:
            yield found.raised(was, entry, acceptances.doubts(was, entry))
    for path, entry in _taken_out(before, now, base, names, keys):
        yield found.lost(path, entry)


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
    baseline: str
    called: Mapping[str, str]

    def raised(self, was: Entry, entry: Entry, doubts: str) -> Result:
        """A figure that is larger than it was: shown as a waiver is, if there is nothing wrong with its reason."""
        values = f"{entry.metric} {CHANGED.join(format_apart(unit_of(entry.metric), was.value, entry.value))}"
        if doubts or entry.accepted is None:
            said = f"the baseline was raised {doubts}: {values}"
            return self._finding(entry.config, entry, said, RAISE, entry.line)
        said = f"the baseline was raised: {values}, accepted under {entry.accepted.rule!r}: {entry.accepted.reason}"
        finding = self._finding(entry.config, entry, said, "", entry.line)
        return replace(finding, rule=entry.accepted.rule, outcome="waived")

    def above(self, entry: Entry, excess: str) -> Iterator[Result]:
        """A new figure, if it is larger than what it is of."""
        if excess:
            said = f"the baseline was written by hand: {excess}"
            yield self._finding(entry.config, entry, said, f"{UPDATE} takes today's figure", entry.line)

    def lost(self, path: str, entry: Entry) -> Result:
        """A figure that is not there any more."""
        value = format_amount(entry.value, unit_of(entry.metric))
        said = f"the baseline lost a figure: {entry.metric} {value}"
        return self._finding(path, entry, said, "restore its line from git", 1)

    def _finding(self, path: str, entry: Entry, summary: str, advice: str, line: int | None) -> Result:
        place = Place(self.baseline, line, 1)
        return Result(
            rule=LOOSENED,
            config=self.called.get(path, path),
            profile=entry.profile,
            outcome=OUTCOME_OF[self.action],
            metric=entry.metric,
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
    found: defaultdict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for pair in same_rules(base.thresholds, base.file) if base.thresholds else ():
        if pair.then.vs == "baseline":
            found[pair.now.profile, pair.now.metric].append((pair.then.profile, pair.then.metric))
    return dict(found)


def _then(before: Mapping[Key, Entry], path: str, key: tuple[str, str], keys: Keys) -> Entry | None:
    """The figure that the baseline had of a config, by what its rules named then: of several rules the smallest."""
    former = [entry for name in keys.get(key, ()) if (entry := before.get((path, *name)))]
    smallest = min(former, key=lambda entry: Fraction(entry.value), default=None)
    return smallest or before.get((path, *key))


def _risen(
    before: Mapping[Key, Entry], now: Baseline, names: Names, keys: Keys
) -> Iterator[tuple[Entry | None, Entry]]:
    """Figures that are larger than they were, new, or counted otherwise: then and now; None where none is to compare."""
    for (path, profile, metric), entry in now.entries.items():
        then = _then(before, names.get(path, path), (profile, metric), keys)
        if then is None or then.counting != entry.counting:
            yield None, entry
        elif Fraction(entry.value) > Fraction(then.value):
            yield then, entry


def _taken_out(
    before: Mapping[Key, Entry], now: Baseline, base: AtBase, names: Names, keys: Keys
) -> Iterator[tuple[str, Entry]]:
    """Figures that are there no more under any name, though a rule asks for them and their configs are there."""
    rules = [rule for rule in base.file.thresholds.rules if rule.vs == "baseline"]
    for path, then in names.items():
        asked = {(rule.profile, rule.metric) for rule in rules if matches(rule.match, path)}
        for key in sorted(asked):
            entry = _then(before, then, key, keys)
            if entry and not any((name, *key) in now.entries for name in (path, then)):
                yield path, entry
