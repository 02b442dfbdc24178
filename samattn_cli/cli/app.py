"""The Typer application: the commands, each in its file."""

from __future__ import annotations

from typing import Annotated

import typer

from .. import __version__
from .analyze import analyze
from .calibrate import calibrate
from .compare_placements import compare_placements
from .configs import configs
from .devices import devices
from .explain import explain
from .import_ import import_
from .measure import measure
from .schema import schema
from .sweep import sweep
from .verify import verify

app = typer.Typer(
    name="samattn",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 clean, 1 a check found a difference, 2 bad input or could not check, 130 interrupted.",
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"samattn {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """What each layer of a windowed/global vision encoder costs, and what windowing it really saves.

    Start with: samattn analyze sam_vit_h
    """


for command in (
    analyze,
    sweep,
    compare_placements,
    explain,
    verify,
    measure,
    configs,
    devices,
    calibrate,
    schema,
):
    app.command()(command)
app.command("import")(import_)
