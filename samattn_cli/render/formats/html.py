"""A report's picture as a page that answers to the pointer, and needs no network: all its scripts are in it."""

from __future__ import annotations

from typing import Any

from .. import kind_of
from ..charts.page import to_page
from ..options import Options


def render(report: Any, options: Options) -> str:  # noqa: ARG001 - a picture is always whole
    """Figures where the pointer is, a click in a legend, and zoom."""
    return to_page(kind_of(report).chart(report))
