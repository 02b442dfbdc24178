"""Reports as JSON and as CSV, for programs: every figure, exact."""

from __future__ import annotations

import csv
import io
from itertools import chain
from typing import Any

from ...reports.text import to_json as json_of
from .. import layout_of
from ..options import Options


def to_json(report: Any, options: Options) -> str:  # noqa: ARG001 - JSON always has everything
    """All of the report: see `samattn_cli.reports` for its keys."""
    return json_of(report)


def to_csv(report: Any, options: Options) -> str:  # noqa: ARG001 - CSV always has everything
    """A header, then a line for each row; empty if there are no rows."""
    text, rows = io.StringIO(), iter(layout_of(report).rows(report))
    first = next(rows, None)
    if first is None:
        return ""
    writer = csv.DictWriter(text, list(first), lineterminator="\n")
    writer.writeheader()
    writer.writerows(chain([first], rows))
    return text.getvalue()
