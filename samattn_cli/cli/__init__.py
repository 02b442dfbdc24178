"""The command line: a command parses, calls a study and renders."""

from __future__ import annotations

import gc
import os
import sys
from _signal import SIGINT, default_int_handler, getsignal, signal  # type: ignore[import-not-found]
from collections.abc import Iterator
from contextlib import suppress

from ..errors import EXIT_ERROR, EXIT_INTERRUPTED, Message
from .help import kept_help

HELP = frozenset({"-h", "--help", "help"})


def run() -> None:
    """The entry point of ``samattn``.

    A command is a short process. Garbage collection took a seventh of its time, and the interpreter's shutdown another
    seventh, so we skip both and only flush the standard streams.
    """
    gc.set_threshold(100_000)
    sys.unraisablehook = _unraisable
    if getsignal(SIGINT) is default_int_handler:
        signal(SIGINT, _on_interrupt)
    try:
        _run(sys.argv[1:])
        code = 0
    except KeyboardInterrupt:  # before Typer could handle it
        code = EXIT_INTERRUPTED
    except SystemExit as leaving:
        if not isinstance(leaving.code, int):
            raise
        pipe_closed = any(isinstance(cause, BrokenPipeError) for cause in _causes(leaving))
        code = _own_code(leaving, 0) if pipe_closed else leaving.code  # Rich exits 1 on a closed pipe
    except OSError as error:  # a usage error could not be printed: standard error is full
        code = _own_code(error, EXIT_ERROR)
    code = code or _help_to_nowhere(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, AttributeError, ValueError):  # the stream is closed or None
            stream.flush()
    os._exit(code)


AGAIN_S = 0.01


def _on_interrupt(*_: object) -> None:
    """Raise KeyboardInterrupt; while torch is imported, which swallows it or aborts the process, when that is done."""
    spec = getattr(sys.modules.get("torch"), "__spec__", None)
    if not getattr(spec, "_initializing", False):
        raise KeyboardInterrupt
    _interrupt_again()


def _unraisable(error: sys.UnraisableHookArgs) -> None:
    """Interrupt once more where Ctrl-C came in a callback, such as that of a weak reference, which raises nothing."""
    if error.exc_type is not KeyboardInterrupt:
        sys.__unraisablehook__(error)
        return
    _interrupt_again()


def _interrupt_again() -> None:
    """Interrupt once more, a moment later."""
    from threading import Timer

    Timer(AGAIN_S, _interrupt).start()


def _interrupt() -> None:
    """Send Ctrl-C's signal to the main thread, which wakes it where it waits; on Windows it is interrupted when it goes on."""
    from signal import pthread_kill
    from threading import main_thread

    thread = main_thread().ident
    if sys.platform == "win32" or thread is None:
        from _thread import interrupt_main

        interrupt_main()
    else:
        pthread_kill(thread, SIGINT)


def _help_to_nowhere(words: list[str]) -> int:
    """The exit code of help whose standard output is closed: Typer prints it to nobody, without an error."""
    if sys.stdout is not None or HELP.isdisjoint(words):
        return 0
    from .output import say

    say(Message("output-closed", "standard output is closed"), style="red")
    return EXIT_ERROR


def _run(words: list[str]) -> None:
    """Print the help that is kept, or let Typer run the command."""
    if (
        os.environ.get("COLUMNS", "").strip("0") == ""
    ):  # a terminal whose width is not known, and not one of no width
        os.environ.pop("COLUMNS", None)
    page = kept_help(words)
    if page is not None:
        with suppress(OSError):
            sys.stdout.write(page)
            sys.stdout.flush()
            return
    from .app import app

    app(prog_name="samattn")


def _own_code(error: BaseException, default: int) -> int:
    """The exit code of the error that could not be printed: a failed print does not change it."""
    codes = (getattr(cause, "exit_code", None) for cause in _causes(error))
    return next((code for code in codes if isinstance(code, int)), default)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and the errors that were being handled when it was raised."""
    while error is not None:
        yield error
        error = error.__context__
