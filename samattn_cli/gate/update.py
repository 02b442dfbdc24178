"""How a baseline follows the figures: downwards by itself, upwards for a reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

from ..errors import ConfigError, SamattnError, UsageError, did_you_mean
from ..files.globs import matches
from .base import at_base
from .baseline import check_derived, read_baseline
from .configs import configs_of, each_once, given_configs, paths_of
from .encoders import Encoders
from .git import AUTO
from .load_thresholds import ThresholdsFile
from .recordings import Recordings
from .references import Case
from .reports.baseline import Accepted, Entry, Key, to_text
from .thresholds import Rule

Done = Literal["added", "lowered", "raised", "recounted", "removed", "renamed", "kept", "above"]
"""What became of a figure; "above": it is larger than the baseline, which was left as it is."""

AS_IT_WAS = ("kept", "renamed", "above")


@dataclass(frozen=True)
class Step:
    """What became of a figure: of which it is, what it was and is."""

    done: Done
    key: Key
    was: float | None
    now: float | None
    rules: tuple[str, ...] = ()


@dataclass(frozen=True)
class Update:
    """A baseline as it is to be, and how it came about."""

    entries: tuple[Entry, ...]
    steps: tuple[Step, ...]

    @property
    def text(self) -> str:
        """The file's."""
        return to_text(self.entries)

    def count(self, done: Done) -> int:
        """How many figures something became of."""
        return sum(step.done == done for step in self.steps)

    @property
    def above(self) -> tuple[Step, ...]:
        """What is larger than the baseline has it."""
        return tuple(step for step in self.steps if step.done == "above")


def update(
    file: ThresholdsFile,
    given: Sequence[str] = (),
    *,
    accept: Sequence[str] = (),
    reason: str = "",
) -> Update:
    """The baseline with today's figures where those are smaller or new; a larger one is taken only of an accepted rule.

    Args:
        file: the thresholds.
        given: the configs to look at; all if none, and then what nothing asks for any more is left out.
        accept: ids of rules whose figures may be larger.
        reason: why.

    Raises:
        ConfigError: if the baseline is damaged, or a config is.
        UsageError: if there is no such rule, or none that is vs baseline.
        SamattnError: if there is no such figure.
    """
    rules = _rules(file, accept)
    known = read_baseline(file)
    cases = _cases(file, given)
    then = known.of_today(cases) if known else {}
    encoders = Encoders(file, Recordings(), paths_of(file, given))
    figures, asked = _figures(encoders, cases, rules)
    before = _before_the_change(encoders, cases) if accept else {}
    steps = []
    entries = dict(then) if given else {}
    for key, value in figures.items():
        taken = next((rule for rule in asked[key] if rule in accept), None)
        done = _done(then.get(key), key, value, accepted=taken is not None)
        steps.append(Step(done, key, then[key].value if key in then else None, value, asked[key]))
        accepted = (
            _accepted(then[key], before.get(key), value, taken, reason)
            if taken and done == "raised"
            else None
        )
        entries[key] = _next(then.get(key), key, value, done, accepted)
    gone = (Step("removed", key, entry.value, None) for key, entry in then.items() if key not in entries)
    return Update(tuple(entries.values()), (*steps, *gone))


def _rules(file: ThresholdsFile, accept: Sequence[str]) -> list[Rule]:
    """Those that are vs baseline."""
    rules = [rule for rule in file.thresholds.rules if rule.vs == "baseline"]
    known = [rule.id for rule in rules]
    if not rules:
        raise UsageError(f"{file.label}: no rule is `vs: baseline`")
    for name in accept:
        if name not in known:
            raise UsageError(f"--accept {name}: no rule of that id is vs baseline{did_you_mean(name, known)}")
    return rules


def _cases(file: ThresholdsFile, given: Sequence[str]) -> list[Case]:
    """The configs to look at, each once."""
    of_file = (case for cases in configs_of(file).values() for case in cases)
    found = given_configs(file, given) if given else of_file
    return each_once(found)


def _figures(
    encoders: Encoders, cases: Sequence[Case], rules: Sequence[Rule]
) -> tuple[dict[Key, float], dict[Key, tuple[str, ...]]]:
    """Today's figures, and the rules that ask for each."""
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
    """Of several of a kind of layer, the largest."""
    encoder = encoders.of(case)
    if isinstance(encoder, ConfigError):
        raise encoder
    try:
        return max(reading.value for reading in encoder.readings(rule.metric))
    except SamattnError as error:
        raise SamattnError(f"{case.reference}: {error}") from None


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
    """The figures of the baseline where the change began, which `check --base auto` compares with; none where none can tell."""
    try:
        base = at_base(AUTO, encoders)
        now = {base.path_of(case): case.path for case in cases}
        return base.baseline.called(now) if base.baseline else {}
    except SamattnError:
        return {}


def _accepted(then: Entry, before: Entry | None, value: float, rule: str, reason: str) -> Accepted:
    """Why a figure was raised, and from what: from what it was before the change, which may have raised it already."""
    began = before is not None and before.counts_as_today and Fraction(before.value) < Fraction(value)
    return Accepted(rule=rule, reason=reason, was=before.value if before and began else then.value)


def _next(then: Entry | None, key: Key, value: float, done: Done, accepted: Accepted | None) -> Entry:
    """The line of a figure from now on."""
    config, profile, metric = key
    if then is not None and done in AS_IT_WAS:
        return replace(then, config=config)
    return Entry(config=config, profile=profile, metric=metric, value=value, accepted=accepted)
