"""A report's picture as PNG."""

from __future__ import annotations

from typing import Any

from .. import kind_of
from ..charts.convert import to_png
from ..options import Options


def render(report: Any, options: Options) -> bytes:  # noqa: ARG001 - a picture is always whole
    """For slides and where SVG is not shown."""
    return to_png(kind_of(report).chart(report))
