"""Places in files, as reports have them."""

from __future__ import annotations

import re

from ..encoder.tree import Where
from ..reports.diff import Place

PLACE = re.compile(r"(.*?):(\d+):(\d+)", re.DOTALL)


def place_of(where: Where) -> Place:
    """A place of a YAML file, for a report."""
    return Place(where.source, where.line, where.column)


def place_in(where: str) -> Place | None:
    """The place of a problem that is written as file:line:column; None for any other text."""
    match = PLACE.fullmatch(where)
    return Place(match[1], int(match[2]), int(match[3])) if match else None
