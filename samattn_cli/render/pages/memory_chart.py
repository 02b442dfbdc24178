"""The timeline of an analysis as a chart: live bytes by kind over the pass, with its layers, its peak and the memory there is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import TypeVar

from ...reports.analysis import Analysis
from ...reports.memory_timeline import MemoryPlace, MemoryTimeline
from ...units import format_bytes
from ..charts import area
from ..charts.area import Band, Limit, Picture, Span
from ..charts.theme import Spec
from .analysis import heading_of

BANDS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("weights and buffers", "#0072B2", ("weights", "buffers", "average")),
    ("optimizer's state", "#56B4E9", ("optimizer",)),
    ("gradients", "#009E73", ("gradients", "buckets")),
    ("gathered weights and collectives", "#44AA99", ("gathered", "communication")),
    ("scores kept for backward", "#882255", ("kept_scores",)),
    ("other kept for backward", "#CC79A7", ("kept",)),
    ("other activations", "#E69F00", ("temporaries", "input")),
    ("scores", "#D55E00", ("scores",)),
    ("temporary copies of the optimizer", "#CC6677", ("step",)),
    ("inside operators", "#999933", ("workspaces",)),
    ("rests of blocks", "#808080", ("unsplit",)),
)
"""Bands from the lowest on: name, colour, and the kinds of memory of each."""

Key = TypeVar("Key")

PHASES = {"forward": "forward", "backward": "backward", "step": "optimizer's step"}


def chart(report: Analysis) -> Spec:
    """The Vega-Lite spec."""
    timeline = report.timeline
    assert timeline is not None  # noqa: S101 - for the type checker: it was asked for
    bands = tuple(_bands(timeline))
    name, shape = heading_of(report.config)
    trains = report.config.run.mode == "training"
    limit = _limit(report)
    is_drawn = limit is not None and area.is_near(limit.nbytes, timeline.peak_bytes)
    over = "a training step" if trains else "an inference pass"
    return area.spec(
        Picture(
            title=f"{name}: memory over {over}",
            subtitle=" ".join(
                filter(
                    None,
                    (
                        f"{shape}.",
                        _counts(report, timeline),
                        _at_peak(timeline, bands),
                        f"{limit.words}, which is beyond this picture." if limit and not is_drawn else "",
                        "Below are the layers; global ones are dark.",
                    ),
                )
            ),
            bands=bands,
            running=[_words(timeline.places[place]) for place, _, _ in timeline.changes],
            peak=timeline.peak_change,
            peak_words=(f"peak {format_bytes(timeline.peak_bytes)}", timeline.peak_at),
            layers=tuple(_layers(report, timeline)),
            phases=tuple(_phases(timeline)),
            limit=limit if is_drawn else None,
        )
    )


def _bands(timeline: MemoryTimeline) -> Iterator[Band]:
    """The bands that have memory."""
    live = [*timeline.live()]
    for name, color, kinds in BANDS:
        own = [timeline.kinds.index(kind) for kind in kinds]
        values = [sum(now[kind] for kind in own) for now in live]
        if any(values):
            yield Band(name, color, values)


def _counts(report: Analysis, timeline: MemoryTimeline) -> str:
    if timeline.counts == "tensors" or report.device is None:
        return "What tensors take, each rounded up to 512 bytes; a device adds what operators take inside."
    return f"What torch's caching allocator allocates on {report.device.name}."


def _at_peak(timeline: MemoryTimeline, bands: Sequence[Band]) -> str:
    """What is live at the peak, the largest kind first."""
    parts = sorted(((band.values[timeline.peak_change], band.name) for band in bands), reverse=True)
    words = ", ".join(f"{name} {format_bytes(nbytes)}" for nbytes, name in parts if nbytes)
    return f"At the peak ({timeline.peak_bytes:,} bytes): {words}."


def _limit(report: Analysis) -> Limit | None:
    if report.device is not None:
        usable = report.device.usable_bytes
        return Limit(usable, f"{report.device.name}: a process can use {format_bytes(usable)}")
    if report.memory is not None:
        return Limit(report.memory.usable_bytes, f"memory: {format_bytes(report.memory.usable_bytes)}")
    return None


def _words(place: MemoryPlace) -> str:
    name = ".".join(filter(None, (place.layer, place.op)))
    if not name:
        return "between layers"
    return name if place.phase == "forward" else f"{name} ({PHASES[place.phase]})"


def _layers(report: Analysis, timeline: MemoryTimeline) -> Iterator[Span]:
    attention = {layer.name: layer.attention for layer in report.layers}
    placement = {layer.name: layer.placement for layer in report.layers}
    for (name, phase), start, stop in _runs(timeline, lambda place: (place.layer, place.phase)):
        if name and phase != "step":
            note = ", ".join(filter(None, (name, placement.get(name, ""), phase)))
            yield Span(name.removeprefix("blocks."), start, stop, attention.get(name, "part"), note)


def _phases(timeline: MemoryTimeline) -> Iterator[Span]:
    """The phases; what runs in no layer belongs to none."""
    found = [
        (phase, start, stop)
        for (phase, has_layer), start, stop in _runs(timeline, lambda place: (place.phase, bool(place.layer)))
        if has_layer
    ]
    for phase, runs in groupby(found, key=lambda run: run[0]):
        _, starts, stops = zip(*runs, strict=True)
        yield Span(PHASES[phase], starts[0], stops[-1], "phase")


def _runs(timeline: MemoryTimeline, key: Callable[[MemoryPlace], Key]) -> Iterator[tuple[Key, int, int]]:
    """Changes in a row whose places have one key: the key, the first of them and the one after the last."""
    start = 0
    for found, group in groupby(key(timeline.places[place]) for place, _, _ in timeline.changes):
        stop = start + sum(1 for _ in group)
        yield found, start, stop
        start = stop
