"""`samattn check`."""

from __future__ import annotations

import os
from datetime import date
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from ..errors import EXIT_DIFFERS, EXIT_ERROR, UsageError
from ..render import CHECKS, TABLES, TEXTS
from ..reports.check import CheckReport
from .github import under_github
from .output import asked_files, deliver, guarded, terminal_options, working
from .parameters import Outputs

PRINTED = (*TEXTS, *CHECKS)
FORMATS = (*PRINTED, *TABLES)
Format = Enum("CheckFormat", {name: name for name in PRINTED}, type=str)  # type: ignore[misc]


class FailOn(str, Enum):
    """From which outcome on a check exits 1."""

    warn = "warn"
    error = "error"
    never = "never"


FAILING = {FailOn.warn: {"warn", "error"}, FailOn.error: {"error"}, FailOn.never: set[str]()}


@guarded
def check(
    configs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CONFIG...",
            help="YAML files or presets, in place of all that the thresholds file names.",
        ),
    ] = None,
    thresholds: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The thresholds; samattn.yaml here or in the nearest folder around by default.",
        ),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            metavar="REF",
            help="Compare with the configs and thresholds where HEAD left REF, or auto: what CI names, else the main "
            "branch. auto by itself, if a rule is vs base.",
        ),
    ] = None,
    recording: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="A recording of `samattn measure`, for measured metrics, in place of those that ship; may repeat.",
        ),
    ] = None,
    fail_on: Annotated[
        FailOn,
        typer.Option(
            metavar="OUTCOME",
            help="Exit 1 from this on: warn, error or never. What could not be checked always exits 2.",
        ),
    ] = FailOn.error,
    all_results: Annotated[bool, typer.Option("--all", help="List what passes too.")] = False,
    format_: Annotated[
        Format | None,
        typer.Option(
            "--format",
            "-f",
            metavar="FORMAT",
            help="terminal, json, csv, markdown, github, gitlab, junit or sarif; terminal by default.",
        ),
    ] = None,
    output: Outputs = None,
) -> None:
    """Check encoders against thresholds: limits, expected figures, and growth.

    Figures are derived, so that the same config gives the same verdict everywhere. Exits 0 if all pass (with warnings or
    not), 1 if a threshold is broken, 2 if something could not be checked, whatever else there is. Reports are written in
    each case, unless the thresholds or the base cannot be read; with -o and no --format nothing is printed. Under GitHub Actions files are annotated, and the step's summary
    is added to, without being asked. With --base, limits that were loosened and configs that were removed are findings.

    Examples:

      samattn check

      samattn check --base main

      samattn check encoders/vit_h.yaml --thresholds samattn.yaml --all

      samattn check --fail-on warn -o check.json -o check.md -o check.sarif -o gitlab=gl-code-quality-report.json
    """
    from ..config.load_thresholds import load_thresholds
    from ..studies.check.measured import Recordings
    from ..studies.check.run import check as run

    files = asked_files(output, FORMATS)
    if "-" in (configs or ()):
        raise UsageError("-: a config that is checked is a file, or a preset")
    file = load_thresholds(thresholds)
    with working("checking"):
        report = run(
            file,
            configs or (),
            today=date.today(),  # noqa: DTZ011 - a waiver ends with the day where it is checked
            recordings=Recordings(tuple(recording or ())),
            base=base,
        )
    shown = format_ and format_.value
    deliver(report, shown, files, terminal_options(all_layers=all_results))
    under_github(report, os.environ, annotate=shown != "github")
    finish(report, fail_on)


def finish(report: CheckReport, fail_on: FailOn) -> None:
    """Exit by the worst outcome."""
    if report.outcome == "unchecked":
        raise typer.Exit(EXIT_ERROR)
    if any(result.outcome in FAILING[fail_on] for result in report.results):
        raise typer.Exit(EXIT_DIFFERS)
