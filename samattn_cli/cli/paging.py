"""A text that is longer than the terminal, through the user's pager, as git shows its own."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

VARIABLES = ("SAMATTN_PAGER", "PAGER")
"""Environment variables that name a pager; the first that is set counts. Empty or `cat`: no pager."""
DEFAULT = "less"
SETTINGS = {"LESS": "FRX", "LV": "-c"}
"""What pagers read from the environment, unless the user has set it: as git sets them. R keeps colours."""
STYLES = re.compile(r"\x1b\[[0-9;]*m")
NAME = "no_pager"
OPTION = "--no-pager"
HELP = "Do not show a long report in a pager."

wanted: ContextVar[bool] = ContextVar("wanted", default=True)
"""Whether the command line allows a pager."""


def no_pager_option() -> Any:
    """The option of a command. It is hidden: the help of `samattn` has it."""
    from typer.core import TyperOption

    return TyperOption(param_decls=[OPTION], is_flag=True, hidden=True, default=False, help=HELP)


def pager(environ: Mapping[str, str]) -> str:
    """The command of the pager; "" if there is none, as on a CI service or a terminal that cannot move its cursor."""
    if environ.get("CI", "").lower() not in {"", "0", "false"} or environ.get("TERM") == "dumb":
        return ""
    named = next((environ[name] for name in VARIABLES if name in environ), None)
    if named is None:
        return DEFAULT if shutil.which(DEFAULT) else ""
    return "" if named.strip() == "cat" else named.strip()


def is_paged(text: str) -> bool:
    """Whether a text is shown in a pager: one is wanted, standard output is a terminal, and the text is longer than that."""
    if not wanted.get() or not _is_terminal() or not pager(os.environ):
        return False
    width, height = _size()
    return _rows(text, width) >= height  # the last row is the prompt's


def _is_terminal() -> bool:
    try:
        return sys.stdout.isatty()
    except ValueError:  # it is closed
        return False


def _size() -> tuple[int, int]:
    """Columns and rows of the terminal; a usual size if it does not say."""
    try:
        size = os.get_terminal_size(sys.stdout.fileno())
    except (OSError, ValueError):
        return 80, 24
    return size.columns or 80, size.lines or 24


def _rows(text: str, width: int) -> int:
    """The rows of a terminal that a text takes, long lines wrapped."""
    return sum(max(1, -(-len(line) // width)) for line in STYLES.sub("", text).splitlines())


def erase(text: str) -> None:
    """Take back what was printed last, as far as it is on the screen."""
    width, height = _size()
    rows = _rows(text, width)
    if 0 < rows < height:
        sys.stdout.write(f"\x1b[{rows}A\x1b[J")
        sys.stdout.flush()


def show_in_pager(text: str) -> bool:
    """Show a text in the pager until the user leaves it; False if the pager failed, and so may not have shown it.

    A user who leaves early, or presses Ctrl-C in it, is not an error.
    """
    import subprocess

    encoding = sys.stdout.encoding or "utf-8"
    charset = {"LESSCHARSET": "utf-8"} if encoding.lower().replace("-", "") == "utf8" else {}
    process = subprocess.Popen(  # noqa: S602 - as git does: the variable holds a command with options
        pager(os.environ),
        shell=True,
        stdin=subprocess.PIPE,
        env=SETTINGS | charset | os.environ,
    )
    assert process.stdin is not None  # noqa: S101 - for the type checker: it is a pipe
    pipe = process.stdin
    is_read = _finished(lambda: pipe.write(text.encode(encoding, "replace"))) & _finished(pipe.close)
    while not _finished(process.wait):
        is_read = False
    return process.returncode == 0 or not is_read


def _finished(step: Callable[[], Any]) -> bool:
    """Run a step to its end; False if the user pressed Ctrl-C, which is for the pager."""
    try:
        with suppress(BrokenPipeError):
            step()
    except KeyboardInterrupt:
        return False
    return True
