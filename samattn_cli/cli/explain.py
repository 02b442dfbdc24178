"""`samattn explain`."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from ..errors import UsageError, code_of
from ..figures import ALIASES, EXPLAINED, FIGURES, figure_for_option, listed, named
from ..files.load import load_config
from ..records import replace
from ..render import LATEX, PAGES, TEXTS
from ..shell import command
from ..spelling import known_as
from . import complete
from .output import deliver, guarded, terminal_options
from .output_files import output_files
from .parameters import (
    Config,
    Outputs,
    choices,
    chosen,
    format_option,
)
from .run_options import LaidOver, with_run_options

FORMATS = TEXTS | LATEX
Format = Enum("Format", choices(FORMATS), type=str)  # type: ignore[misc]


@guarded
@with_run_options("mode", "optimizer", "checkpointing")
def explain(
    config: Config,
    where: Annotated[
        str,
        typer.Argument(
            metavar="[LAYER[.OP]]",
            help="What to explain: 7, blocks.7, neck, 7.attn.scores, 7.attn; default: the whole encoder.",
        ),
    ] = "",
    metric: Annotated[
        str,
        typer.Option(
            metavar="METRIC",
            help=f"{listed(EXPLAINED)}.",
            autocompletion=complete.words(complete.explained_metrics),
        ),
    ] = "macs",
    laid_over: LaidOver = (),
    others: Annotated[
        bool, typer.Option("--others", help="Show what other tools report, and why their figures differ.")
    ] = False,
    format_: Annotated[Format | None, format_option(FORMATS)] = None,
    output: Outputs = None,
) -> None:
    """Explain a number: its formula, the formula with numbers, and the result.

    The formula is derived by running the same pass on symbols instead of numbers. The report also says what each symbol
    means, and what is not counted; --others adds what other tools report.

    Examples:

      samattn explain sam_vit_h

      samattn explain sam_vit_h --others

      samattn explain sam_vit_h 0.attn.scores

      samattn explain swin_t blocks.3 --metric params -o block.tex

      samattn explain my_encoder.yaml 7 --metric peak_bytes --dtype bfloat16
    """
    from ..studies.explain import explain as explain_figure

    metric = figure_for_option("--metric", metric, EXPLAINED, "has no formula")
    formats = output_files(output, (*FORMATS, *PAGES))
    encoder = load_config(config, laid_over)
    try:
        report = explain_figure(encoder, where, metric)
    except UsageError as error:
        name = known_as(where, [*FIGURES, *ALIASES])
        if code_of(error.message) != "unknown-layer" or name is None:
            raise
        explained = named(name, EXPLAINED)
        hint = f"write {command('explain', config, '--metric', name)}" if explained else "it has no formula"
        raise UsageError("unknown-layer", f"{where}: is a metric, and not a layer; {hint}") from None
    deliver(report, chosen(format_), formats, replace(terminal_options(), full=others))
