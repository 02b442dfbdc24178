"""A column of coordinates: a few values, each of which stands in many rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


class Repeated(np.lib.mixins.NDArrayOperatorsMixin):
    """A column that is computed where it is asked for; otherwise like the array of its values.

    Args:
        values: in the order in which they repeat.
        each: the rows of a value before the next one.
        length: the rows of the column.
    """

    def __init__(self, values: Array, each: int, length: int) -> None:
        self.values = values
        self.each = each
        self.length = length

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of its values."""
        return self.values.dtype

    def codes(self, where: slice) -> Array:
        """For rows, the places of their values."""
        rows = np.arange(*where.indices(self.length))
        return rows // self.each % len(self.values)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, where: Any) -> Any:
        if isinstance(where, slice):
            return self.values[self.codes(where)]
        if isinstance(where, int):
            return self.values[range(self.length)[where] // self.each % len(self.values)]
        return np.asarray(self)[where]

    def __iter__(self) -> Iterator[Any]:
        return iter(np.asarray(self))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        own: Array = self[:]
        return own if dtype is None else own.astype(dtype)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        own = (np.asarray(each) if isinstance(each, Repeated) else each for each in inputs)
        return getattr(ufunc, method)(*own, **options)

    def __getattr__(self, name: str) -> Any:
        """What else an array has, such as `tolist` and `max`."""
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(np.asarray(self), name)
