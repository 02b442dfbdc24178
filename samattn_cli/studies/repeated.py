"""Columns that are computed where they are asked for, so that long ones take no memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Where = slice | Array
"""Rows of a column: a slice, or their indexes."""


class Computed(np.lib.mixins.NDArrayOperatorsMixin):
    """A column that is otherwise like the array of its values.

    Args:
        at: gives the values at some rows.
        dtype: the type of its values.
        length: the rows of the column.
    """

    def __init__(self, at: Callable[[Where], Array], dtype: np.dtype[Any], length: int) -> None:
        self.at = at
        self.dtype = dtype
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, where: Any) -> Any:
        if isinstance(where, slice):
            return self.at(where)
        if isinstance(where, int | np.integer):
            return self.at(np.array([range(self.length)[where]]))[0]
        if isinstance(where, np.ndarray) and where.dtype.kind == "i" and _are_within(where, self.length):
            return self.at(where)
        return np.asarray(self)[where]

    def __iter__(self) -> Iterator[Any]:
        return iter(np.asarray(self))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        own: Array = self[:]
        return own if dtype is None else own.astype(dtype)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        own = (np.asarray(each) if isinstance(each, Computed) else each for each in inputs)
        return getattr(ufunc, method)(*own, **options)

    def __getattr__(self, name: str) -> Any:
        """What else an array has, such as `tolist` and `max`; to ask for what it has not computes nothing."""
        if name.startswith("__") or not hasattr(np.ndarray, name):
            raise AttributeError(name)
        return getattr(np.asarray(self), name)


class Repeated(Computed):
    """A column of coordinates: a few values, each of which stands in many rows.

    Args:
        values: in the order in which they repeat.
        each: the rows of a value before the next one.
        length: the rows of the column.
    """

    def __init__(self, values: Array, each: int, length: int) -> None:
        super().__init__(lambda where: self.values[self.codes(where)], values.dtype, length)
        self.values = values
        self.each = each

    def codes(self, where: Where) -> Array:
        """For rows, the places of their values."""
        return rows_at(where, self.length) // self.each % len(self.values)


def rows_at(where: Where, length: int) -> Array:
    """The indexes of rows."""
    return np.arange(*where.indices(length)) if isinstance(where, slice) else where


def _are_within(rows: Array, length: int) -> bool:
    return bool(rows.size and rows.min() >= 0 and rows.max() < length)
