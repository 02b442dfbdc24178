"""The baseline beside a thresholds file: what rules compare with, and how it follows the figures, downwards by itself."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Literal

from ...config.globs import matches
from ...config.load_thresholds import ThresholdsFile
from ...config.metric_names import MEASURED
from ...config.sources import Files
from ...config.thresholds import Rule
from ...errors import ConfigError, Problem, SamattnError, UsageError, did_you_mean
from ...reports.baseline import Accepted, Entry, Key, from_json, to_json
from ...version import COUNTING, __version__
from .encoders import Encoders
from .found import configs_of, given_configs
from .measured import Recordings
from .metrics import Reading
from .references import Case

NAME = "samattn-baseline.json"
MOST_BYTES = 1 << 26
UPDATE = "samattn baseline update"

Done = Literal["added", "lowered", "raised", "recounted", "removed", "kept", "above"]
"""What became of a figure; "above": it is larger than the baseline, which was left as it is."""


@dataclass(frozen=True)
class Baseline:
    """A `Reference`: the figures of a baseline file."""

    label: str
    entries: Mapping[Key, Entry]
    name: str = "the baseline"

    def readings(self, case: Case, metric: str) -> tuple[Reading, ...] | None:
        """See `Reference`."""
        _check_derived(metric)
        entry = self.entries.get((case.path, case.profile, metric))
        if entry is None:
            return None
        if not entry.counts_as_today:
            raise SamattnError(_otherwise(entry))
        return (Reading(entry.value),)


def _check_derived(metric: str) -> None:
    if metric.startswith(f"{MEASURED}."):
        raise UsageError(
            f"{metric} is measured, and a baseline keeps what is derived: compare it vs base, or limit it"
        )


def _otherwise(entry: Entry) -> str:
    """That samattn changed, which is nobody's doing here."""
    if entry.counting > COUNTING:
        return (
            f"samattn {entry.samattn} wrote it, which counts otherwise than this {__version__}: use that one"
        )
    return (
        f"samattn counts otherwise since {entry.samattn}, which wrote it (see Counting in CHANGELOG.md); "
        f"the config may be as it was: run {UPDATE}"
    )


def path_of(file: ThresholdsFile) -> Path:
    """Where the baseline of a thresholds file is."""
    return file.folder / NAME


def read_baseline(file: ThresholdsFile, files: Files | None = None) -> Baseline | None:
    """The baseline beside a thresholds file, on the disk or in a commit; None where there is none.

    Raises:
        ConfigError: at its place, for what is wrong with it.
    """
    path, files = path_of(file), files or file.files
    if not files.exists(path):
        return None
    label = files.label(path)
    try:
        text = files.read(path, MOST_BYTES).decode("utf-8")
    except UnicodeDecodeError:
        raise ConfigError([Problem(label, "is not UTF-8 text, and so no baseline")]) from None
    except OSError as error:
        raise ConfigError([Problem(label, f"cannot be read: {error.strerror or error}")]) from None
    return Baseline(label, from_json(text, label))


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
        return to_json(self.entries)

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
    then = dict(known.entries) if known else {}
    figures, asked = _figures(file, given, rules)
    steps = []
    entries = {key: entry for key, entry in then.items() if given and key not in figures}
    for key, value in figures.items():
        taken = next((rule for rule in asked[key] if rule in accept), None)
        done = _done(then.get(key), value, accepted=taken is not None)
        steps.append(Step(done, key, then[key].value if key in then else None, value, asked[key]))
        entries[key] = _next(then.get(key), key, value, done, taken, reason)
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


def _figures(
    file: ThresholdsFile, given: Sequence[str], rules: Sequence[Rule]
) -> tuple[dict[Key, float], dict[Key, tuple[str, ...]]]:
    """Today's figures, and the rules that ask for each."""
    found = (
        given_configs(file, given)
        if given
        else [case for cases in configs_of(file).values() for case in cases]
    )
    cases, encoders = {case.path: case for case in found}.values(), Encoders(file, Recordings())
    figures: dict[Key, float] = {}
    asked: dict[Key, tuple[str, ...]] = {}
    for rule in rules:
        _check_derived(rule.metric)
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


def _done(then: Entry | None, value: float, *, accepted: bool) -> Done:
    if then is None:
        return "added"
    if not then.counts_as_today:
        return "recounted"
    was, now = Fraction(then.value), Fraction(value)
    if now > was:
        return "raised" if accepted else "above"
    return "lowered" if now < was else "kept"


def _next(then: Entry | None, key: Key, value: float, done: Done, rule: str | None, reason: str) -> Entry:
    """The line of a figure from now on."""
    if then is not None and done in {"kept", "above"}:
        return then
    accepted = (
        Accepted(rule=rule, reason=reason, was=then.value) if then and rule and done == "raised" else None
    )
    config, profile, metric = key
    return Entry(config=config, profile=profile, metric=metric, value=value, accepted=accepted)


def raised_by_hand(before: Baseline, now: Baseline) -> Iterator[tuple[Entry, Entry]]:
    """Figures that are larger than they were without a reason of their own: then and now."""
    for key, entry in now.entries.items():
        then = before.entries.get(key)
        if then is None or then.counting != entry.counting or Fraction(entry.value) <= Fraction(then.value):
            continue
        if entry.accepted is None or entry.accepted == then.accepted:
            yield then, entry


def taken_out(
    before: Baseline, now: Baseline, file: ThresholdsFile, paths: Collection[str]
) -> Iterator[Entry]:
    """Figures that are there no more, though a rule asks for them and their configs are there."""
    rules = [rule for rule in file.thresholds.rules if rule.vs == "baseline"]
    for key, entry in before.entries.items():
        asks = (
            rule.profile == entry.profile
            and rule.metric == entry.metric
            and matches(rule.match, entry.config)
            for rule in rules
        )
        if key not in now.entries and entry.config in paths and any(asks):
            yield entry
