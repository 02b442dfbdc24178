"""How a report is to be shown."""

from __future__ import annotations

from dataclasses import dataclass

WIDE = 140
"""Columns from which tables show all of theirs."""


@dataclass(frozen=True)
class Options:
    """`all_layers`: a row each, not one a run of identical layers; `ops`: layers and parts whose operations to open."""

    all_layers: bool = False
    ops: tuple[str, ...] = ()
    width: int = 160
    color: bool = False

    @property
    def wide(self) -> bool:
        """Whether there is room for every column."""
        return self.width >= WIDE
