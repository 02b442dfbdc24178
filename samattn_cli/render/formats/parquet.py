"""The rows of a report as Parquet: a column for each key, integers as integers."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO

from .. import layout_of
from ..options import Options

if TYPE_CHECKING:
    import pyarrow as pa

ROWS = 2**16  # that become columns at a time: a million rows as Python objects take a gigabyte
LARGEST = 2**63 - 1


def render(report: Any, options: Options) -> bytes:
    """Integers are int64; a column with a larger one is decimal text, which loses no digit."""
    file = io.BytesIO()
    write(report, options, file)
    return file.getvalue()


def write(report: Any, options: Options, file: BinaryIO) -> None:  # noqa: ARG001 - Parquet is always whole
    """The same into a file, some rows at a time if the report has columns."""
    layout = layout_of(report)
    if layout.columns:
        from .parquet_columns import write_columns

        write_columns(layout.columns(report), file)
    else:
        _write_rows(layout.rows(report), file)


def _write_rows(rows: Iterator[dict[str, Any]], file: BinaryIO) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    chunks: dict[str, list[pa.Array]] = {}
    while some := list(islice(rows, ROWS)):
        for name in some[0]:
            chunks.setdefault(name, []).append(chunk_of([row[name] for row in some]))
    parquet.write_table(pa.table({name: column_of(arrays) for name, arrays in chunks.items()}), file)


def chunk_of(values: Sequence[Any]) -> pa.Array:
    """Values of one column as an array: text if one is text or too large an integer, or if they are of several kinds."""
    import pyarrow as pa

    kinds = {_kind(value) for value in values if value is not None}
    is_mixed = len(kinds) > 1 and not kinds <= {int, float}
    if is_mixed or any(
        isinstance(value, str) or (isinstance(value, int) and abs(value) > LARGEST) for value in values
    ):
        return pa.array([None if value is None else str(value) for value in values], pa.string())
    if any(isinstance(value, float) for value in values):
        return pa.array(values, pa.float64())
    return pa.array(values)


def _kind(value: Any) -> type:
    """The kind of a value: a column has one kind, or integers and floats."""
    return next((kind for kind in (bool, int, float) if isinstance(value, kind)), type(value))


def column_of(chunks: Sequence[pa.Array]) -> pa.ChunkedArray:
    """Chunks as one column: text if one of them is text, else floats if one is floats."""
    import pyarrow as pa

    types = [chunk.type for chunk in chunks if chunk.type != pa.null()] or [pa.null()]
    whole = next((kind for kind in (pa.string(), pa.float64()) if kind in types), types[0])
    return pa.chunked_array([chunk.cast(whole) for chunk in chunks])
