"""Columns as Parquet, some rows at a time."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from .columns import ROWS, Columns, slices
from .parquet import chunk_of, column_of

if TYPE_CHECKING:
    from .columns import Array

GROUP = 1 << 20
"""Rows of a group of a file, as `parquet.write_table` has them."""


def write_columns(columns: Columns, file: BinaryIO) -> None:
    """Write columns: integers as int64, NaN as null, objects as `chunk_of` and `column_of` do."""
    objects = {name: _of_objects(column) for name, column in columns.items() if column.dtype.kind == "O"}
    schema = pa.schema(
        [(name, objects[name].type if name in objects else _type(columns[name])) for name in columns]
    )
    with parquet.ParquetWriter(file, schema) as writer:
        batches = (
            pa.record_batch(_arrays(columns, objects, where, schema), schema) for where in slices(columns)
        )
        while group := list(islice(batches, GROUP // ROWS)):
            writer.write_table(pa.Table.from_batches(group, schema))


class Labels(NamedTuple):
    """A column of few values: these as Arrow has them."""

    values: pa.Array
    column: Any

    @property
    def type(self) -> pa.DataType:
        """Of the values."""
        return self.values.type


def _arrays(
    columns: Columns, objects: Mapping[str, pa.ChunkedArray | Labels], where: slice, schema: pa.Schema
) -> list[pa.Array]:
    return [
        _rows(objects[name], where) if name in objects else _array(column[where], schema.field(name).type)
        for name, column in columns.items()
    ]


def _of_objects(column: Any) -> pa.ChunkedArray | Labels:
    if hasattr(column, "codes"):
        return Labels(chunk_of(_plain(column.values)), column)
    parts = [column[where] for where in slices({"": column})]
    return column_of([chunk_of(_plain(part)) for part in parts])


def _plain(part: Array) -> list[Any]:
    return [None if value != value else value for value in part.tolist()]  # noqa: PLR0124 - not a number


def _rows(column: pa.ChunkedArray | Labels, where: slice) -> pa.Array:
    """Some rows as one array."""
    if isinstance(column, Labels):
        return column.values.take(pa.array(column.column.codes(where)))
    return column[where].combine_chunks()


def _type(column: Any) -> pa.DataType:
    """The type of a column; that of one without any number is null."""
    if column.dtype.kind != "f":
        return pa.from_numpy_dtype(column.dtype)
    has_number = any(not np.isnan(column[where]).all() for where in slices({"": column}))
    return pa.float64() if has_number else pa.null()


def _array(values: Array, kind: pa.DataType) -> pa.Array:
    return pa.nulls(len(values)) if kind == pa.null() else pa.array(values, kind, from_pandas=True)
