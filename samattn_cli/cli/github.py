"""What `samattn check` adds under GitHub Actions: annotations, and the summary of the step."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from ..errors import Message, with_code
from ..gate.formats.comment import comment
from ..gate.formats.github import render
from ..gate.reports.check import CheckReport
from ..render.options import Options
from ..render.shield import is_github
from .output import say

SUMMARY_BYTES = 2**20
"""GitHub's limit of the summary of a step."""


def under_github(
    report: CheckReport,
    environ: Mapping[str, str],
    options: Options,
    *,
    annotate: bool = True,
) -> None:
    """Under GitHub Actions, annotate files and add to the summary of the step; elsewhere do nothing.

    Annotations go to standard error, which GitHub reads too, because standard output may be a file. If the summary cannot be
    written, a warning says so, and the exit code stays the same.

    Args:
        report: of the check.
        environ: the environment.
        options: with the checkout that GitHub shows.
        annotate: False if the annotations were already printed.
    """
    if not is_github(environ):
        return
    if annotate and sys.stderr is not None:
        with suppress(OSError):
            sys.stderr.write(render(report, options))
            sys.stderr.flush()
    if summary := environ.get("GITHUB_STEP_SUMMARY"):
        _summarise(report, Path(summary))


def _summarise(report: CheckReport, path: Path) -> None:
    try:
        with path.open("ab") as file:
            text = comment(report, SUMMARY_BYTES - file.tell()).encode()
            if file.tell() + len(text) <= SUMMARY_BYTES:
                file.write(text)
            else:
                _warn(f"{path} is full")
    except OSError as error:
        _warn(f"{path}: {error.strerror or error}")


def _warn(reason: str) -> None:
    message = Message("no-step-summary", f"samattn: the step summary was not written: {reason}")
    say(with_code(message), style="yellow")
