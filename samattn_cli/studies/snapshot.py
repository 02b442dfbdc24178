"""The predicted history of allocations in the form of torch.cuda.memory._snapshot(), which PyTorch's memory viewer opens.

Built of dictionaries, lists, strings and whole numbers alone. A frame has the operation for its name, and the layer and phase
for its file.

Source: PyTorch 2.14.1, torch/csrc/cuda/memory_snapshot.cpp, torch/cuda/_memory_viz.py, torch/utils/viz/MemoryViz.js.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import pairwise
from typing import Any

from ..errors import UsageError
from ..tape.allocations import Allocations, Event, Segment
from ..tape.allocator import SEGMENT_BITS
from .memory_timeline import recorded
from .on_device import cuda_of
from .passes import Passes

OFFSET = (1 << SEGMENT_BITS) - 1
FIRST_ADDRESS = 0x7F << 40
"""Of the first segment: viewers hold addresses as numbers of JavaScript, which are exact below 2^53."""
FAR = 1 << 43
"""Between the addresses of segments that grow."""
PROTOCOL = 4
"""Of pickle: torch's own snapshots have it, and the viewer reads it."""

ACTIVE, INACTIVE = "active_allocated", "inactive"
Entry = dict[str, Any]


def snapshot_of(passes: Passes) -> bytes:
    """A run of the mode of `passes` on its device as a pickled snapshot.

    It has the whole run: the weights, the first pass, and the next (under DDP the next two).

    Raises:
        UsageError: if there is no CUDA device.
    """
    if passes.device is None or cuda_of(passes.device) is None:
        raise UsageError(
            "needs-device",
            "--snapshot is what torch's allocator does on a CUDA device: add --device, such as --device h100",
        )
    return pickle.dumps(snapshot(recorded(passes), passes.config.name), PROTOCOL)


def snapshot(run: Allocations, name: str) -> Entry:
    """A run as a snapshot.

    Args:
        run: its allocations and frees.
        name: of the encoder, for the outermost frame.
    """
    places = _Places(run.segments)
    frames = _Frames(name)
    return {
        "segments": [*_segments(run, places, frames)],
        "device_traces": [[*_trace(run, places, frames)]],
        "allocator_settings": {},
        "external_annotations": [],
    }


class _Places:
    """Addresses as of a device."""

    def __init__(self, segments: tuple[Segment, ...]) -> None:
        self.starts: dict[int, int] = {}
        grows = any(segment.action == "segment_map" for segment in segments)
        address = FIRST_ADDRESS
        for segment in segments:
            if segment.action not in {"segment_alloc", "segment_map"}:
                continue
            number = segment.address >> SEGMENT_BITS
            if number not in self.starts:
                self.starts[number] = address
                address += FAR if grows else segment.nbytes

    def of(self, address: int) -> int:
        """The address of a block or segment."""
        return self.starts[address >> SEGMENT_BITS] + (address & OFFSET)


class _Frames:
    """The frames of what runs, shared by all that it allocates."""

    def __init__(self, name: str) -> None:
        self.of = cache(self._of)
        self.name = name

    def event(self, event: Event) -> list[Entry]:
        """Those of an event."""
        layer, phase = event.section
        op = "" if event.op is None else event.op.name
        return self.of(op, layer, phase, event.kind, event.round)

    def _of(self, op: str, layer: str, phase: str, kind: str, number: int) -> list[Entry]:
        """The operation, its layer, the pass, the encoder; innermost first. Kinds are in words."""
        where = f"{layer} {phase}" if layer else "around the layers"
        run = f"pass {number}" if number else "build"
        return [
            {"name": f"{op or phase if layer else kind} [{kind}]", "filename": where, "line": 0},
            {"name": run, "filename": self.name, "line": 0},
        ]


def _trace(run: Allocations, places: _Places, frames: _Frames) -> Iterator[Entry]:
    """What happens, in order."""
    segments = iter(run.segments)
    segment = next(segments, None)
    for number, event in enumerate(run.events):
        while segment is not None and segment.event <= number:
            yield _entry(
                segment.action,
                places.of(segment.address),
                segment.nbytes,
                segment.pool & ~1,
                frames.event(event),
            )
            segment = next(segments, None)
        actions = ("free_requested", "free_completed") if event.is_free else ("alloc",)
        for action in actions:
            yield _entry(action, places.of(event.address), event.requested, event.stream, frames.event(event))


def _entry(action: str, address: int, size: int, stream: int, frames: list[Entry]) -> Entry:
    return {"action": action, "addr": address, "size": size, "stream": stream, "frames": frames}


def _segments(run: Allocations, places: _Places, frames: _Frames) -> Iterator[Entry]:
    """The segments at the end, each with its blocks."""
    live: dict[int, Event] = {}
    for event in run.events:
        if event.is_free:
            del live[places.of(event.address)]
        else:
            live[places.of(event.address)] = event
    starts = sorted(live)
    for (address, end), (pool, is_expandable) in sorted(_ranges(run.segments, places).items()):
        own = {start: live[start] for start in starts if address <= start < end}
        sizes = sum(event.nbytes for event in own.values())
        yield {
            "device": 0,
            "address": address,
            "total_size": end - address,
            "stream": pool & ~1,
            "segment_type": "small" if pool & 1 else "large",
            "segment_pool_id": (0, 0),
            "is_expandable": is_expandable,
            "allocated_size": sizes,
            "active_size": sizes,
            "requested_size": sum(event.requested for event in own.values()),
            "frames": [],
            "blocks": [*_blocks(address, end, own, frames)],
        }


def _blocks(address: int, end: int, own: Mapping[int, Event], frames: _Frames) -> Iterator[Entry]:
    """The blocks of a segment, without gaps."""
    at = address
    for start, event in own.items():
        if start > at:
            yield _block(at, start - at, 0, INACTIVE, [])
        yield _block(start, event.nbytes, event.requested, ACTIVE, frames.event(event))
        at = start + event.nbytes
    if at < end:
        yield _block(at, end - at, 0, INACTIVE, [])


def _block(address: int, size: int, requested: int, state: str, frames: list[Entry]) -> Entry:
    return {"address": address, "size": size, "requested_size": requested, "state": state, "frames": frames}


def _ranges(segments: tuple[Segment, ...], places: _Places) -> dict[tuple[int, int], tuple[int, bool]]:
    """The addresses that are taken from the device at the end, from and to, with the pool and whether they grow."""
    ranges: dict[tuple[int, int], tuple[int, bool]] = {}
    for segment in segments:
        start = places.of(segment.address)
        end = start + segment.nbytes
        if segment.action in {"segment_alloc", "segment_map"}:
            ranges[start, end] = segment.pool, segment.action == "segment_map"
        else:
            _cut(ranges, start, end)
        if segment.action == "segment_map":
            _join(ranges)
    return ranges


def _cut(ranges: dict[tuple[int, int], tuple[int, bool]], start: int, end: int) -> None:
    """Take addresses out of the range that they lie in."""
    low, high = next(each for each in ranges if each[0] <= start and end <= each[1])
    kind = ranges.pop((low, high))
    ranges.update({each: kind for each in ((low, start), (end, high)) if each[0] < each[1]})


def _join(ranges: dict[tuple[int, int], tuple[int, bool]]) -> None:
    """Join ranges that follow one another."""
    for one, two in pairwise(sorted(ranges)):
        if one[1] == two[0] and ranges[one] == ranges[two]:
            kind = ranges.pop(one)
            del ranges[two]
            ranges[one[0], two[1]] = kind
            _join(ranges)
            return
