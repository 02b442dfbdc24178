"""`samattn baseline`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import EXIT_DIFFERS, Message, UsageError, with_code
from ..shell import options
from . import complete
from .command import Command
from .output import emit, guarded, say, working, write_file
from .parameters import ThresholdsFile, config_names, refuse_stdin

if TYPE_CHECKING:
    from ..gate.update import Step

CI = "CI"
"""Every CI sets this variable."""

baseline = typer.Typer(
    name="baseline",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="""Keep today's figures in a file next to the thresholds, for rules with `vs: baseline`.

    Examples:

      samattn baseline create

      samattn baseline update --accept drift --reason "global attention for recall"
    """,
)


@baseline.command(cls=Command)
@guarded
def create(thresholds: ThresholdsFile = None) -> None:
    """Write samattn-baseline.json next to the thresholds: today's figures for all rules with `vs: baseline`.

    It is an error if the file exists, and in CI: a baseline is committed and reviewed.

    Examples:

      samattn baseline create
    """
    from ..gate.baseline import UPDATE, path_of
    from ..gate.load_thresholds import load_thresholds
    from ..gate.update import update as updated

    file = load_thresholds(thresholds)
    path = path_of(file)
    if os.environ.get(CI):
        raise UsageError("not-in-ci", f"{CI} is set: create the baseline on your machine, and commit it")
    if path.exists():
        raise UsageError("file-exists", f"{path} already exists: run {UPDATE}")
    with working("working out the figures"):
        new = updated(file)
    write_file(path, new.text, quiet=True)
    emit(f"wrote {path}: {_things(len(new.entries))}\n")


@baseline.command(cls=Command)
@guarded
def update(
    configs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CONFIG...",
            help="YAML files or presets; only their figures are updated. By default those of all configs.",
            callback=config_names,
            autocompletion=complete.configs,
        ),
    ] = None,
    thresholds: ThresholdsFile = None,
    accept: Annotated[
        list[str] | None,
        typer.Option(metavar="RULE", help="Also accept larger figures for this rule; may repeat; not in CI."),
    ] = None,
    reason: Annotated[
        str, typer.Option(metavar="TEXT", help="Why they may be larger; stored next to each figure.")
    ] = "",
) -> None:
    """Take today's figures that are smaller or new, and larger ones only for accepted rules.

    Without CONFIG, figures that no rule needs any more are removed. Exits 1 if a figure is above the baseline.

    Examples:

      samattn baseline update

      samattn baseline update encoders/h.yaml --accept drift --reason "global attention for recall"
    """
    from ..gate.baseline import CREATE, path_of
    from ..gate.load_thresholds import load_thresholds
    from ..gate.update import update as updated

    refuse_stdin(configs)
    accepted = _accepted(accept, reason)
    file = load_thresholds(thresholds)
    path = path_of(file)
    if not path.exists():
        raise UsageError("no-baseline", f"there is no {path}: run {CREATE}")
    with working("working out the figures"):
        new = updated(file, configs or (), accept=accepted, reason=reason.strip())
    changed = new.text.encode() != path.read_bytes()
    if changed:
        write_file(path, new.text, quiet=True)
    emit("".join(f"{_line(step)}\n" for step in new.steps if step.done != "kept"))
    what = f"{_things(len(new.entries))}, {new.count('kept')} unchanged"
    emit(f"{'wrote' if changed else 'did not change'} {path}: {what}\n")
    if new.above:
        say(with_code(_remedy(new.above)), style="red")
        raise typer.Exit(EXIT_DIFFERS)


def _accepted(accept: list[str] | None, reason: str) -> list[str]:
    """The rules that the user accepts.

    Raises:
        UsageError: in CI, without a reason, and for a reason without a rule.
    """
    if accept and os.environ.get(CI):
        text = f"--accept {accept[0]}: {CI} is set: raise the baseline on your machine, and commit it"
        raise UsageError("not-in-ci", text)
    if accept and not reason.strip():
        text = f"--accept {accept[0]} needs --reason TEXT, which is stored next to the figures"
        raise UsageError("missing-option", text)
    if reason and not accept:
        raise UsageError("missing-option", f"--reason {reason} needs --accept RULE")
    return accept or []


def _line(step: Step) -> str:
    """A line about what happened to a figure."""
    from ..metric_names import unit_of
    from ..units import format_apart

    config, profile, metric = step.key
    of = f"{config} ({profile})" if profile else config
    values = " -> ".join(
        format_apart(unit_of(metric), *(value for value in (step.was, step.now) if value is not None))
    )
    return f"{step.done:9}  {of}  {metric} {values}"


def _remedy(above: Sequence[Step]) -> Message:
    """How to take figures that are above the baseline."""
    accept = options("--accept", dict.fromkeys(rule for step in above for rule in step.rules))
    text = f"{_things(len(above))} above the baseline: to accept larger figures, add {accept} --reason TEXT"
    return Message("above-baseline", text)


def _things(number: int) -> str:
    from ..units import format_things

    return format_things(number, "figure")
