"""The report of a check that never began: without its thresholds, its base or its baseline nothing can be checked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..errors import ConfigError, GitError, Problem, SamattnError
from ..files.sources import DISK
from ..studies.places import place_in
from .baseline import path_of
from .load_thresholds import FILE, ThresholdsFile, find_thresholds
from .reports.check import CheckReport, Result

THRESHOLDS = "check.thresholds"
BASE = "check.base"
BASELINE = "check.baseline"
OTHER = "check"
"""What is none of these, such as a folder that cannot be listed."""


def failed(error: SamattnError, reference: str | Path | None, file: ThresholdsFile | None) -> CheckReport:
    """The report of what kept a check from beginning.

    Args:
        error: what did.
        reference: the thresholds file that was asked for, if one was.
        file: that file, if it could be read.
    """
    return CheckReport(
        thresholds=file.label if file else _label(reference),
        configs=(),
        base="",
        results=tuple(_results(error, file)),
    )


def _label(reference: str | Path | None) -> str:
    """What reports call a thresholds file that cannot be read: the same as when it could."""
    try:
        return DISK.label(find_thresholds(Path()) if reference is None else Path(reference))
    except ConfigError:
        return FILE


def _results(error: SamattnError, file: ThresholdsFile | None) -> Iterator[Result]:
    """A result for each problem."""
    if not isinstance(error, ConfigError):
        yield _result(BASE if isinstance(error, GitError) else OTHER, str(error))
        return
    for problem in error.problems:
        yield _result(_rule(problem, file), str(problem), problem)


def _rule(problem: Problem, file: ThresholdsFile | None) -> str:
    """What could not be read, by where the problem is."""
    if file is None:
        return THRESHOLDS
    place = place_in(problem.where)
    at = place.file if place else problem.where
    return BASELINE if at == file.files.label(path_of(file)) else OTHER


def _result(rule: str, said: str, problem: Problem | None = None) -> Result:
    place = place_in(problem.where) if problem else None
    summary = problem.message if problem and place else said
    return Result(rule=rule, config="", outcome="unchecked", summary=summary, place=place)
