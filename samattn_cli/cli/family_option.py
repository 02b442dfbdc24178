"""The option --family of every command that works with encoders: it adds families from outside the package."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import redirect_stderr, redirect_stdout, suppress
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.main import get_command

from ..errors import SamattnError
from . import complete

NAME = "family"
VARIABLE = "SAMATTN_FAMILY"
WITHOUT = frozenset({"configs", "devices", "guide", "metrics"})
"""The commands that do not load configs of users, and so do not have the option."""


@cache
def family_option() -> Any:
    """The option, which Typer builds from the parameter of a function."""
    app = typer.Typer(add_completion=False)
    app.command()(_with_option)
    (option,) = (param for param in get_command(app).params if param.name == NAME)
    return option


def add_families(paths: Iterable[Path]) -> None:
    """Add the families that the option names."""
    for path in paths:
        from ..encoder.outside import add_family

        add_family(path)


def complete_with(paths: Iterable[Path]) -> None:
    """Add the families of a command line that a shell completes, as far as they can be added: nothing may be printed."""
    with suppress(SamattnError), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        add_families(paths)


def _with_option(
    family: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE.py",
            envvar=VARIABLE,
            autocompletion=complete.families,
            help="Add a family of encoders from a Python file or folder, so that configs can use it; may repeat. Its code "
            "runs with your permissions. See `samattn guide families`.",
        ),
    ] = None,
) -> None:
    """Hold the option."""
