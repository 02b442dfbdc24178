"""Text of a table's cell that is wrapped between words, and within a long name after one of its joints."""

from __future__ import annotations

from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.containers import Lines
from rich.text import Text

from .plain import broken_name


class Breaking(Text):
    """A cell whose long names are wrapped as "attn." and "scores", not as "attn.score" and "s"."""

    def wrap(self, console: Console, width: int, **options: Any) -> Lines:
        """The lines of it."""
        broken = Text(
            "\n".join(" ".join(map(_fold(width), line.split(" "))) for line in self.plain.split("\n"))
        )
        return broken.wrap(console, width, **options)


def _fold(width: int) -> Any:
    return lambda word: word if cell_len(word) <= width else "\n".join(broken_name(word, width, cell_len))
