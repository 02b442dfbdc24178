"""``python -m samattn_cli``, and the entry point of ``samattn``.

Until a command runs, Ctrl-C ends the process at once: nothing has begun, and Python would print a traceback of imports.
Interrupts come from `_signal`, which is built in, as importing `signal` takes time.
"""

from __future__ import annotations

import os
from _signal import SIGINT, default_int_handler, getsignal, signal  # type: ignore[import-not-found]

EXIT_INTERRUPTED = 130
"""That of `samattn_cli.errors`, which is not imported yet."""


def leave(*_: object) -> None:
    """End the process as interrupted, without cleaning up."""
    os._exit(EXIT_INTERRUPTED)


if (
    getsignal(SIGINT) is default_int_handler
):  # else Ctrl-C is ignored, as by a job in the background of a script
    signal(SIGINT, leave)


def run() -> None:
    """Run the command line."""
    from .cli import run as run_command

    try:
        if getsignal(SIGINT) is leave:
            signal(SIGINT, default_int_handler)
        run_command()
    except KeyboardInterrupt:  # while its outcome was written
        leave()


if __name__ == "__main__":
    run()
