"""The command line: a command parses, calls a study and renders."""

from __future__ import annotations

import sys

from ..errors import EXIT_INTERRUPTED


def run() -> None:
    """The entry point of ``samattn``."""
    try:
        from .app import app

        app(prog_name="samattn")
    except KeyboardInterrupt:  # before Typer could take it
        sys.exit(EXIT_INTERRUPTED)
