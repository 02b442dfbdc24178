"""Which of the values that lie over a file broke a rule between keys, when the rule's place is in that file.

`--set embed_dim=1000` over a preset whose 12 heads do not divide 1000 is the fault of the option, not of the preset: a
problem that is gone without one value is that value's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..encoder.presets import presets
from ..errors import ConfigError, Problem

MOST_CHANGES, MOST_PROBLEMS = 50, 50
"""Values that are tried, and problems that they are tried for; beyond that, places stay as they are: each try is a load."""


@dataclass(frozen=True)
class Change:
    """A value that lies over a file.

    Attributes:
        where: what messages call its place: "--set embed_dim=1000", "e.yaml:3:12".
        over: the files under it, by their names in messages; () of an option: all.
        without: raises what is wrong with the config if it had not that value.
    """

    where: str
    over: tuple[str, ...]
    without: Callable[[], object]

    def is_over(self, place: str) -> bool:
        """Whether what stands at a place is under it."""
        return not self.over or place.startswith(tuple(f"{label}:" for label in self.over))


def blamed(error: ConfigError, changes: Sequence[Change]) -> ConfigError:
    """The error with each problem at the value that makes it, if that is one of `changes`, the first to be tried first."""
    options = {change.where for change in changes if not change.over}
    left = [problem for problem in error.problems if problem.where not in options]
    found: dict[Problem, Problem] = {}
    for change in changes[:MOST_CHANGES] if len(left) <= MOST_PROBLEMS else ():
        under = [problem for problem in left if problem not in found and change.is_over(problem.where)]
        remaining = _problems(change) if under else frozenset()
        found |= {problem: _moved(problem, change) for problem in under if problem not in remaining}
    return ConfigError(dict.fromkeys(found.get(problem, problem) for problem in error.problems))


def _problems(change: Change) -> frozenset[Problem]:
    try:
        change.without()
    except ConfigError as error:
        return frozenset(error.problems)
    return frozenset()


def _moved(problem: Problem, change: Change) -> Problem:
    """At the value that makes it; where it was is said too, if the file is the user's own."""
    file = problem.where.partition(":")[0]
    see = "" if Path(file) in presets().values() or file == problem.where else f" (see {problem.where})"
    return Problem(change.where, f"{problem.message}{see}")
