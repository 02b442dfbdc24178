"""The command line: a command parses, calls a study and renders."""

from __future__ import annotations

import gc
import sys

from ..errors import EXIT_INTERRUPTED


def run() -> None:
    """The entry point of ``samattn``."""
    gc.set_threshold(
        100_000
    )  # a command lives for a moment: to collect its young objects took a seventh of it
    try:
        from .app import app

        app(prog_name="samattn")
    except KeyboardInterrupt:  # before Typer could take it
        sys.exit(EXIT_INTERRUPTED)
