"""`samattn metrics`."""

from __future__ import annotations

from typing import Annotated

import typer

from ..render import PAGES, TEXTS
from . import complete
from .output import deliver, guarded, terminal_options
from .output_files import output_files
from .parameters import Outputs, TextFormat, chosen


@guarded
def metrics(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[METRIC]",
            help="Show one metric, by any of its names; default: list all.",
            autocompletion=complete.words(complete.all_metrics),
        ),
    ] = None,
    format_: TextFormat = None,
    output: Outputs = None,
) -> None:
    """List the metrics: names, units, what is counted, and which commands take each.

    Every command accepts every name of a metric.

    Examples:

      samattn metrics

      samattn metrics peak_memory
    """
    from ..studies.metrics import metrics as all_metrics

    formats = output_files(output, (*TEXTS, *PAGES))
    deliver(all_metrics(name), chosen(format_), formats, terminal_options())
