"""How a report is to be shown."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import PurePath

WIDE = 140
"""Columns from which tables show all of theirs."""


@dataclass(frozen=True)
class Checkout:
    """A repository's files: its `root`, and the working `folder`, from which reports name files; both absolute."""

    root: str
    folder: str

    def from_root(self, file: str) -> str:
        """A file as it is called from the root; one that is named absolutely, and is not in there, as it is named."""
        whole = os.path.normpath(PurePath(self.folder, file))
        if PurePath(file).is_absolute() and not PurePath(whole).is_relative_to(self.root):
            return file
        return os.path.relpath(whole, self.root)


@dataclass(frozen=True)
class Options:
    """`all_layers`: a row each, not one a run of identical layers; `ops`: layers and parts whose operations to open.

    `ascii`: in these characters alone; `checkout`: where the files are that are named, for formats of programs that
    look for them from the root of a repository.
    """

    all_layers: bool = False
    ops: tuple[str, ...] = ()
    width: int = 160
    color: bool = False
    ascii: bool = False
    checkout: Checkout | None = None

    @property
    def wide(self) -> bool:
        """Whether there is room for every column."""
        return self.width >= WIDE

    @property
    def of_a_file(self) -> Options:
        """The same for a file: as wide as tables get, without colour."""
        return replace(self, width=Options.width, color=False, ascii=False)
