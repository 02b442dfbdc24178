"""Long words in the help of commands."""

from __future__ import annotations

from typing import Any


def fold_help() -> None:
    """Let Typer's help break words that are wider than their column; it cuts them, and leaves out how they end.

    Typer has no setting for it: it makes its tables of options from the class `Table` that its module imports.
    """
    from rich.table import Table
    from rich.text import Text
    from typer import rich_utils

    class FoldingTable(Table):
        def add_row(self, *cells: Any, **settings: Any) -> None:
            for cell in cells:
                for text in getattr(cell, "renderables", [cell]):
                    if isinstance(text, Text):
                        text.overflow = "fold"
            super().add_row(*cells, **settings)

    if getattr(rich_utils, "Table", None) is Table:
        vars(rich_utils)["Table"] = FoldingTable
