"""`samattn baseline`: a baseline follows figures downwards by itself, and upwards only with a reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from ..errors import ConfigError, SamattnError, UsageError, did_you_mean
from ..files.globs import matches
from ..records import replace
from .base import at_base
from .baseline import check_derived, read_baseline
from .configs import configs_of, each_once, named_configs, paths_of
from .encoders import Encoders
from .git import AUTO
from .load_thresholds import ThresholdsFile
from .reasons import reason as reason_of
from .recordings import Recordings
from .references import Case
from .reports.baseline import Accepted, Entry, Key, to_text
from .thresholds import Rule

Done = Literal["added", "lowered", "raised", "recounted", "removed", "renamed", "kept", "above"]
"""What happened to a figure. "above": it is larger than the baseline, which was not changed."""

UNCHANGED: tuple[Done, ...] = ("kept", "renamed", "above")
"""The figure in the baseline stays."""


@dataclass(frozen=True)
class Step:
    """What happened to one figure, and the rules that need it."""

    done: Done
    key: Key
    was: float | None
    now: float | None
    rules: tuple[str, ...] = ()


@dataclass(frozen=True)
class Update:
    """A new baseline, and what happened to each figure."""

    entries: tuple[Entry, ...]
    steps: tuple[Step, ...]

    @property
    def text(self) -> str:
        """The text of the file."""
        return to_text(self.entries)

    def count(self, done: Done) -> int:
        """The number of figures to which something happened."""
        return sum(step.done == done for step in self.steps)

    @property
    def above(self) -> tuple[Step, ...]:
        """The figures that are larger than the baseline."""
        return tuple(step for step in self.steps if step.done == "above")


def update(
    file: ThresholdsFile,
    configs: Sequence[str] = (),
    *,
    accept: Sequence[str] = (),
    reason: str = "",
) -> Update:
    """The baseline with today's figures that are smaller or new. Larger ones are taken only for accepted rules.

    Args:
        file: the thresholds.
        configs: the configs to update; by default all, and then figures that no rule needs are removed.
        accept: ids of rules whose figures may be larger.
        reason: why they may.

    Raises:
        ConfigError: if the baseline or a config is damaged.
        UsageError: if a rule does not exist, or has no `vs: baseline`.
        SamattnError: if an encoder does not have a figure.
    """
    rules = _rules(file, accept)
    known = read_baseline(file)
    cases = _cases(file, configs)
    then = known.of_today(cases) if known else {}
    encoders = Encoders(file, Recordings(), paths_of(file, configs))
    figures, asked = _figures(encoders, cases, rules)
    before = _before_the_change(encoders, cases) if accept else {}
    steps = []
    entries = dict(then) if configs else {}
    for key, value in figures.items():
        under = next((rule for rule in asked[key] if rule in accept), None)
        done = _done(then.get(key), key, value, accepted=under is not None)
        steps.append(Step(done, key, then[key].value if key in then else None, value, asked[key]))
        accepted = (
            _accepted(then[key], before.get(key), value, under, reason)
            if under and done == "raised"
            else None
        )
        entries[key] = _next(then.get(key), key, value, done, accepted)
    removed = (Step("removed", key, entry.value, None) for key, entry in then.items() if key not in entries)
    return Update(tuple(entries.values()), (*steps, *removed))


EXAMPLE = "- {id: drift, metric: flops, vs: baseline, increase: {error: '+2%'}}"
"""A rule with a baseline."""


def _rules(file: ThresholdsFile, accept: Sequence[str]) -> list[Rule]:
    """The rules with `vs: baseline`."""
    rules = [rule for rule in file.thresholds.rules if rule.vs == "baseline"]
    known = [rule.id for rule in rules]
    if not rules:
        raise UsageError(
            "no-baseline-rule", f"{file.label}: no rule has `vs: baseline`; add one, such as {EXAMPLE}"
        )
    for name in accept:
        if name not in known:
            text = f"--accept {name}: no rule with this id has `vs: baseline`{did_you_mean(name, known)}"
            raise UsageError("unknown-rule", text)
    return rules


def _cases(file: ThresholdsFile, configs: Sequence[str]) -> list[Case]:
    """The configs to update, each once."""
    of_file = (case for cases in configs_of(file).values() for case in cases)
    return each_once(named_configs(file, configs) if configs else of_file)


def _figures(
    encoders: Encoders, cases: Sequence[Case], rules: Sequence[Rule]
) -> tuple[dict[Key, float], dict[Key, tuple[str, ...]]]:
    """Today's figures, and the rules that need each."""
    figures: dict[Key, float] = {}
    asked: dict[Key, tuple[str, ...]] = {}
    for rule in rules:
        check_derived(rule.metric)
        for case in (replace(case, profile=rule.profile) for case in cases if matches(rule.match, case.path)):
            key = (case.path, case.profile, rule.metric)
            figures[key] = _figure(encoders, case, rule)
            asked[key] = (*asked.get(key, ()), rule.id)
    return figures, asked


def _figure(encoders: Encoders, case: Case, rule: Rule) -> float:
    """The largest reading, if there are several."""
    encoder = encoders.of(case)
    if isinstance(encoder, ConfigError):
        raise encoder
    try:
        return max(reading.value for reading in encoder.readings(rule.metric))
    except SamattnError as error:
        why = reason_of(error)
        raise SamattnError(why.code, f"{case.reference}: {why}") from None


def _done(then: Entry | None, key: Key, value: float, *, accepted: bool) -> Done:
    if then is None:
        return "added"
    if not then.counts_as_today:
        return "recounted"
    was, now = Fraction(then.value), Fraction(value)
    if now > was:
        return "raised" if accepted else "above"
    if now < was:
        return "lowered"
    return "kept" if then.key == key else "renamed"


def _before_the_change(encoders: Encoders, cases: Sequence[Case]) -> Mapping[Key, Entry]:
    """The figures of the baseline at the base, with which `check --base auto` compares; none if there is no base."""
    try:
        base = at_base(AUTO, encoders)
        now = {base.path_of(case): case.path for case in cases}
        return base.baseline.renamed(now) if base.baseline else {}
    except SamattnError:
        return {}


def _accepted(then: Entry, before: Entry | None, value: float, rule: str, reason: str) -> Accepted:
    """Why a figure was raised, and its old value: that at the base, as the change may have raised the figure before."""
    began = before is not None and before.counts_as_today and Fraction(before.value) < Fraction(value)
    return Accepted(rule=rule, reason=reason, was=before.value if before and began else then.value)


def _next(then: Entry | None, key: Key, value: float, done: Done, accepted: Accepted | None) -> Entry:
    """The new entry of a figure."""
    config, profile, metric = key
    if then is not None and done in UNCHANGED:
        return replace(then, config=config)
    return Entry(config=config, profile=profile, metric=metric, value=value, accepted=accepted)
