"""What every report can do in Python and in a notebook. What it needs is imported when it is called."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from ..render.notebook import Chart

SHOWN_BY = {"check": "..gate.formats"}
"""The modules that say how kinds of report of other packages are laid out."""


class Shown:
    """A report: a notebook shows it as its answer, its picture and its tables."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        """The report as an element of a notebook."""
        text: str = _notebook(self).to_html(self)
        return text

    def to_pandas(self) -> pd.DataFrame:
        """The rows that `-o FILE.csv` writes, as a pandas DataFrame.

        Raises:
            OutputError: if pandas is not installed.
        """
        return _notebook(self).to_pandas(self)

    def chart(self, name: str = "") -> Chart:
        """A chart of the report, which a notebook shows; `name` is one of those that `--chart` takes, by default the first.

        Raises:
            UsageError: if the report does not have a chart of that name.
            OutputError: if the report has nothing to draw.
        """
        chart: Chart = _notebook(self).chart_of(self, name)
        return chart


def _notebook(report: Any) -> Any:
    """What shows reports; it stands above reports, so that it is not imported with this module."""
    if home := SHOWN_BY.get(report.kind):
        import_module(home, __package__)
    return import_module("..render.notebook", __package__)
