"""The rows of a report as CSV, figures exact."""

from __future__ import annotations

import csv
import io
from itertools import chain
from typing import Any

from .. import kind_of
from ..options import Options


def render(report: Any, options: Options) -> str:  # noqa: ARG001 - CSV is always whole
    """A header and a row each."""
    text, rows = io.StringIO(), iter(kind_of(report).rows(report))
    first = next(rows, None)
    if first is None:
        return ""
    writer = csv.DictWriter(text, list(first), lineterminator="\n")
    writer.writeheader()
    writer.writerows(chain([first], rows))
    return text.getvalue()
