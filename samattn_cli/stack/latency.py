"""Measures the time of a pass, in total and by section: by CUDA events on a GPU, by the clock on a CPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median, quantiles
from time import perf_counter
from typing import Any

import torch

from ..encoder.model import Section
from ..reports.recording import Latency
from ..units import MS_PER_SECOND
from .sections import on_entering
from .step import Step

ENOUGH_REPEATS, ENOUGH_SECONDS = 10, 1.0
FEWEST_REPEATS, MOST_SECONDS = 3, 20.0
"""A slow case gets fewer repeats, but at least FEWEST_REPEATS."""


class CudaClock:
    """Events on the current stream, which measure the GPU's own time."""

    @staticmethod
    def now() -> torch.cuda.Event:
        """An event at this point of the stream."""
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    @staticmethod
    def wait() -> None:
        """Wait until the GPU has finished all its work."""
        torch.cuda.synchronize()

    @staticmethod
    def elapsed_ms(start: torch.cuda.Event, end: torch.cuda.Event) -> float:
        """Time between two events that have passed, in ms."""
        return start.elapsed_time(end)


class CpuClock:
    """The clock of the process; on a CPU the work is finished when the call returns."""

    now = staticmethod(perf_counter)

    @staticmethod
    def wait() -> None:
        """Do nothing."""

    @staticmethod
    def elapsed_ms(start: float, end: float) -> float:
        """Time between two points, in ms."""
        return (end - start) * MS_PER_SECOND


def whole_latency(step: Step, clock: Any, repeats: int | None) -> Latency:
    """The latency of a pass over `repeats`; None: until that is enough."""

    def once() -> float:
        start = clock.now()
        step()
        end = clock.now()
        clock.wait()
        return clock.elapsed_ms(start, end)

    return latency_of(repeated(once, repeats))


def section_latencies(step: Step, clock: Any, repeats: int | None) -> dict[Section, Latency]:
    """The latency of each section, measured in separate passes because marks cost a little time."""

    def once() -> Mapping[Section, float]:
        marks: list[tuple[Section, Any]] = []
        with on_entering(step, lambda section: marks.append((section, clock.now()))):
            step()
        ends = [at for _, at in marks[1:]] + [clock.now()]
        clock.wait()
        return {section: clock.elapsed_ms(at, end) for (section, at), end in zip(marks, ends, strict=True)}

    times = repeated(once, repeats)
    return {section: latency_of([time[section] for time in times]) for section in times[0]}


def repeated(once: Callable[[], Any], repeats: int | None) -> list[Any]:
    """Results of `once`, called `repeats` times; None: until that is enough."""
    start, results = perf_counter(), list[Any]()
    while len(results) < repeats if repeats else not _enough(len(results), perf_counter() - start):
        results.append(once())
    return results


def _enough(repeats: int, seconds: float) -> bool:
    if repeats < FEWEST_REPEATS:
        return False
    return seconds >= MOST_SECONDS or (repeats >= ENOUGH_REPEATS and seconds >= ENOUGH_SECONDS)


def latency_of(times_ms: Sequence[float]) -> Latency:
    """The median, the 10th and the 90th percentile of times in ms."""
    tenths = quantiles(times_ms, n=10, method="inclusive") if len(times_ms) > 1 else times_ms
    return Latency(median(times_ms), tenths[0], tenths[-1], len(times_ms))
