"""How a report is to be shown."""

from __future__ import annotations

import os
from pathlib import PurePath

from ..records import dataclass, replace

WIDE = 140
"""Width from which tables show all of their columns."""


@dataclass(frozen=True)
class Checkout:
    """A repository: its `root`, and the working `folder`, which reports name files from; both absolute."""

    root: str
    folder: str

    def from_root(self, file: str) -> str:
        """The path of a file from the root; an absolute path outside the repository stays."""
        whole = os.path.normpath(PurePath(self.folder, file))
        if PurePath(file).is_absolute() and not PurePath(whole).is_relative_to(self.root):
            return file
        return os.path.relpath(whole, self.root)


@dataclass(frozen=True)
class Options:
    """How to show a report.

    Attributes:
        all_layers: whether each layer has a row, not each run of identical layers.
        ops: layers and parts whose operations are shown.
        width: columns of the terminal.
        color: whether to use colours.
        ascii: whether to use ASCII characters alone.
        brief: whether to show the answer in short alone.
        full: whether to show every column and section, and counts in all their digits.
        command: the words of the command that made the report, without "samattn"; () if none did.
        verify: how to cross-check it, if it was not asked for; else what the check cost, if a terminal is to show it.
        chart: the name of the chart that pictures show; "" for the first of the report's kind.
        checkout: the repository of the files that are named, for formats whose readers look for them from its root.
    """

    all_layers: bool = False
    ops: tuple[str, ...] = ()
    width: int = 160
    color: bool = False
    ascii: bool = False
    brief: bool = False
    full: bool = False
    command: tuple[str, ...] = ()
    verify: str = ""
    chart: str = ""
    checkout: Checkout | None = None

    @property
    def wide(self) -> bool:
        """Whether there is room for every column."""
        return self.width >= WIDE

    @property
    def of_a_file(self) -> Options:
        """The same for a file: as wide as tables get, without colour."""
        return replace(self, width=Options.width, color=False, ascii=False)
