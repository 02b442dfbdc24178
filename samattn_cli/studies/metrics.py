"""All metrics, as `samattn metrics` lists them."""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import UsageError, did_you_mean
from ..figures import ALIASES, FIGURES, Figure, named
from ..metric_names import PEAK_OF_MODE, names_against_global
from ..reports.metrics import MetricReport, Metrics

WHOLE = ("sweep --metrics", "compare-placements --by and --budget", "diff --metric", "check")
"""The options that take a figure of the whole encoder."""
PLACES = "diff --metric and check as layers.7.{name}, layers.window.{name}"
OF_MODE = (
    f"In check and diff, {PEAK_OF_MODE} is the peak of the run's mode: for training it is training_bytes."
)


def metrics(name: str | None = None) -> Metrics:
    """All metrics, or one by any of its names.

    Raises:
        UsageError: for an unknown name.
    """
    every = tuple(_all())
    if name is None:
        return Metrics(metrics=every)
    wanted = named(name) or name
    one = tuple(each for each in every if wanted == each.name or wanted in each.aliases)
    if not one:
        known = [*FIGURES, *ALIASES, *(each.name for each in every if each.name not in FIGURES)]
        hint = did_you_mean(name, known) or "; `samattn metrics` lists all"
        raise UsageError("unknown-metric", f"unknown metric {name!r}{hint}")
    return Metrics(metrics=one)


def _all() -> Iterator[MetricReport]:
    yield from map(_figure, FIGURES.values())
    yield from (_comparison(figure) for figure in FIGURES.values() if figure.against)


def _figure(figure: Figure) -> MetricReport:
    return MetricReport(
        name=figure.name,
        aliases=figure.aliases,
        unit=figure.unit,
        word=figure.word,
        meaning=f"{figure.meaning} {OF_MODE}" if PEAK_OF_MODE in figure.aliases else figure.meaning,
        left_out=figure.left_out,
        better="less",
        of=figure.of,
        combined=figure.combined,
        by_mode=figure.by_mode,
        needs=figure.needs,
        used_in=tuple(_uses(figure)),
    )


def _uses(figure: Figure) -> Iterator[str]:
    """The commands and options that take a figure."""
    yield f"analyze ({', '.join(figure.of)})"
    if figure.has_formula:
        yield "explain --metric"
    if "encoder" in figure.of:
        yield from WHOLE
    if "layer" in figure.of:
        yield PLACES.format(name=figure.name)


def _comparison(figure: Figure) -> MetricReport:
    name, *aliases = (name for name, _ in names_against_global(figure))
    what = "Less of it than with every layer global, as a share"
    if figure.against == "ratio":
        what = "How many times as much it is with every layer global"
    return MetricReport(
        name=name,
        aliases=tuple(aliases),
        unit="",
        word=f"{figure.word}, against all global",
        meaning=f"{what} ({figure.word}).",
        left_out=(),
        better="more",
        of=(),
        combined="",
        by_mode=figure.by_mode,
        needs=figure.needs,
        used_in=("diff --metric", "check"),
    )
