"""`samattn compare-placements`."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

import typer

from ..errors import UsageError
from ..figures import OF_ENCODER, listed
from ..files.load import load_config
from . import complete
from .analyze import FORMATS
from .ignored import say_not_drawn
from .output import deliver, guarded, terminal_options, working
from .output_files import output_files
from .parameters import (
    OrDefaultConfig,
    Outputs,
    TextFormat,
    chosen,
    device_of,
    device_option,
    or_default,
)
from .run_options import LaidOver, with_run_options

Chart = Literal["placements", "front"]


@guarded
@with_run_options()
def compare_placements(
    config: OrDefaultConfig = None,
    placements: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STRATEGY",
            help="none, all, even:K, first:K, last:K, every:K, alternate, shifted, or layers such as 7,15,23,31; may "
            "repeat. Default: all of these, with K = 4.",
            autocompletion=complete.words(complete.placements),
        ),
    ] = None,
    search: Annotated[
        str | None,
        typer.Option(
            metavar="K", help="Search all placements of K global layers, or of a range such as 2:6."
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="LIMITS",
            help="Search all placements within limits, such as 'flops <= 6 TFLOP, peak_memory <= 8 GiB'. Metrics: "
            f"{listed(OF_ENCODER)}.",
        ),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            metavar="COST",
            help="The cost that a search trades against information flow: a metric of --budget; default: flops.",
            autocompletion=complete.words(complete.costs),
        ),
    ] = None,
    laid_over: LaidOver = (),
    device: Annotated[
        str | None,
        device_option("Add predicted times: h100, rtx_4090, ... (see `samattn devices`) or a YAML file."),
    ] = None,
    all_layers: Annotated[
        bool, typer.Option("--all", help="Show all results of a search, and every layer.")
    ] = False,
    chart: Annotated[
        Chart,
        typer.Option(
            help="What a picture (-o FILE.svg, .png, .pdf, .html) shows: placements: their layers and costs; front: of --search, the cost "
            "against the first layer that sees the whole image."
        ),
    ] = "placements",
    format_: TextFormat = None,
    output: Outputs = None,
) -> None:
    """Compare placements of an encoder's global layers: the cost of each, and how information flows.

    Published results are shown next to the strategies that have them. Receptive fields are computed from the windows;
    they describe structure, not accuracy. A search looks at all placements and shows the Pareto front of three values:
    the cost, the first layer after which every token has seen the whole image, and the longest run of layers without
    global attention. With -o and without --format, nothing is printed.

    Examples:

      samattn compare-placements sam_vit_h

      samattn compare-placements sam_vit_b --placements 2,5,8,11 --placements even:3 --device h100 -o placements.svg

      samattn compare-placements sam_vit_h --search 4 --by training_memory

      samattn compare-placements sam_vit_b --search 1:4 --chart front -o front.svg

      samattn compare-placements sam_vit_h --budget "flops <= 6 TFLOP, peak_memory <= 8 GiB"
    """
    from ..studies.placements.compare import compare_placements
    from ..studies.placements.exhaustive import asked

    formats = output_files(output, FORMATS)
    question = asked(search, budget, by)
    if chart == "front" and question is None:
        raise UsageError(
            "needs-option", "--chart front is of a search: add --search K, such as --search 4, or --budget"
        )
    encoder = load_config(or_default(config), laid_over)
    where = device_of(device)
    with working("searching every placement" if question else "comparing placements", "placements") as tell:
        report = compare_placements(encoder, placements or (), device=where, search=question, tell=tell)
    if chart == "front":
        say_not_drawn(chart, formats.values())
    options = replace(terminal_options(all_layers=all_layers), chart=chart)
    deliver(report, chosen(format_), formats, options)
