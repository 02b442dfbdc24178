"""Measures the memory of a pass: by the counters of the caching allocator on CUDA, by the allocator's events on the CPU."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.cuda import memory as cuda
from torch.profiler import ProfilerActivity, profile, record_function

from ..encoder.model import Section
from .sections import on_entering
from .step import Step

MARK = "samattn."
"""Prefix of the names of marks that are set between the CPU allocator's events."""

BEGIN, END = "begin", "end"
ALLOCATION = "[memory]"


@dataclass
class Usage:
    """Bytes live before the pass and at its peak, of the whole pass and of each section."""

    baseline_bytes: int = 0
    peak_allocated_bytes: int = 0
    peak_reserved_bytes: int | None = None
    peak_requested_bytes: int = 0
    workspace_bytes: int = 0
    section_bytes: dict[Section, int] = field(default_factory=dict)


def usage_on_cuda(make: Callable[[], Step]) -> tuple[Step, Usage]:
    """Make a step, warm it up unless its first pass is meant, and read the allocator's counters over a pass, by section."""
    step, usage, peaks = make(), Usage(), CudaPeaks()
    cuda.empty_cache()
    cuda.reset_peak_memory_stats()
    for _ in range(step.settings.passes_before):
        step()  # makes the optimizer's state and the cuBLAS workspace
    live, peaks.reserved_bytes = cuda.memory_allocated(), cuda.max_memory_reserved()
    cuda.reset_peak_memory_stats()
    with on_entering(step, peaks.enter):
        step()
    peaks.leave()
    usage.section_bytes = peaks.section_bytes
    usage.peak_allocated_bytes = max(peaks.section_bytes.values())
    usage.peak_requested_bytes, usage.peak_reserved_bytes = peaks.requested_bytes, peaks.reserved_bytes
    usage.workspace_bytes = free_workspaces()
    usage.baseline_bytes = live - (usage.workspace_bytes if step.settings.passes_before else 0)
    return step, usage


class CudaPeaks:
    """The peak of the allocator's counter in each section, and those of other counters in all of them."""

    def __init__(self) -> None:
        self.section_bytes: dict[Section, int] = {}
        self.requested_bytes = self.reserved_bytes = 0
        self._section: Section | None = None

    def enter(self, section: Section) -> None:
        """`section` begins."""
        self.leave()
        self._section = section
        cuda.reset_peak_memory_stats()

    def leave(self) -> None:
        """The section ends."""
        if self._section is not None:
            before = self.section_bytes.get(self._section, 0)
            self.section_bytes[self._section] = max(before, cuda.max_memory_allocated())
            self.reserved_bytes = max(self.reserved_bytes, cuda.max_memory_reserved())
            requested = cuda.memory_stats()["requested_bytes.all.peak"]
            self.requested_bytes = max(self.requested_bytes, requested)


def free_workspaces() -> int:
    """Free the cuBLAS workspaces, which the caching allocator counts too, and return their bytes."""
    torch.cuda.synchronize()
    before = cuda.memory_allocated()
    torch._C._cuda_clearCublasWorkspaces()
    return before - cuda.memory_allocated()


@contextmanager
def snapshot_to(path: Path | None) -> Iterator[None]:
    """Record torch's memory history and write its snapshot to `path`, even if memory runs out, whole or not at all."""
    if path is None:
        yield
        return
    partial = path.with_name(f".{path.name}.partial")
    cuda._record_memory_history(stacks="python")
    try:
        yield
    finally:
        cuda._dump_snapshot(str(partial))
        cuda._record_memory_history(enabled=None)
        partial.replace(path)


def usage_on_cpu(make: Callable[[], Step]) -> tuple[Step, Usage]:
    """Make a step and run it, all under the profiler, so that it sees the allocation of everything that is freed.

    Models of earlier steps in this process are cycles of references: what is left of them goes before, and not in the step.
    """
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        step = make()
        for _ in range(step.settings.passes_before):
            step()  # makes the optimizer's state
        _mark(BEGIN)
        with on_entering(step, lambda section: _mark("/".join(section))):
            step()
        _mark(END)
    return step, usage_of_events(profiled.profiler.kineto_results.events())


def _mark(name: str) -> None:
    with record_function(MARK + name):
        pass


def usage_of_events(events: Iterable[Any]) -> Usage:
    """Sum the allocator's events to live bytes; the pass is between the marks `BEGIN` and `END`."""
    usage, live, section, inside = Usage(), 0, None, False
    for event in sorted(events, key=lambda event: event.start_ns()):
        name = event.name()
        if name == ALLOCATION:
            live += event.nbytes()
        elif name == MARK + BEGIN:
            usage.baseline_bytes, inside = live, True
        elif name == MARK + END:
            break
        elif name.startswith(MARK):
            section = tuple(name.removeprefix(MARK).rsplit("/", 1))
        else:
            continue
        if inside:
            usage.peak_allocated_bytes = max(usage.peak_allocated_bytes, live)
            if section:
                usage.section_bytes[section] = max(usage.section_bytes.get(section, 0), live)
    usage.peak_requested_bytes = usage.peak_allocated_bytes
    return usage
