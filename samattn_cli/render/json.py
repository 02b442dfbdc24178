"""A report as JSON, whole: see `samattn_cli.report` for its keys."""

from __future__ import annotations

from ..report import Analysis, to_json
from .options import Options


def render(report: Analysis, options: Options) -> str:  # noqa: ARG001 - JSON is always whole
    """Every figure, exact."""
    return to_json(report)
