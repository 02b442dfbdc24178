"""The Typer application: the commands, each in its file, which is imported when it is asked for."""

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
from ..errors import did_you_mean
from ..render.shield import printed
from ..shell import command
from ..spelling import known_as
from .command import Command, UsageError

COMMANDS = {
    "analyze": "analyze.analyze",
    "sweep": "sweep.sweep",
    "compare-placements": "compare_placements.compare_placements",
    "fit": "fit.fit",
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
"""Where the function of each command is, or the application of its own commands, in the order of the help."""

OTHER_COMMANDS = {
    "analyse": "analyze",
    "compare": "compare-placements",
    "placements": "compare-placements",
    "presets": "configs",
    "gpus": "devices",
    "figures": "metrics",
}
"""Other names of commands."""

VERSION = "--version"
WRAPPED = re.compile(r"(?<=\S)\n(?=\S)")
"""A line's end within a paragraph."""


class Commands(Mapping[str, TyperCommand]):
    """The commands by name; one is made when it is taken."""

    def __getitem__(self, name: str) -> Any:
        module, function = COMMANDS[name].split(".")
        found = getattr(import_module(f".{module}", __package__), function)
        if isinstance(found, typer.Typer):
            return _unwrapped(get_command(found))
        alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        alone.command(name, cls=Command)(found)
        return _unwrapped(get_command(alone))

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


def _unwrapped(command: Any) -> Any:
    """The command with each paragraph of its help on one line: Typer keeps the source's line ends in all but the first."""
    command.help = WRAPPED.sub(" ", command.help or "")
    for inner in getattr(command, "commands", {}).values():
        _unwrapped(inner)
    return command


class LazyGroup(TyperGroup):
    """A group whose commands are imported when they are asked for: the others cost a start nothing."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = Commands()  # type: ignore[assignment]

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the same in any context
        """All names, in the order of the help."""
        return list(COMMANDS)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command of a name.

        Raises:
            UsageError: of Typer, with a hint.
        """
        if args[0] == "help":
            return super().resolve_command(ctx, [*args[1:2], "--help"]) if args[1:] else self._help(ctx)
        name = known_as(args[0], COMMANDS, OTHER_COMMANDS)
        if name is None and not args[0].startswith("-"):
            raise UsageError(f"No such command '{args[0]}'{_instead(args)}", ctx)
        return super().resolve_command(ctx, [name or args[0], *args[1:]])

    def make_context(self, *args: Any, **settings: Any) -> Any:
        """As Typer does, with what it says shielded."""
        with _shielded():
            return super().make_context(*args, **settings)

    def invoke(self, ctx: Any) -> Any:
        """As Typer does, with what it says shielded."""
        with _shielded():
            return super().invoke(ctx)

    def _help(self, ctx: Any) -> Any:
        """Of samattn itself, as `samattn --help`."""
        typer.echo(ctx.get_help())
        ctx.exit()


def _instead(args: list[str]) -> str:
    """What to write for words that begin with no command."""
    from ..encoder.presets import presets

    preset = known_as(args[0], presets())
    if preset or args[0].endswith((".yaml", ".yml")):
        return f"; it is a config: {command('analyze', preset or args[0], *args[1:])}"
    if f"--{args[0]}" == VERSION:
        return f"; write {command(VERSION)}"
    return did_you_mean(args[0], COMMANDS)


@contextmanager
def _shielded() -> Iterator[None]:
    """What Typer says itself: nothing in a message is obeyed, and a help that cannot be printed is no verdict."""
    from .output import said

    try:
        with said():
            yield
    except Exception as error:
        if isinstance(message := getattr(error, "message", None), str):  # of a wrong option or command
            error.message = printed(message, "line", os.environ)  # type: ignore[attr-defined]
        raise


app = typer.Typer(
    name="samattn",
    cls=LazyGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 clean, 1 a check found a difference, 2 bad input or could not check, 130 interrupted. "
    "COLUMNS sets the width of reports.",
)


def _version(asked: bool) -> None:
    if asked:
        from .output import emit, said

        with said():
            emit(f"samattn {__version__}\n")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option(VERSION, callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """What each layer of a windowed/global vision encoder costs, and what windowing it really saves.

    Start with: samattn analyze sam_vit_h

    Read on with: samattn guide
    """
