"""samattn's own help where it is 80 columns wide and without colour: a page that is kept, printed without Typer and Rich.

Both take most of a second of CPU time to import on a slow machine. Typer draws the page on a terminal, at another width,
and for commands. A test compares `help.txt` with what Typer draws.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

ASKED = (["--help"], ["-h"], ["help"])
"""The command lines that ask for it."""

WIDTH = 80
"""Columns of the kept page: where neither COLUMNS nor a terminal gives a width."""

DRAWN_BY_RICH = frozenset(
    {
        "FORCE_COLOR",
        "GITHUB_ACTIONS",
        "PY_COLORS",
        "TERMINAL_WIDTH",
        "TTY_COMPATIBLE",
        "TTY_INTERACTIVE",
        "TYPER_USE_RICH",
        "_SAMATTN_COMPLETE",
    }
)
"""Variables with which Typer or Rich may draw another page, or none."""


def kept_help(words: Sequence[str]) -> str | None:
    """The page, if these words ask for it and Typer would draw it as it is kept; otherwise None."""
    if list(words) not in ASKED or not DRAWN_BY_RICH.isdisjoint(os.environ):
        return None
    if sys.stdout is None or (sys.stdout.encoding or "").lower() != "utf-8" or _width() != WIDTH:
        return None
    return None if sys.stdout.isatty() else Path(__file__).with_suffix(".txt").read_text(encoding="utf-8")


def _width() -> int:
    """The width as Rich has it."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdigit():
        return int(columns)
    return next(filter(None, map(_width_of, (0, 1, 2))), WIDTH)


def _width_of(stream: int) -> int:
    """The width of a standard stream that is a terminal; 0 if it is not."""
    try:
        return os.get_terminal_size(stream).columns
    except OSError:
        return 0
