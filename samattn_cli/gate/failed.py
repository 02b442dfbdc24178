"""The report of a check that could not start: its thresholds, its base or its baseline cannot be read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..errors import ConfigError, GitError, Problem, SamattnError
from ..files.sources import DISK
from ..studies.places import place_in
from .baseline import path_of
from .load_thresholds import FILE, ThresholdsFile, find_thresholds
from .reasons import in_context, reason
from .reports.check import CheckReport, Result, coded

THRESHOLDS = "check.thresholds"
BASE = "check.base"
BASELINE = "check.baseline"
OTHER = "check"
"""Anything else, such as a folder that cannot be listed."""


def failed(error: SamattnError, reference: str | Path | None, file: ThresholdsFile | None) -> CheckReport:
    """The report of an error that kept a check from starting.

    Args:
        error: the error.
        reference: the thresholds file that the user named, if any.
        file: that file, if it could be read.
    """
    return CheckReport(
        thresholds=file.label if file else _label(reference),
        configs=(),
        base="",
        results=tuple(_results(error, file)),
    )


def _label(reference: str | Path | None) -> str:
    """The name of a thresholds file that cannot be read, the same as if it could be."""
    try:
        return DISK.label(find_thresholds(Path()) if reference is None else Path(reference))
    except ConfigError:
        return FILE


def _results(error: SamattnError, file: ThresholdsFile | None) -> Iterator[Result]:
    """A result for each problem."""
    if not isinstance(error, ConfigError):
        yield coded(
            reason(error), rule=BASE if isinstance(error, GitError) else OTHER, config="", outcome="unchecked"
        )
        return
    for problem in error.problems:
        yield _result(_rule(problem, file), problem)


def _rule(problem: Problem, file: ThresholdsFile | None) -> str:
    """What could not be read, found from the place of the problem."""
    if file is None:
        return THRESHOLDS
    place = place_in(problem.where)
    at = place.file if place else problem.where
    return BASELINE if at == file.files.label(path_of(file)) else OTHER


def _result(rule: str, problem: Problem) -> Result:
    place = place_in(problem.where)
    message = problem.message if place else in_context(problem.where, problem.message)
    return coded(message, rule=rule, config="", outcome="unchecked", place=place)
