"""`samattn baseline`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import EXIT_DIFFERS, UsageError
from ..shell import options
from . import complete
from .command import Command
from .output import emit, guarded, say, working, write_file
from .parameters import ThresholdsFile, config_names, refuse_stdin

if TYPE_CHECKING:
    from ..gate.update import Step

CI = "CI"
"""Set to true by every CI."""

baseline = typer.Typer(
    name="baseline",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="""Keep today's figures beside the thresholds, for rules that are vs baseline.

    Examples:

      samattn baseline create

      samattn baseline update --accept drift --reason "global attention for recall"
    """,
)


@baseline.command(cls=Command)
@guarded
def create(thresholds: ThresholdsFile = None) -> None:
    """Write samattn-baseline.json beside the thresholds: today's figures of all rules that are vs baseline.

    Refuses where there is one, and in CI: it is to be committed and reviewed.

    Examples:

      samattn baseline create
    """
    from ..gate.baseline import UPDATE, path_of
    from ..gate.load_thresholds import load_thresholds
    from ..gate.update import update as updated

    file = load_thresholds(thresholds)
    path = path_of(file)
    if os.environ.get(CI):
        raise UsageError(f"{CI} is set: a baseline is made by hand, and committed")
    if path.exists():
        raise UsageError(f"there is {path} already: {UPDATE}")
    with working("working out the figures"):
        found = updated(file)
    write_file(path, found.text, quiet=True)
    emit(f"wrote {path}: {_things(len(found.entries))}\n")


@baseline.command(cls=Command)
@guarded
def update(
    configs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CONFIG...",
            help="YAML files or presets, whose figures alone are looked at.",
            callback=config_names,
            autocompletion=complete.configs,
        ),
    ] = None,
    thresholds: ThresholdsFile = None,
    accept: Annotated[
        list[str] | None,
        typer.Option(metavar="RULE", help="Take larger figures of this rule too; may repeat; not in CI."),
    ] = None,
    reason: Annotated[
        str, typer.Option(metavar="TEXT", help="Why they may be larger; is kept beside each.")
    ] = "",
) -> None:
    """Follow today's figures: smaller ones and new ones are taken, larger ones of accepted rules alone.

    Figures of configs that are gone are left out, unless CONFIG is given. Exits 1 if a figure is above the baseline.

    Examples:

      samattn baseline update

      samattn baseline update encoders/h.yaml --accept drift --reason "global attention for recall"
    """
    from ..gate.baseline import path_of
    from ..gate.load_thresholds import load_thresholds
    from ..gate.update import update as updated

    refuse_stdin(configs)
    accepted = _accepted(accept, reason)
    file = load_thresholds(thresholds)
    path = path_of(file)
    if not path.exists():
        raise UsageError(f"there is no {path}: samattn baseline create")
    with working("working out the figures"):
        found = updated(file, configs or (), accept=accepted, reason=reason.strip())
    changed = found.text.encode() != path.read_bytes()
    if changed:
        write_file(path, found.text, quiet=True)
    emit("".join(f"{_said(step)}\n" for step in found.steps if step.done != "kept"))
    what = f"{_things(len(found.entries))}, {found.count('kept')} of those looked at as they were"
    emit(f"{'wrote' if changed else 'left as it is:'} {path}: {what}\n")
    if found.above:
        say(_remedy(found.above), style="red")
        raise typer.Exit(EXIT_DIFFERS)


def _accepted(accept: list[str] | None, reason: str) -> list[str]:
    """The rules that are accepted.

    Raises:
        UsageError: without a reason, in CI, and for a reason alone.
    """
    if accept and os.environ.get(CI):
        raise UsageError(f"--accept {accept[0]}: {CI} is set: a baseline is raised by hand, and committed")
    if accept and not reason.strip():
        raise UsageError(f"--accept {accept[0]}: needs --reason TEXT, which is kept beside the figures")
    if reason and not accept:
        raise UsageError(f"--reason {reason}: goes with --accept RULE")
    return accept or []


def _said(step: Step) -> str:
    """A line on what became of a figure."""
    from ..metric_names import unit_of
    from ..units import format_apart

    config, profile, metric = step.key
    of = f"{config} ({profile})" if profile else config
    values = " -> ".join(
        format_apart(unit_of(metric), *(value for value in (step.was, step.now) if value is not None))
    )
    return f"{step.done:9}  {of}  {metric} {values}"


def _remedy(above: Sequence[Step]) -> str:
    """What would take figures that are above the baseline."""
    accepted = options("--accept", dict.fromkeys(rule for step in above for rule in step.rules))
    number = _things(len(above))
    return f"{number} above the baseline: if that is meant, {accepted} --reason TEXT"


def _things(number: int) -> str:
    from ..units import format_things

    return format_things(number, "figure")
