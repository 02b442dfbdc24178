"""Columns of a report, taken out of its arrays some rows at a time, without a Python object for each row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

ROWS = 1 << 16
"""Rows that are in memory at a time as text or as Arrow's arrays."""

FEW = 1 << 12
"""Values of a column that are turned into text once for each `ROWS` rows, rather than the rows."""

Columns = Mapping[str, Any]
"""Arrays of one length by their names, or what gives an array for a slice."""


def slices(columns: Columns) -> Iterator[slice]:
    """Slices of the rows, in their order."""
    count = len(next(iter(columns.values())))
    for start in range(0, count, ROWS):
        yield slice(start, min(start + ROWS, count))


class Coded(NamedTuple):
    """Rows of a column that has few values: the values, and the place of each row's."""

    values: Array
    places: Array


def piece(column: Any, where: slice) -> Array | Coded:
    """Rows of a column."""
    is_coded = hasattr(column, "codes") and len(column.values) <= FEW
    return Coded(column.values, column.codes(where)) if is_coded else column[where]


def pieces(columns: Columns) -> Iterator[list[Array | Coded]]:
    """The columns, `ROWS` rows at a time."""
    for where in slices(columns):
        yield [piece(column, where) for column in columns.values()]
