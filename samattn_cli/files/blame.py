"""Finds the value that breaks a rule between keys, when it replaces a value of the file that the rule points at.

If `--set embed_dim=1000` is used with a preset whose 12 heads do not divide 1000, the option is at fault, not the preset.
A problem that disappears without a value is reported at that value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ..encoder.presets import presets
from ..errors import ConfigError, Message, Problem, code_of
from ..records import dataclass

MOST_CHANGES, MOST_PROBLEMS = 50, 50
"""The most values to try, and the most problems to try them for. With more, places do not change: each try is a load."""


@dataclass(frozen=True)
class Change:
    """A value that replaces one of a file.

    Attributes:
        where: its place in messages: "--set embed_dim=1000", "e.yaml:3:12".
        files: the files that it changes, by their names in messages; () for an option, which changes all.
        without: raises the problems of the config without this value.
    """

    where: str
    files: tuple[str, ...]
    without: Callable[[], object]

    def affects(self, place: str) -> bool:
        """Whether it changes the file of a place."""
        return not self.files or place.startswith(tuple(f"{label}:" for label in self.files))


def blamed(error: ConfigError, changes: Sequence[Change]) -> ConfigError:
    """The error with each problem at the value that causes it, if this is one of `changes`; these are tried in order."""
    options = {change.where for change in changes if not change.files}
    candidates = [problem for problem in error.problems if problem.where not in options]
    moved: dict[Problem, Problem] = {}
    for change in changes[:MOST_CHANGES] if len(candidates) <= MOST_PROBLEMS else ():
        affected = [
            problem for problem in candidates if problem not in moved and change.affects(problem.where)
        ]
        remaining = _problems(change) if affected else frozenset()
        moved |= {problem: _moved(problem, change) for problem in affected if problem not in remaining}
    return ConfigError(dict.fromkeys(moved.get(problem, problem) for problem in error.problems))


def _problems(change: Change) -> frozenset[Problem]:
    try:
        change.without()
    except ConfigError as error:
        return frozenset(error.problems)
    return frozenset()


def _moved(problem: Problem, change: Change) -> Problem:
    """The problem at the value that causes it; the message also names the old place, if that is in a file of the user."""
    file = problem.where.partition(":")[0]
    see = "" if Path(file) in presets().values() or file == problem.where else f" (see {problem.where})"
    return Problem(change.where, Message(code_of(problem.message), f"{problem.message}{see}"))
