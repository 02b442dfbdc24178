"""The command line: a command parses, calls a study and renders."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import suppress

from ..errors import EXIT_ERROR, EXIT_INTERRUPTED


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
        unread = any(isinstance(cause, BrokenPipeError) for cause in _causes(leaving))
        code = _verdict(leaving, 0) if unread else leaving.code  # Rich exits 1 where nobody reads a help
    except OSError as unsaid:  # of a wrong option, on a standard error that is full
        code = _verdict(unsaid, EXIT_ERROR)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, AttributeError, ValueError):  # closed, or none
            stream.flush()
    os._exit(code)


def _verdict(unsaid: BaseException, otherwise: int) -> int:
    """The exit code of what could not be said: that changes no verdict."""
    codes = (getattr(cause, "exit_code", None) for cause in _causes(unsaid))
    return next((code for code in codes if isinstance(code, int)), otherwise)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and what was being handled as it came."""
    while error is not None:
        yield error
        error = error.__context__
