"""Reports as JSON and as CSV, for programs: every figure, exact."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, BinaryIO

from ...reports.text import to_json as json_of
from .. import layout_of
from ..options import Options


def to_json(report: Any, options: Options) -> str:  # noqa: ARG001 - JSON always has everything
    """All of the report: see `samattn_cli.reports` for its keys."""
    return json_of(report)


def to_csv(report: Any, options: Options) -> str:  # noqa: ARG001 - CSV always has everything
    """A header, then a line for each row; empty if there are no rows."""
    layout = layout_of(report)
    if layout.columns:
        return b"".join(lines_of(layout.columns(report))).decode()
    text, rows = io.StringIO(), iter(layout.rows(report))
    first = next(rows, None)
    if first is None:
        return ""
    writer = csv.DictWriter(text, list(first), lineterminator="\n")
    writer.writeheader()
    writer.writerows(chain([first], rows))
    return text.getvalue()


def write_csv(report: Any, options: Options, file: BinaryIO) -> None:
    """The same, written some rows at a time if the report has columns."""
    layout = layout_of(report)
    if not layout.columns:
        file.write(to_csv(report, options).encode())
        return
    file.writelines(lines_of(layout.columns(report)))


def lines_of(columns: Mapping[str, Any]) -> Iterator[bytes]:
    """Columns as lines of CSV; imported only here, as it needs NumPy."""
    from .csv_columns import lines

    return lines(columns)
