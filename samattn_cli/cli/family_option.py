"""The option --family of every command that works with encoders: families from outside the package."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.main import get_command

from . import complete

NAME = "family"
VARIABLE = "SAMATTN_FAMILY"
WITHOUT = frozenset({"configs", "devices", "guide", "metrics"})
"""The commands that work with what ships alone."""


@cache
def family_option() -> Any:
    """The option as Typer makes it of a function's parameter."""
    app = typer.Typer(add_completion=False)
    app.command()(_with_option)
    (option,) = (param for param in get_command(app).params if param.name == NAME)
    return option


def add_families(paths: Iterable[Path]) -> None:
    """Add the families that the option names."""
    for path in paths:
        from ..encoder.outside import add_family

        add_family(path)


def _with_option(
    family: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE.py",
            envvar=VARIABLE,
            autocompletion=complete.families,
            help="A family of encoders of your own, a Python file or a folder, whose words configs may then use; may "
            "repeat. It is code: samattn runs it as you. See `samattn guide families`.",
        ),
    ] = None,
) -> None:
    """Hold the option."""
