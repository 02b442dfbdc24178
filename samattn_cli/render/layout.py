"""What a kind of report provides, so that every format can show it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from .elements import Page
    from .options import Options


class Layout(NamedTuple):
    """How a kind of report is laid out.

    Attributes:
        page: the sections, which the terminal, Markdown and LaTeX show, each in its own way.
        rows: flat dictionaries, all with the same keys, for CSV and Parquet.
        chart: a Vega-Lite spec, for SVG, PNG and HTML, or None if the report has nothing to draw; None if the kind has no chart.
        markdown: its Markdown, if that is not made from the page.
        charts: other charts by name, which `--chart` chooses; None of a report that lacks what they show.
        columns: the rows as NumPy arrays by name, from which CSV and Parquet are written some rows at a time.
    """

    page: Callable[[Any, Options], Page]
    rows: Callable[[Any], Iterator[dict[str, Any]]]
    chart: Callable[[Any], dict[str, Any] | None] | None = None
    markdown: Callable[[Any], str] | None = None
    columns: Callable[[Any], Mapping[str, Any]] | None = None
    charts: Mapping[str, Callable[[Any], dict[str, Any] | None]] = MappingProxyType({})

    def drawn(self, report: Any, name: str) -> dict[str, Any] | None:
        """The chart of a name, or the first one; None if the kind has none, or the report nothing to draw."""
        chart = self.charts.get(name, self.chart)
        return None if chart is None else chart(report)
