"""The baseline next to a thresholds file, with which rules compare."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..errors import ConfigError, Message, Problem, SamattnError, UsageError
from ..files.sources import MOST_BYTES
from ..metric_names import MEASURED
from ..version import COUNTING, __version__
from .load_thresholds import ThresholdsFile
from .lookup import Reading
from .references import Case
from .renamed_configs import OldPaths
from .reports.baseline import Entry, Key, from_json

NAME = "samattn-baseline.json"
CREATE = "samattn baseline create"
UPDATE = "samattn baseline update"


@dataclass(frozen=True)
class Baseline:
    """A `Reference`: the figures of a baseline file. `old_path` finds the name of a config that was renamed since."""

    label: str
    entries: Mapping[Key, Entry]
    old_path: Callable[[Case], str]
    name: str = "the baseline"

    @cached_property
    def by_config(self) -> Mapping[str, Sequence[Entry]]:
        """The figures of each config."""
        entries: defaultdict[str, list[Entry]] = defaultdict(list)
        for entry in self.entries.values():
            entries[entry.config].append(entry)
        return dict(entries)

    def path(self, case: Case) -> str:
        """The path of a config in the baseline.

        Raises:
            GitError: if git cannot tell it.
        """
        return case.path if case.path in self.by_config else self.old_path(case)

    def of_today(self, cases: Iterable[Case]) -> dict[Key, Entry]:
        """Its entries by the names that configs have now."""
        return self.renamed({self.path(case): case.path for case in cases})

    def renamed(self, now: Mapping[str, str]) -> dict[Key, Entry]:
        """Its entries by other names of configs; `now` maps the names in the baseline to those."""
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
            raise SamattnError("counting-changed", _other_counting(entry))
        return (Reading(entry.value),)


def check_derived(metric: str) -> None:
    """Refuse a metric that a baseline cannot have.

    Raises:
        UsageError: if it is measured.
    """
    if metric.startswith(f"{MEASURED}."):
        raise UsageError(
            "measured-metric",
            f"{metric} is measured, and a baseline has only derived figures: use `vs: base`, or `limit`",
        )


def _other_counting(entry: Entry) -> str:
    """That samattn itself counts differently now, so that the figures do not compare."""
    if entry.counting > COUNTING:
        return (
            f"samattn {entry.samattn} wrote this figure and counts differently (counting {entry.counting}) from this "
            f"samattn {__version__} (counting {COUNTING}): use a newer samattn"
        )
    return (
        f"samattn {entry.samattn} wrote this figure, and this samattn {__version__} counts differently (see Counting in "
        f"CHANGELOG.md); the config may not have changed: run {UPDATE}"
    )


def path_of(file: ThresholdsFile) -> Path:
    """The path of the baseline of a thresholds file."""
    return file.folder / NAME


def read_baseline(file: ThresholdsFile) -> Baseline | None:
    """The baseline next to a thresholds file, on the disk or in the same commit; None if there is none.

    Raises:
        ConfigError: with the place of the problem.
    """
    path, files = path_of(file), file.files
    if not files.exists(path):
        return None
    label = files.label(path)
    try:
        text = files.read(path, MOST_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError([Problem(label, Message("not-utf-8", "is not UTF-8 text"))]) from None
    except OSError as error:
        message = Message("cannot-read", f"cannot be read: {error.strerror or error}")
        raise ConfigError([Problem(label, message)]) from None
    entries = from_json(text, label)
    return Baseline(label, entries, OldPaths(file, path, frozenset(config for config, _, _ in entries)))
