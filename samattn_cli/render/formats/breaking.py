"""Text of a table's cell that is wrapped between words, and within a long name after one of its joints."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.containers import Lines
from rich.text import Text

PIECES = re.compile(r"[^._/\-]*[._/\-]?")
"""The pieces of a name such as attn.add_rel_w, each with the joint after it."""


class Breaking(Text):
    """A cell whose long names are wrapped as "attn." and "scores", not as "attn.score" and "s"."""

    def wrap(self, console: Console, width: int, **options: Any) -> Lines:
        """The lines of it."""
        broken = Text(
            "\n".join(" ".join(map(_fold(width), line.split(" "))) for line in self.plain.split("\n"))
        )
        return broken.wrap(console, width, **options)


def _fold(width: int) -> Any:
    return lambda word: word if cell_len(word) <= width else "\n".join(_lines(word, width))


def _lines(word: str, width: int) -> Iterator[str]:
    """The lines of a word that is wider than a column; a piece that is wider itself is left to Rich."""
    line = ""
    for piece in PIECES.findall(word):
        if line and cell_len(line + piece) > width:
            yield line
            line = ""
        line += piece
    yield line
