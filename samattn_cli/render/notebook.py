"""Reports in a notebook: as an element that a cell shows, as charts, and as a pandas DataFrame."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ..errors import OutputError, UsageError, did_you_mean
from ..records import dataclass
from . import layout_of

if TYPE_CHECKING:
    import pandas as pd

NEEDS = {
    ("analysis", "memory"): "analyze(..., timeline=True)",
    ("placements", "front"): "compare_placements(..., search=...)",
}
"""What makes the reports that have a chart, by their kind and the name of the chart."""


@dataclass(frozen=True)
class Chart:
    """A chart, which a notebook shows. `spec` is Vega-Lite's, as `altair.Chart.from_dict` takes it."""

    spec: dict[str, Any]

    def _repr_html_(self) -> str:
        from .web.fragment import chart_alone

        return chart_alone(self.spec)


def to_html(report: Any) -> str:
    """The element that a cell shows for a report."""
    from .web.fragment import fragment

    return fragment(report)


def chart_of(report: Any, name: str) -> Chart:
    """The chart of a name; of "" the first.

    Raises:
        UsageError: if the report does not have a chart of that name.
        OutputError: if the report has nothing to draw.
    """
    layout = layout_of(report)
    if name and name not in layout.charts:
        known = f"; choose from {', '.join(layout.charts)}" if layout.charts else ""
        hint = did_you_mean(name, layout.charts)
        raise UsageError(
            "unknown-chart", f"chart {name!r}: a report of kind {report.kind!r} does not have it{known}{hint}"
        )
    spec = layout.drawn(report, name)
    if spec is None:
        needs = f"; it needs {NEEDS[report.kind, name]}" if (report.kind, name) in NEEDS else ""
        raise OutputError("nothing-to-draw", f"this {report.kind} has nothing to draw{needs}")
    return Chart(spec)


def to_pandas(report: Any) -> pd.DataFrame:
    """A DataFrame of the rows of a report.

    Raises:
        OutputError: if pandas is not installed.
    """
    if find_spec("pandas") is None:
        raise OutputError("not-installed", "to_pandas needs pandas: pip install pandas")
    import pandas as pd

    layout = layout_of(report)
    return pd.DataFrame(dict(layout.columns(report)) if layout.columns else list(layout.rows(report)))
