"""`samattn check`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import datetime, timezone
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from ..errors import EXIT_DIFFERS, EXIT_ERROR, OutputError, SamattnError, UsageError
from ..gate.formats import CHECKS
from ..gate.reports.check import FAILING, CheckReport
from ..records import replace
from ..render import PAGES, TABLES, TEXTS
from . import complete
from .checkout import checkout
from .github import under_github
from .output import guarded, say, show, terminal_options, working, write
from .output_files import output_files
from .parameters import Outputs, ThresholdsFile, choices, chosen, config_names, memory_of, refuse_stdin

PRINTED = (*TEXTS, *CHECKS)
FORMATS = (*PRINTED, *TABLES, *PAGES)
Format = Enum("CheckFormat", choices(PRINTED), type=str)  # type: ignore[misc]

FailOn = Enum("FailOn", {name: name for name in FAILING}, type=str)  # type: ignore[misc]
BY_DEFAULT = FailOn(CheckReport.fail_on)


@guarded
def check(
    configs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CONFIG...",
            help="YAML files or presets to check; by default all that the thresholds file matches.",
            callback=config_names,
            autocompletion=complete.configs,
        ),
    ] = None,
    thresholds: ThresholdsFile = None,
    memory: Annotated[
        str | None,
        typer.Option(
            metavar="BYTES",
            help="Instead of a thresholds file: check that the peak of each CONFIG's run is at most this, such as 24GiB.",
        ),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            metavar="REF",
            help="Compare with the configs and thresholds of the commit where HEAD left REF. auto is the ref that CI names, "
            "else the main branch; it is the default if a rule has `vs: base`.",
        ),
    ] = None,
    recording: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="A recording of `samattn measure`, for measured metrics; by default those that ship with samattn; may repeat.",
        ),
    ] = None,
    fail_on: Annotated[
        FailOn,
        typer.Option(
            metavar="OUTCOME",
            help="Exit 1 on this outcome or a worse one: warn, error or never. Exit 2 if something could not be checked.",
        ),
    ] = BY_DEFAULT,
    all_results: Annotated[bool, typer.Option("--all", help="Also list results that pass.")] = False,
    format_: Annotated[
        Format | None,
        typer.Option(
            "--format",
            "-f",
            metavar="FORMAT",
            help="terminal (or text), json, csv, markdown, github, gitlab, junit or sarif; terminal by default.",
        ),
    ] = None,
    output: Outputs = None,
) -> None:
    """Check encoders against thresholds: limits, expected figures, and growth.

    Figures are derived, so a config gets the same verdict on every machine. Exit codes: 0 if all rules pass, perhaps with
    warnings; 1 if a rule failed; 2 if anything could not be checked, even if rules also failed. Reports are always written,
    even if the thresholds, the base or the baseline cannot be read. With -o and without --format, nothing is printed. With
    --fail-on warn, reports show warnings as failures; with never, errors remain errors. Under GitHub Actions, files are
    annotated and the summary of the step is written. With a base, loosened limits and removed configs are findings.

    Examples:

      samattn check

      samattn check --base main

      samattn check encoders/vit_h.yaml --thresholds samattn.yaml --all

      samattn check sam_vit_b swin_t --memory 4GiB

      samattn check --fail-on warn -o check.json -o check.md -o check.sarif -o gitlab=gl-code-quality-report.json
    """
    files = output_files(output, FORMATS)
    refuse_stdin(configs)
    shown = chosen(format_) or (None if files else "terminal")
    _check_memory(memory, configs, thresholds, base)
    _check_recordings(recording or ())
    report, error = _checked(thresholds, configs or (), recording or (), base, memory)
    report = replace(report, fail_on=fail_on.value)
    if error is not None:
        say(str(error), style="red")
        shown = None if shown == "terminal" else shown  # the message says it all
    options = replace(terminal_options(all_layers=all_results), checkout=checkout(os.environ))
    with ExitStack() as after:  # runs the last first, and each even if the one before fails
        after.callback(under_github, report, os.environ, options, annotate=shown != "github")
        after.callback(write, report, files, options)
        if shown:
            show(report, shown, options)
    finish(report)


def _check_memory(
    memory: str | None, configs: Sequence[str] | None, thresholds: Path | None, base: str | None
) -> None:
    """Check what --memory gives, and what is given with it.

    Raises:
        UsageError: if it is not a size, no config is named, or there are thresholds or a base too.
    """
    if memory is None:
        return
    memory_of(memory, None)
    if not configs:
        raise UsageError(
            "missing-argument", f"--memory {memory}: name the configs to check, such as sam_vit_b"
        )
    for option, value in (("--thresholds", thresholds), ("--base", base)):
        if value is not None:
            raise UsageError("conflicting-options", f"give --memory or {option}, not both")


def _check_recordings(recordings: Sequence[Path]) -> None:
    """Check that recordings exist: they are read only if a rule needs them.

    Raises:
        UsageError: if one does not.
    """
    for path in recordings:
        if not path.exists():
            raise UsageError(
                "file-not-found", f"--recording {path}: no such file; samattn measure -o {path} makes one"
            )


def _checked(
    thresholds: Path | None,
    configs: Sequence[str],
    recordings: Sequence[Path],
    base: str | None,
    memory: str | None,
) -> tuple[CheckReport, SamattnError | None]:
    """The report, and the error if the check could not start."""
    from ..gate.failed import failed
    from ..gate.load_thresholds import load_thresholds, of_memory
    from ..gate.recordings import Recordings
    from ..gate.run import check as run

    file = None
    try:
        file = load_thresholds(thresholds) if memory is None else of_memory(memory, configs)
        today = datetime.now(timezone.utc).date()  # the same on every machine
        measured = Recordings(tuple(recordings))
        with working("checking", "checks") as tell:
            return run(file, configs, today=today, recordings=measured, base=base, tell=tell), None
    except (UsageError, OutputError):
        raise
    except SamattnError as error:
        return failed(error, thresholds, file), error


def finish(report: CheckReport) -> None:
    """Exit with the code of the worst outcome."""
    if report.outcome == "unchecked":
        raise typer.Exit(EXIT_ERROR)
    if any(report.fails(result) for result in report.results):
        raise typer.Exit(EXIT_DIFFERS)
