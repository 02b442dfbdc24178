"""What `samattn check` does by itself under GitHub Actions: annotations, and the step's summary."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from ..gate.formats.comment import comment
from ..gate.formats.github import render
from ..gate.reports.check import CheckReport
from ..render.options import Options
from ..render.shield import is_github
from .output import say

SUMMARY_BYTES = 2**20
"""The most that GitHub takes as the summary of a step."""


def under_github(
    report: CheckReport,
    environ: Mapping[str, str],
    options: Options,
    *,
    annotate: bool = True,
) -> None:
    """Under GitHub Actions, annotate the files and add to the step's summary; elsewhere nothing.

    Annotations go to standard error, where GitHub reads them too: standard output may be a file. What cannot be written
    is said, and changes nothing of the check.

    Args:
        report: the check's.
        environ: the environment.
        options: with the checkout that GitHub shows.
        annotate: False if the commands were printed already.
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
                say(f"samattn: no step summary: {path} is full", style="yellow")
    except OSError as error:
        say(f"samattn: no step summary: {path}: {error.strerror or error}", style="yellow")
