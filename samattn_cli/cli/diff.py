"""`samattn diff`."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import EXIT_DIFFERS, UsageError
from ..files.load import Override, parse_override
from ..metric_names import unknown
from ..render import TABLES, TEXTS
from . import complete
from .asked import asked_files
from .output import deliver, guarded, terminal_options
from .parameters import (
    Attention,
    Autocast,
    BatchSize,
    Checkpointing,
    DTypeOption,
    ImageSize,
    Mode,
    OptimizerOption,
    Outputs,
    Set,
    choices,
    chosen,
    config_name,
    device_of,
    device_option,
    overrides,
)
from .sides import Side, before, is_file, is_ref, now, side

FORMATS = (*TEXTS, *TABLES)
Format = Enum("DiffFormat", choices(TEXTS), type=str)  # type: ignore[misc]

if TYPE_CHECKING:
    from ..device.model import Device
    from ..gate.readings import Encoder
    from ..reports.diff import Diff


@guarded
def diff(
    first: Annotated[
        str,
        typer.Argument(
            metavar="A",
            help="A YAML file, a preset, or REF:PATH, such as main:encoders/h.yaml.",
            callback=config_name,
            autocompletion=complete.configs,
        ),
    ],
    second: Annotated[
        str,
        typer.Argument(
            metavar="[B]",
            help="Likewise; what is taken where it is left out stands above.",
            show_default=False,
            callback=config_name,
            autocompletion=complete.configs,
        ),
    ] = "",
    set_: Set = None,
    set_after: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="Override a key of B alone; without B, of A.",
            autocompletion=complete.settings,
        ),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            metavar="REF", help="With a file alone: what it was where HEAD left REF, or auto: what CI names."
        ),
    ] = None,
    image_size: ImageSize = None,
    batch_size: BatchSize = None,
    dtype: DTypeOption = None,
    autocast: Autocast = None,
    attention: Attention = None,
    mode: Mode = None,
    optimizer: OptimizerOption = None,
    checkpointing: Checkpointing = None,
    device: Annotated[str | None, device_option("Compare times too: h100, ... or a YAML file.")] = None,
    metric: Annotated[
        str,
        typer.Option(
            metavar="METRIC",
            help="The figure to explain: flops, params, peak_memory, layers.7.flops, ...",
            autocompletion=complete.words(complete.limited_metrics),
        ),
    ] = "flops",
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit 1 if any cost differs.")] = False,
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
    """Compare two encoders: the keys that changed, what that costs, and which layers it comes from.

    REF:PATH is a file as git has it, with all that it extends: no checkout. Without B, REF:PATH is compared with the
    file now, a file with what HEAD has, anything with itself under --set-after. Exits 0 unless --exit-code.

    Examples:

      samattn diff sam_vit_b sam_vit_l

      samattn diff main:encoders/h.yaml encoders/h.yaml

      samattn diff encoders/h.yaml --base auto --metric peak_memory

      samattn diff sam_vit_h --set-after window_size=16 --device h100
    """
    if wrong := unknown(metric):
        raise UsageError(f"--metric {metric}: {wrong}")
    formats = asked_files(output, list(FORMATS))
    flags = {"image_size": image_size, "batch_size": batch_size, "dtype": dtype, "autocast": autocast}
    runs = {"attention": attention, "mode": mode, "optimizer": optimizer, "checkpointing": checkpointing}
    laid_over = overrides(set_, **flags, **runs)
    earlier, later = _sides(first, second, base, laid_over, set_after or ())
    report = _compared(earlier, later, device_of(device), metric)
    deliver(report, chosen(format_), formats, terminal_options())
    if exit_code and report.costs_differ:
        raise typer.Exit(EXIT_DIFFERS)


def _compared(earlier: Side, later: Side, device: Device | None, metric: str) -> Diff:
    from ..gate.readings import Encoder
    from ..studies.diff import diff as compare
    from ..studies.diff import places_in

    encoders = [Encoder(each.loaded.config, device) for each in (earlier, later)]
    _check_metric(metric, *encoders)
    before, after = (encoder.passes for encoder in encoders)
    names, place = (earlier.name, later.name), places_in(later.loaded)
    return compare(before, after, names=names, place=place, metric=metric)


def _check_metric(metric: str, *encoders: Encoder) -> None:
    """See that an encoder has it.

    Raises:
        UsageError: if none does, with what the last one has.
    """
    problems = [_problem(encoder, metric) for encoder in encoders]
    if all(problems):
        raise UsageError(f"--metric {metric}: {problems[-1]}")


def _problem(encoder: Encoder, metric: str) -> str:
    """Why an encoder has no such figure; "" if it has."""
    from ..gate.lookup import MetricError

    try:
        encoder.readings(metric)
    except MetricError as error:
        return str(error)
    return ""


def _sides(
    first: str, second: str, base: str | None, laid_over: Sequence[Override], of_second: Sequence[str]
) -> tuple[Side, Side]:
    """Both configs; see the command's help for what stands in for the second.

    Raises:
        UsageError: if there is nothing to compare with.
    """
    over = [*laid_over, *(parse_override(text, "--set-after") for text in of_second)]
    if base is not None and (second or not is_file(first)):
        raise UsageError(f"--base {base}: is for a file alone, which it is compared with")
    if second:
        return side(first, laid_over), _named(side(second, over), of_second)
    if is_ref(first):
        return side(first, laid_over), _named(now(first, over), of_second)
    if base is not None or (is_file(first) and not of_second):
        return before(first, base, laid_over), _named(side(first, over), of_second)
    if of_second:
        return side(first, laid_over), _named(side(first, over), of_second)
    raise UsageError(f"{first}: name what to compare it with, or what to change: --set-after KEY=VALUE")


def _named(found: Side, of_second: Sequence[str]) -> Side:
    """With what is set for it alone."""
    return Side(" ".join((found.name, *of_second)), found.loaded)
