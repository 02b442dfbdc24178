"""Edits of a baseline since the base of a change that `samattn baseline update` would not have made."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from ..errors import Message, SamattnError
from ..files.globs import matches
from ..metric_names import unit_of
from ..records import replace
from ..reports.diff import CHANGED, Place
from ..units import format_amount, format_apart
from .acceptance import Acceptances
from .base import AtBase
from .baseline import UPDATE, Baseline, read_baseline
from .loosened import same_rules
from .policy import LOOSENED, OUTCOME_OF
from .references import Case
from .reports.baseline import Entry, Key
from .reports.check import Result, coded
from .thresholds import Action

RAISE = f"{UPDATE} --accept RULE --reason TEXT raises it and stores the reason"

Names = Mapping[str, str]
"""The path of each config now, and then, from the folder of the thresholds."""

Keys = Mapping[tuple[str, str], Sequence[tuple[str, str]]]
"""The profile and metric of a rule now, and those of the rules with `vs: baseline` that it was then."""


def baseline_edits(base: AtBase, cases: Sequence[Case], action: Action) -> Iterator[Result]:
    """Figures that were raised (waived if the reason is valid), new figures above today's, and figures that were removed.

    Raises:
        SamattnError: if the baseline cannot be read at the base.
    """
    now = _today(base)
    if now is None or action == "ignore":
        return
    then = base.baseline
    before = then.entries if then else {}
    findings = _Findings(base, action, now.label, {case.path: case.reference for case in cases})
    names = {case.path: _path(base, case) for case in cases}
    keys = _old_keys(base)
    acceptances = Acceptances(base, {case.path: case for case in cases})
    for was, entry in _risen(before, now, names, keys):
        if was is None:
            yield from findings.above(entry, acceptances.excess(entry))
        else:
            yield findings.raised(was, entry, acceptances.doubts(was, entry))
    for path, entry in _removed(before, now, base, names, keys):
        yield findings.removed(path, entry)


def _today(base: AtBase) -> Baseline | None:
    try:
        return read_baseline(base.file)
    except SamattnError:
        return None  # the rules that need it report this


@dataclass(frozen=True)
class _Findings:
    """Makes the findings about one baseline. `references` are the names of configs in reports, by their paths."""

    base: AtBase
    action: Action
    baseline: str
    references: Mapping[str, str]

    def raised(self, was: Entry, entry: Entry, doubts: str) -> Result:
        """A figure that is larger than it was. If its reason is valid, it is shown as a waiver is."""
        values = f"{entry.metric} {CHANGED.join(format_apart(unit_of(entry.metric), was.value, entry.value))}"
        if doubts or entry.accepted is None:
            message = Message("baseline-raised", f"the baseline was raised {doubts}: {values}{self._since}")
            return self._finding(entry.config, entry, message, RAISE, entry.line)
        accepted = f"accepted under {entry.accepted.rule!r}: {entry.accepted.reason}"
        message = Message("baseline-accepted", f"the baseline was raised: {values}, {accepted}{self._since}")
        finding = self._finding(entry.config, entry, message, "", entry.line)
        return replace(finding, rule=entry.accepted.rule, outcome="waived")

    def above(self, entry: Entry, excess: str) -> Iterator[Result]:
        """A new figure, if it is larger than today's figure of its config."""
        if excess:
            message = Message("baseline-too-high", f"the baseline was edited by hand: {excess}{self._since}")
            yield self._finding(entry.config, entry, message, f"{UPDATE} sets today's figure", entry.line)

    def removed(self, path: str, entry: Entry) -> Result:
        """A figure that the baseline no longer has."""
        value = format_amount(entry.value, unit_of(entry.metric))
        text = f"a figure was removed from the baseline: {entry.metric} {value}{self._since}"
        message = Message("baseline-figure-removed", text)
        return self._finding(path, entry, message, "restore its line from git", 1)

    @property
    def _since(self) -> str:
        return f" (since {self.base.name})"

    def _finding(self, path: str, entry: Entry, message: Message, advice: str, line: int | None) -> Result:
        place = Place(self.baseline, line, 1)
        return coded(
            message,
            rule=LOOSENED,
            config=self.references.get(path, path),
            profile=entry.profile,
            outcome=OUTCOME_OF[self.action],
            metric=entry.metric,
            advice=advice,
            place=place,
            rule_place=place,
        )


def _path(base: AtBase, case: Case) -> str:
    """The path of a config in the baseline at the base."""
    try:
        return base.path_of(case)
    except SamattnError:
        return case.path


def _old_keys(base: AtBase) -> Keys:
    """The old profiles and metrics of rules; since the base a rule, its profile or its metric may have been renamed."""
    keys: defaultdict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for pair in same_rules(base.thresholds, base.file) if base.thresholds else ():
        if pair.then.vs == "baseline":
            keys[pair.now.profile, pair.now.metric].append((pair.then.profile, pair.then.metric))
    return dict(keys)


def _then(before: Mapping[Key, Entry], path: str, key: tuple[str, str], keys: Keys) -> Entry | None:
    """The old figure of a config, by the old names of its rules; the smallest if several rules had one."""
    entries = [entry for name in keys.get(key, ()) if (entry := before.get((path, *name)))]
    smallest = min(entries, key=lambda entry: Fraction(entry.value), default=None)
    return smallest or before.get((path, *key))


def _risen(
    before: Mapping[Key, Entry], now: Baseline, names: Names, keys: Keys
) -> Iterator[tuple[Entry | None, Entry]]:
    """Each figure that is larger than it was, new, or counted differently: then and now. Then is None if they do not compare."""
    for (path, profile, metric), entry in now.entries.items():
        then = _then(before, names.get(path, path), (profile, metric), keys)
        if then is None or then.counting != entry.counting:
            yield None, entry
        elif Fraction(entry.value) > Fraction(then.value):
            yield then, entry


def _removed(
    before: Mapping[Key, Entry], now: Baseline, base: AtBase, names: Names, keys: Keys
) -> Iterator[tuple[str, Entry]]:
    """Figures that the baseline no longer has under any name, although a rule needs them and their configs exist."""
    rules = [rule for rule in base.file.thresholds.rules if rule.vs == "baseline"]
    for path, then in names.items():
        asked = {(rule.profile, rule.metric) for rule in rules if matches(rule.match, path)}
        for key in sorted(asked):
            entry = _then(before, then, key, keys)
            if entry and not any((name, *key) in now.entries for name in (path, then)):
                yield path, entry
