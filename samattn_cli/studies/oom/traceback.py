"""Reads the calls of a traceback, as Python and IPython print it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ...reports.oom import Frame

START = re.compile(r"^(?P<prefix>[^\n]+?)Traceback \(most recent call last\)", re.MULTILINE)
"""A logger or torchrun writes a prefix before each line, such as a time or [rank0]: ."""
DIGITS = re.compile(r"\d+")
PYTHON = re.compile(
    r'^\s*File "(?P<file>[^"\n]+)", line (?P<line>\d+), in (?P<function>[^\n]+)\n(?P<code>[^\n]*)',
    re.MULTILINE,
)
IPYTHON = re.compile(
    r"^(?:File )?(?P<file>[^\s:]+\.py)(?::\d+)?(?:,)? in (?P<function>[\w.<>]+)\([^\n]*\)\n(?P<body>(?:(?!^\S*\.py)[^\n]*\n?)*)",
    re.MULTILINE,
)
ARROW = re.compile(r"^-+> (?P<line>\d+) (?P<code>[^\n]*)$", re.MULTILINE)


def frames_of(text: str) -> tuple[Frame, ...]:
    """The calls, the innermost last."""
    text = _without_prefixes(text)
    frames = [
        Frame(match["file"], int(match["line"]), match["function"].strip(), _code(match["code"]))
        for match in PYTHON.finditer(text)
    ]
    return tuple(frames or _ipython(text))


def _without_prefixes(text: str) -> str:
    """The text without what stands before a traceback on its line, and before the lines after it, with any numbers."""
    start = START.search(text)
    if start is None:
        return text
    prefix = DIGITS.sub(r"\\d+", re.escape(start["prefix"]))
    return re.sub(f"^(?:{prefix})", "", text, flags=re.MULTILINE)


def _code(text: str) -> str:
    """The line of code; "" if the next call stands there already."""
    return "" if text.lstrip().startswith("File ") else text.strip()


def _ipython(text: str) -> Iterator[Frame]:
    for match in IPYTHON.finditer(text):
        arrow = ARROW.search(match["body"])
        if arrow:
            yield Frame(match["file"], int(arrow["line"]), match["function"], arrow["code"].strip())
