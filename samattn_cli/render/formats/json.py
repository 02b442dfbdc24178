"""A report as JSON, whole: see `samattn_cli.reports` for its keys."""

from __future__ import annotations

from typing import Any

from ...reports.text import to_json
from ..options import Options


def render(report: Any, options: Options) -> str:  # noqa: ARG001 - JSON is always whole
    """Every figure, exact."""
    return to_json(report)
