"""Columns as the lines of CSV, byte for byte as Python's `csv` writes them.

Numbers are texts as `repr` gives them, NaN and None are empty. Large reports are written by Arrow, if it is installed.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from .columns import Coded, Columns, pieces

if TYPE_CHECKING:
    import pyarrow as pa

    from .columns import Array

MANY = 1 << 17
"""Rows from which on Arrow saves more than its import takes."""
SAME = 1e-4, 1e9
"""Between them, Arrow writes numbers that are not whole as `repr` does: it has its own rules for exponents and for 1.0."""
KEPT = 1 << 15
"""The most texts of a column that are kept for the next rows."""


def lines(columns: Columns) -> Iterator[bytes]:
    """The header, then the lines of some rows at a time."""
    yield f"{','.join(map(_field, columns))}\n".encode()
    count = len(next(iter(columns.values())))
    if count >= MANY and find_spec("pyarrow"):
        yield from map(_by_arrow, pieces(columns))
    else:
        yield from _by_python(columns)


# -- by Python -------------------------------------------------------------------------------------------------------


class _Texts(dict[Any, str]):
    """The texts of numbers, each made once. The key of 0.0 and of -0.0 is one."""

    def __missing__(self, value: Any) -> str:
        text = self[value] = repr(value)
        return text


def _by_python(columns: Columns) -> Iterator[bytes]:
    text_of: list[Callable[[Any], str]] = [_Texts().__getitem__ for _ in columns]
    for some in pieces(columns):
        texts = [_texts(values, text) for values, text in zip(some, text_of, strict=True)]
        yield ("\n".join(map(",".join, zip(*texts, strict=True))) + "\n").encode()
        rows = len(texts[0])
        text_of = [_still_known(text, rows) for text in text_of]


def _still_known(text: Callable[[Any], str], rows: int) -> Callable[[Any], str]:
    """What makes texts of a column: they are no longer kept if most of its values are different."""
    known = getattr(text, "__self__", None)
    return repr if isinstance(known, _Texts) and len(known) > min(rows // 2, KEPT) else text


def _texts(values: Array | Coded, text: Callable[[Any], str]) -> Sequence[str]:
    if isinstance(values, Coded):
        return list(
            map([_field(value) for value in values.values.tolist()].__getitem__, values.places.tolist())
        )
    if values.dtype.kind == "O":
        return [_field(value) for value in values.tolist()]
    found = list(map(text, values.tolist()))
    if values.dtype.kind == "f":
        for row in np.flatnonzero(np.isnan(values)).tolist():
            found[row] = ""
        for row in np.flatnonzero((values == 0) & np.signbit(values)).tolist():
            found[row] = "-0.0"
    return found


def _field(value: Any) -> str:
    """A value as a field of a line, in quotes if it needs them."""
    if value is None or value != value:  # noqa: PLR0124 - not a number
        return ""
    if not isinstance(value, str):
        return repr(value) if isinstance(value, float) else str(value)
    if value.isalnum():
        return value
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow([value, ""])
    return text.getvalue()[: -len(",\n")]


# -- by Arrow --------------------------------------------------------------------------------------------------------


def _by_arrow(some: Sequence[Array | Coded]) -> bytes:
    """Lines, next to each other in the memory of an array of texts."""
    import pyarrow as pa
    from pyarrow import compute

    texts = [_arrow_texts(values) for values in some]
    texts[-1] = compute.binary_join_element_wise(texts[-1], "\n", "", null_handling="replace")
    joined = compute.binary_join_element_wise(*texts, ",", null_handling="replace")
    assert isinstance(joined, pa.Array)  # noqa: S101 - for the type checker
    first, last = np.frombuffer(joined.buffers()[1], np.int32)[[joined.offset, joined.offset + len(joined)]]
    return bytes(memoryview(joined.buffers()[2])[first:last])


def _arrow_texts(values: Array | Coded) -> pa.Array:
    import pyarrow as pa

    if isinstance(values, Coded):
        return _arrow_texts(values.values).take(pa.array(values.places))
    if values.dtype.kind == "O":
        return pa.array([_field(value) for value in values.tolist()], pa.string())
    if values.dtype.kind == "b":
        return pa.array(np.where(values, "True", "False").tolist(), pa.string())
    if values.dtype.kind == "f":
        return _floats(values)
    return pa.array(values).cast(pa.string())


def _floats(values: Array) -> pa.Array:
    import pyarrow as pa
    from pyarrow import compute

    texts = pa.array(values, from_pandas=True).cast(pa.string())
    size = np.abs(values)
    others = ~((size >= SAME[0]) & (size < SAME[1]) & (values != np.rint(values))) & ~np.isnan(values)
    if not others.any():
        return texts
    bits, places = np.unique(values[others].view(np.int64), return_inverse=True)  # 0.0 is not -0.0
    own = pa.array(list(map(repr, bits.view(float).tolist())), pa.string()).take(pa.array(places))
    return compute.replace_with_mask(texts, pa.array(others), own)
