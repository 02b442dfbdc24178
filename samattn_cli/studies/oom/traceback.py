"""Reads the calls of a traceback, as Python and IPython print it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ...reports.oom import Frame

RANK = re.compile(r"^\[rank\d+\]:\s?", re.MULTILINE)
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
    text = RANK.sub("", text)
    frames = [
        Frame(match["file"], int(match["line"]), match["function"].strip(), _code(match["code"]))
        for match in PYTHON.finditer(text)
    ]
    return tuple(frames or _ipython(text))


def _code(text: str) -> str:
    """The line of code; "" if the next call stands there already."""
    return "" if text.lstrip().startswith("File ") else text.strip()


def _ipython(text: str) -> Iterator[Frame]:
    for match in IPYTHON.finditer(text):
        arrow = ARROW.search(match["body"])
        if arrow:
            yield Frame(match["file"], int(arrow["line"]), match["function"], arrow["code"].strip())
