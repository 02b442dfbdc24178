"""The command line: a command parses, calls a study and renders."""

from __future__ import annotations

import gc
import os
import sys
from contextlib import suppress

from ..errors import EXIT_INTERRUPTED


def run() -> None:
    """The entry point of ``samattn``.

    A command lives for a moment: collecting its young objects took a seventh of it, and taking all down at its end as
    much. So neither is done; what was printed is flushed.
    """
    gc.set_threshold(100_000)
    try:
        from .app import app

        app(prog_name="samattn")
        code = 0
    except KeyboardInterrupt:  # before Typer could take it
        code = EXIT_INTERRUPTED
    except SystemExit as leaving:
        if not isinstance(leaving.code, int):
            raise
        code = leaving.code
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, AttributeError, ValueError):  # closed, or none
            stream.flush()
    os._exit(code)
