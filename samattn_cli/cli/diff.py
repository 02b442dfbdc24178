"""`samattn diff`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import EXIT_DIFFERS, Message, UsageError, code_of
from ..files.load import Override, parse_override
from ..metric_names import unknown_metric
from ..render import PAGES, PICTURES, TABLES, TEXTS
from . import complete
from .output import deliver, guarded, terminal_options
from .output_files import output_files
from .parameters import (
    Outputs,
    TextFormat,
    chosen,
    config_argument,
    device_of,
    device_option,
    read_stdin_once,
)
from .run_options import LaidOver, with_run_options
from .sides import Side, before, is_file, is_ref, now, side

FORMATS = (*TEXTS, *PICTURES, *TABLES, *PAGES)

if TYPE_CHECKING:
    from ..device.model import Device
    from ..gate.readings import Encoder
    from ..reports.diff import Diff


@guarded
@with_run_options()
def diff(
    first: Annotated[
        str, config_argument("A", "A YAML file, a preset, or REF:PATH, such as main:encoders/h.yaml.")
    ],
    second: Annotated[
        str, config_argument("[B]", "The encoder to compare A with; for the default see above.")
    ] = "",
    laid_over: LaidOver = (),
    set_after: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="Override a key of B only; without B, compare A with this change. May repeat.",
            autocompletion=complete.settings,
        ),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            metavar="REF",
            help="Compare a file with its version where the branch left REF; auto: the base that CI names.",
        ),
    ] = None,
    device: Annotated[
        str | None, device_option("Also compare predicted times: h100, ... or a YAML file.")
    ] = None,
    metric: Annotated[
        str,
        typer.Option(
            metavar="METRIC",
            help="The metric whose change is explained: flops, params, peak_memory, layers.7.flops, ...",
            autocompletion=complete.words(complete.limited_metrics),
        ),
    ] = "flops",
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit with 1 if any cost differs.")] = False,
    format_: TextFormat = None,
    output: Outputs = None,
) -> None:
    """Compare two encoders: the keys that changed, the change in cost, and the layers that cause it.

    REF:PATH is a file as git has it, with all files that it extends; nothing is checked out. Without B, REF:PATH is
    compared with the present file, and a file with its version at HEAD; with --set-after, A is compared with the changed
    A. Exits with 0 even if costs differ, unless --exit-code is given.

    Examples:

      samattn diff sam_vit_b sam_vit_l

      samattn diff main:encoders/h.yaml encoders/h.yaml

      samattn diff encoders/h.yaml --base auto --metric peak_memory

      samattn diff sam_vit_h --set-after window_size=16 --device h100

      samattn diff sam_vit_b --set-after global_attn_indexes=2,8,11 -o diff.svg
    """
    if problem := unknown_metric(metric):
        raise _bad_metric(metric, problem)
    formats = output_files(output, list(FORMATS))
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
    """Check that at least one of the encoders has a metric.

    Raises:
        UsageError: if none has, with what the last one has.
    """
    problems = [_problem(encoder, metric) for encoder in encoders]
    if all(problems):
        raise _bad_metric(metric, problems[-1])


def _bad_metric(metric: str, problem: str) -> UsageError:
    return UsageError(Message(code_of(problem) or "unknown-metric", f"--metric {metric}: {problem}"))


def _problem(encoder: Encoder, metric: str) -> str:
    """Why an encoder does not have a metric; "" if it does."""
    from ..gate.lookup import MetricError

    try:
        encoder.readings(metric)
    except MetricError as error:
        return error.message
    return ""


def _sides(
    first: str, second: str, base: str | None, laid_over: Sequence[Override], of_second: Sequence[str]
) -> tuple[Side, Side]:
    """Both configs; the command's help says what is compared without the second.

    Raises:
        UsageError: if there is nothing to compare with.
    """
    over = [*laid_over, *(parse_override(text, "--set-after") for text in of_second)]
    if base is not None and (second or not is_file(first)):
        raise UsageError(
            "conflicting-options", f"--base {base}: needs exactly one config, which must be a file"
        )
    read_stdin_once((first, second or (first if of_second else "")))
    if second:
        return side(first, laid_over), _named(side(second, over), of_second)
    if is_ref(first):
        return side(first, laid_over), _named(now(first, over), of_second)
    if base is not None or (is_file(first) and not of_second):
        return before(first, base, laid_over), _named(side(first, over), of_second)
    if of_second:
        return side(first, laid_over), _named(side(first, over), of_second)
    raise UsageError(
        "nothing-to-compare", f"{first}: give a second config, or a change: --set-after KEY=VALUE"
    )


def _named(second: Side, of_second: Sequence[str]) -> Side:
    """The second side, with the settings that only it has in its name."""
    return Side(" ".join((second.name, *of_second)), second.loaded)
