"""The Typer application. Each command has its own file, which is imported only when the command is used."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from .. import __version__
from ..errors import Message, did_you_mean, with_code
from ..render.shield import printed
from ..shell import command
from ..spelling import known_as
from . import paging
from .command import Command, UsageError, coded

COMMANDS = {
    "analyze": "analyze.analyze",
    "trace": "trace.trace",
    "sweep": "sweep.sweep",
    "compare-placements": "compare_placements.compare_placements",
    "fit": "fit.fit",
    "plan": "plan.plan",
    "oom": "oom.oom",
    "explain": "explain.explain",
    "diff": "diff.diff",
    "check": "check.check",
    "baseline": "baseline.baseline",
    "init": "init.init",
    "verify": "verify.verify",
    "measure": "measure.measure",
    "import": "import_.import_",
    "configs": "configs.configs",
    "devices": "devices.devices",
    "metrics": "metrics.metrics",
    "calibrate": "calibrate.calibrate",
    "schema": "schema.schema",
    "guide": "guide.guide",
}
"""The module and function of each command (or of its Typer application), in the order of the help."""

OTHER_COMMANDS = {
    "analyse": "analyze",
    "compare": "compare-placements",
    "placements": "compare-placements",
    "presets": "configs",
    "gpus": "devices",
    "figures": "metrics",
}
"""Aliases of commands."""

VERSION = "--version"
WRAPPED = re.compile(r"(?<=\S)\n(?=\S)")
"""A line break within a paragraph."""


class Commands(Mapping[str, TyperCommand]):
    """The commands by name; each is created on access."""

    def __getitem__(self, name: str) -> Any:
        module, attribute = COMMANDS[name].split(".")
        function = getattr(import_module(f".{module}", __package__), attribute)
        if isinstance(function, typer.Typer):
            return _unwrapped(get_command(function))
        alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        alone.command(name, cls=Command)(function)
        return _unwrapped(get_command(alone))

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


def _unwrapped(command: Any) -> Any:
    """The command, with each paragraph of its help on one line: Typer keeps the source's line breaks after the first."""
    command.help = WRAPPED.sub(" ", command.help or "")
    for inner in getattr(command, "commands", {}).values():
        _unwrapped(inner)
    return command


class LazyGroup(TyperGroup):
    """A group that imports a command only when it is used, so that start-up does not pay for the others."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = Commands()  # type: ignore[assignment]

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - Typer's signature
        """All names, in the order of the help."""
        return list(COMMANDS)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find a command by its name or an alias.

        Raises:
            UsageError: Typer's, with a hint, if there is no such command.
        """
        if args[0] == "help":
            return self.resolve_command(ctx, [*args[1:2], "--help"]) if args[1:] else self._help(ctx)
        name = known_as(args[0], COMMANDS, OTHER_COMMANDS)
        if name is None and not args[0].startswith("-"):
            raise UsageError(Message("unknown-command", f"No such command '{args[0]}'{_hint(args)}"), ctx)
        return super().resolve_command(ctx, [name or args[0], *args[1:]])

    def make_context(self, *args: Any, **settings: Any) -> Any:
        """Parse samattn's own options; see `_shielded`."""
        with _shielded():
            return super().make_context(*args, **settings)

    def invoke(self, ctx: Any) -> Any:
        """Run a command; see `_shielded`."""
        with _shielded():
            return super().invoke(ctx)

    def _help(self, ctx: Any) -> Any:
        """Print samattn's own help, as `samattn --help` does."""
        typer.echo(ctx.get_help())
        ctx.exit()


def _hint(args: list[str]) -> str:
    """What the user probably meant by a first word that is not a command."""
    if not args[0].strip():
        return f": the word is empty; {command('--help')} lists the commands"
    from ..encoder.presets import presets

    preset = known_as(args[0], presets())
    if preset or args[0].endswith((".yaml", ".yml")):
        return f"; to analyze this config, write {command('analyze', preset or args[0], *args[1:])}"
    if f"--{args[0]}" == VERSION:
        return f"; write {command(VERSION)}"
    return did_you_mean(args[0], COMMANDS)


@contextmanager
def _shielded() -> Iterator[None]:
    """The one place through which Typer's own output passes.

    A usage error is printed with its code, and control characters in it are made visible. A help text that cannot be
    printed does not change the exit code.
    """
    from .output import informing

    try:
        with informing():
            yield
    except UsageError as error:
        if message := coded(error):
            raise UsageError(printed(with_code(message), "line", os.environ), error.ctx) from None
        raise


app = typer.Typer(
    name="samattn",
    cls=LazyGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 success, 1 a check failed, 2 bad input or a check could not run, 130 interrupted. "
    "The environment variable COLUMNS sets the width of reports. In a terminal, a report that is longer than the screen "
    "is shown in SAMATTN_PAGER, PAGER or less.",
)


def _version(wanted: bool) -> None:
    if wanted:
        from .output import emit, informing

        with informing():
            emit(f"samattn {__version__}\n")
        raise typer.Exit


def _no_pager(given: bool) -> None:
    paging.wanted.set(not given)


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option(VERSION, callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    no_pager: Annotated[
        bool,
        typer.Option(paging.OPTION, callback=_no_pager, help=paging.HELP),
    ] = False,
) -> None:
    """See what each layer of a vision encoder costs, and how much windowed attention really saves.

    Start with: samattn analyze sam_vit_h

    Documentation: samattn guide
    """
