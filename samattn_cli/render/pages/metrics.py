"""All figures as a table, or one of them with all that is known of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...reports.metrics import MetricReport, Metrics
from ..elements import Lines, Page, Section, Table
from ..layout import Layout
from ..options import Options

MARKS = {"encoder": "E", "layer": "L", "part": "P", "op": "O"}
EXPLAINED_BY = "explain --metric"
FORMULA = " *"
NOTE = (
    "*: `samattn explain` has a formula for it. Of: E the encoder, L a layer, P a part next to the layers, O an operation. Every command takes the other names too. "
    "`samattn metrics NAME` says what is counted, and where the name can be used."
)
AGAINST = "More is better. Thresholds can limit them, and `samattn diff --metric` explains them."
SPAN = {"sum": "the sum of", "max": "the largest of"}


def page(report: Metrics, options: Options) -> Page:  # noqa: ARG001 - the same at any width
    """One with its words, several as a table."""
    if len(report.metrics) == 1:
        (metric,) = report.metrics
        return Page(metric.name, metric.word, tuple(_one(metric)))
    return Page(
        "Figures",
        "What samattn derives, by names that every command takes.",
        tuple(_tables(report)),
    )


NEEDS = {"": "", "device": ", on a device", "cuda": ", on a CUDA device"}


def _tables(report: Metrics) -> Iterator[Section]:
    figures = [metric for metric in report.metrics if metric.of]
    headers = ("name", "other names", "unit", "of", "what it is")
    rows = tuple(
        (
            metric.name,
            ", ".join(metric.aliases),
            metric.unit,
            "".join(mark for scope, mark in MARKS.items() if scope in metric.of),
            f"{metric.word}{NEEDS[metric.needs]}{FORMULA * (EXPLAINED_BY in metric.used_in)}",
        )
        for metric in figures
    )
    yield Table("Of an encoder and its parts", headers, rows, NOTE, text_columns=tuple(range(len(headers))))
    others = tuple((metric.name, ", ".join(metric.aliases)) for metric in report.metrics if not metric.of)
    yield Table(
        "Compared with the same encoder with every layer global",
        ("name", "other names"),
        others,
        AGAINST,
        (0, 1),
    )


def _one(metric: MetricReport) -> Iterator[Section]:
    yield Lines("What is counted", (metric.meaning, *_reach(metric)))
    if metric.left_out:
        yield Lines("What is left out", metric.left_out)
    names = f"also called {', '.join(metric.aliases)}" if metric.aliases else "no other name"
    yield Lines("Name and unit", (names, f"unit: {metric.unit or 'none'}; {metric.better} is better"))
    yield Lines("Where it can be used", metric.used_in)


def _reach(metric: MetricReport) -> Iterator[str]:
    if metric.combined and {"encoder", "layer"} <= set(metric.of):
        yield f"That of the encoder is {SPAN[metric.combined]} those of its parts and layers."
    if metric.by_mode:
        yield "In training it is that of a whole step: forward, backward and the optimizer."
    if metric.needs:
        a_device = "a CUDA device" if metric.needs == "cuda" else "a device"
        yield f"It needs {a_device}: --device, or the device of a profile."


def rows(report: Metrics) -> Iterator[dict[str, Any]]:
    """A row a figure."""
    for metric in report.metrics:
        yield {
            name: " | ".join(value) if isinstance(value, tuple) else value
            for name, value in vars(metric).items()
        }


LAYOUT = Layout(page, rows)
