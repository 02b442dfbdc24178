"""A report's picture as SVG."""

from __future__ import annotations

from typing import Any

from .. import kind_of
from ..charts.convert import to_svg
from ..options import Options


def render(report: Any, options: Options) -> str:  # noqa: ARG001 - a picture is always whole
    """It scales; its text is text."""
    return to_svg(kind_of(report).chart(report))
