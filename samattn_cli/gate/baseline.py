"""The baseline beside a thresholds file: what rules compare with."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..errors import ConfigError, Problem, SamattnError, UsageError
from ..files.sources import MOST_BYTES
from ..metric_names import MEASURED
from ..version import COUNTING, __version__
from .load_thresholds import ThresholdsFile
from .lookup import Reading
from .references import Case
from .renamed_configs import Former
from .reports.baseline import Entry, Key, from_json

NAME = "samattn-baseline.json"
UPDATE = "samattn baseline update"


@dataclass(frozen=True)
class Baseline:
    """A `Reference`: the figures of a baseline file; `former` tells what it calls a config that it does not have."""

    label: str
    entries: Mapping[Key, Entry]
    former: Callable[[Case], str]
    name: str = "the baseline"

    @cached_property
    def by_config(self) -> Mapping[str, Sequence[Entry]]:
        """The figures of each config."""
        found: defaultdict[str, list[Entry]] = defaultdict(list)
        for entry in self.entries.values():
            found[entry.config].append(entry)
        return dict(found)

    def of(self, path: str) -> Sequence[Entry]:
        """The figures of what it calls so."""
        return self.by_config.get(path, ())

    def path(self, case: Case) -> str:
        """What it calls a config.

        Raises:
            GitError: if that cannot be told.
        """
        return case.path if case.path in self.by_config else self.former(case)

    def of_today(self, cases: Iterable[Case]) -> dict[Key, Entry]:
        """Its entries by the names that configs have now."""
        return self.called({self.path(case): case.path for case in cases})

    def called(self, now: Mapping[str, str]) -> dict[Key, Entry]:
        """Its entries by other names of configs; `now` has them by those that it has."""
        return {
            (now.get(path, path), profile, metric): entry
            for (path, profile, metric), entry in self.entries.items()
        }

    def readings(self, case: Case, metric: str) -> tuple[Reading, ...] | None:
        """See `Reference`."""
        check_derived(metric)
        entry = self.entries.get((self.path(case), case.profile, metric))
        if entry is None:
            return None
        if not entry.counts_as_today:
            raise SamattnError(_otherwise(entry))
        return (Reading(entry.value),)


def check_derived(metric: str) -> None:
    """See that a metric is one that a baseline keeps.

    Raises:
        UsageError: if it is measured.
    """
    if metric.startswith(f"{MEASURED}."):
        raise UsageError(
            f"{metric} is measured, and a baseline keeps what is derived: compare it vs base, or limit it"
        )


def _otherwise(entry: Entry) -> str:
    """That samattn changed, which is nobody's doing here."""
    if entry.counting > COUNTING:
        return (
            f"samattn {entry.samattn} wrote it by counting {entry.counting}, and this {__version__} is of counting "
            f"{COUNTING}: use a later one"
        )
    return (
        f"samattn counts otherwise since {entry.samattn}, which wrote it (see Counting in CHANGELOG.md); "
        f"the config may be as it was: run {UPDATE}"
    )


def path_of(file: ThresholdsFile) -> Path:
    """Where the baseline of a thresholds file is."""
    return file.folder / NAME


def read_baseline(file: ThresholdsFile) -> Baseline | None:
    """The baseline beside a thresholds file, on the disk or in a commit as that is; None where there is none.

    Raises:
        ConfigError: at its place, for what is wrong with it.
    """
    path, files = path_of(file), file.files
    if not files.exists(path):
        return None
    label = files.label(path)
    try:
        text = files.read(path, MOST_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError([Problem(label, "is not UTF-8 text, and so no baseline")]) from None
    except OSError as error:
        raise ConfigError([Problem(label, f"cannot be read: {error.strerror or error}")]) from None
    entries = from_json(text, label)
    return Baseline(label, entries, Former(file, path, frozenset(config for config, _, _ in entries)))
