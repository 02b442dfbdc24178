"""Reports as pictures: SVG, PNG and PDF."""

from __future__ import annotations

from typing import Any

from ...errors import OutputError
from .. import layout_of
from ..charts import convert
from ..charts.theme import Spec
from ..options import Options


def to_svg(report: Any, options: Options) -> str:
    """It scales; its text is text."""
    return convert.to_svg(_chart(report, options))


def to_png(report: Any, options: Options) -> bytes:
    """For slides, and where SVG is not shown."""
    return convert.to_png(_chart(report, options))


def to_pdf(report: Any, options: Options) -> bytes:
    """For papers: it scales, and LaTeX takes it as it is."""
    return convert.to_pdf(_chart(report, options))


def _chart(report: Any, options: Options) -> Spec:
    """The chart.

    Raises:
        TypeError: if the kind of report has none.
        OutputError: if the report has nothing to draw.
    """
    layout = layout_of(report)
    if layout.chart is None:
        raise TypeError(f"a report of kind {report.kind!r} has no chart")
    chart = layout.drawn(report, options.chart)
    if chart is None:
        raise OutputError(
            "nothing-to-draw", f"a picture of this {report.kind} has nothing to draw; use another format"
        )
    return chart
