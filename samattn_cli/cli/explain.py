"""`samattn explain`."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from ..figures import EXPLAINED, figure_for_option, listed
from ..files.load import load_config
from ..render import LATEX, TEXTS
from . import complete
from .asked import asked_files
from .output import deliver, guarded, terminal_options
from .parameters import (
    Attention,
    Autocast,
    BatchSize,
    Config,
    DTypeOption,
    ImageSize,
    Outputs,
    Set,
    choices,
    chosen,
    overrides,
)

FORMATS = TEXTS | LATEX
Format = Enum("Format", choices(FORMATS), type=str)  # type: ignore[misc]


@guarded
def explain(
    config: Config,
    where: Annotated[
        str,
        typer.Argument(
            metavar="[LAYER[.OP]]",
            help="What to explain: 7, blocks.7, neck, 7.attn.scores, 7.attn; the encoder if left out.",
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
    set_: Set = None,
    image_size: ImageSize = None,
    batch_size: BatchSize = None,
    dtype: DTypeOption = None,
    autocast: Autocast = None,
    attention: Attention = None,
    format_: Annotated[
        Format | None,
        typer.Option(
            "--format",
            "-f",
            metavar="FORMAT",
            help="terminal (or text), json, csv, markdown or latex; terminal by default.",
        ),
    ] = None,
    output: Outputs = None,
) -> None:
    """Say where a figure comes from: its formula, the formula with numbers, the number.

    The formula is what the same pass gives on symbols, so it is the figure's own. It goes with what each symbol stands
    for, what is left out, and what other tools say.

    Examples:

      samattn explain sam_vit_h

      samattn explain sam_vit_h 0.attn.scores

      samattn explain swin_t blocks.3 --metric params -o block.tex

      samattn explain my_encoder.yaml 7 --metric peak_bytes --dtype bfloat16
    """
    from ..studies.explain import explain as explain_figure

    metric = figure_for_option("--metric", metric, EXPLAINED, "has no formula")
    formats = asked_files(output, list(FORMATS))
    runs = {"batch_size": batch_size, "dtype": dtype, "autocast": autocast, "attention": attention}
    encoder = load_config(config, overrides(set_, image_size=image_size, **runs))
    report = explain_figure(encoder, where, metric)
    deliver(report, chosen(format_), formats, terminal_options())
