"""`samattn metrics`."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from ..render import TEXTS
from . import complete
from .asked import asked_files
from .output import deliver, guarded, terminal_options
from .parameters import Outputs, choices, chosen

Format = Enum("MetricsFormat", choices(TEXTS), type=str)  # type: ignore[misc]


@guarded
def metrics(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[METRIC]",
            help="Show one, by any of its names; all are listed if left out.",
            autocompletion=complete.words(complete.all_metrics),
        ),
    ] = None,
    format_: Annotated[
        Format | None,
        typer.Option(
            "--format",
            "-f",
            metavar="FORMAT",
            help="terminal (or text), json, csv or markdown; terminal by default.",
        ),
    ] = None,
    output: Outputs = None,
) -> None:
    """List the figures that samattn works out: names, units, what is counted, and where each can be used.

    Every command takes every name of a figure.

    Examples:

      samattn metrics

      samattn metrics peak_memory
    """
    from ..studies.metrics import metrics as all_metrics

    formats = asked_files(output, list(TEXTS))
    deliver(all_metrics(name), chosen(format_), formats, terminal_options())
