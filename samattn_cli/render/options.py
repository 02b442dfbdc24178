"""How a report is to be shown."""

from __future__ import annotations

from dataclasses import dataclass, replace

WIDE = 140
"""Columns from which tables show all of theirs."""


@dataclass(frozen=True)
class Options:
    """`all_layers`: a row each, not one a run of identical layers; `ops`: layers and parts whose operations to open.

    `ascii`: in these characters alone.
    """

    all_layers: bool = False
    ops: tuple[str, ...] = ()
    width: int = 160
    color: bool = False
    ascii: bool = False

    @property
    def wide(self) -> bool:
        """Whether there is room for every column."""
        return self.width >= WIDE

    @property
    def of_a_file(self) -> Options:
        """The same for a file: as wide as tables get, without colour."""
        return replace(self, width=Options.width, color=False, ascii=False)
