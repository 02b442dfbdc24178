"""The predicted time line of a pass in the Chrome trace format, which Perfetto and chrome://tracing open.

Source: Trace Event Format, docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any

from ...errors import OutputError
from ...reports.op_span import OpSpan
from ..options import Options

US_PER_MS = 1000
PHASES, LAYERS, OPS = 1, 2, 3
ROWS = {PHASES: "phases", LAYERS: "layers", OPS: "stream 0: operations"}
WORDS = {"forward": "forward", "backward": "backward", "step": "optimizer's step"}


def render(report: Any, options: Options) -> str:  # noqa: ARG001 - it always has everything
    """The trace of an analysis.

    Raises:
        OutputError: if it has no times.
    """
    if not report.op_spans:
        raise OutputError(
            "needs-device", "-o trace=FILE is when each operation runs: add --device, such as --device h100"
        )
    trace = {
        "traceEvents": [*_names(report), *_events(report.op_spans)],
        "displayTimeUnit": "ms",
        "otherData": {
            "encoder": report.config.name,
            "device": report.device.name,
            "mode": report.config.run.mode,
            "made by": f"samattn {report.samattn_version}: predicted by the roofline, not measured",
        },
    }
    return f"{json.dumps(trace, separators=(',', ':'))}\n"


def _names(report: Any) -> Iterator[dict[str, Any]]:
    """The process and its rows."""
    name = f"{report.config.name} on {report.device.name} (predicted)"
    yield {"ph": "M", "pid": 0, "name": "process_name", "args": {"name": name}}
    for row, words in ROWS.items():
        yield {"ph": "M", "pid": 0, "tid": row, "name": "thread_name", "args": {"name": words}}
        yield {"ph": "M", "pid": 0, "tid": row, "name": "thread_sort_index", "args": {"sort_index": row}}


def _events(spans: Sequence[OpSpan]) -> Iterator[dict[str, Any]]:
    for phase, own in _runs(spans, lambda span: span.phase):
        yield _whole(WORDS[phase], "phase", PHASES, own)
    for (layer, phase), own in _runs(spans, lambda span: (span.layer, span.phase)):
        yield _whole(layer, phase, LAYERS, own)
    for span in spans:
        about = {
            "layer": span.layer,
            "phase": span.phase,
            "bound": span.bound,
            "FLOPs": span.flops,
            "elementwise FLOPs": span.elementwise_flops,
            "bytes": span.bytes,
        }
        yield _event(span.op, f"{span.kind},{span.bound}", OPS, span.start_ms, span.ms, about)


def _runs(spans: Sequence[OpSpan], key: Callable[[OpSpan], Any]) -> Iterator[tuple[Any, list[OpSpan]]]:
    return ((found, list(own)) for found, own in groupby(spans, key))


def _whole(name: str, category: str, row: int, own: Sequence[OpSpan]) -> dict[str, Any]:
    """All of some operations in a row as one event, with what bounds most of its time."""
    due: dict[str, float] = {}
    for span in own:
        due[span.bound] = due.get(span.bound, 0.0) + span.ms
    about = {"bound": max(due, key=due.__getitem__), "FLOPs": sum(span.flops for span in own)}
    return _event(
        name, category, row, own[0].start_ms, own[-1].start_ms + own[-1].ms - own[0].start_ms, about
    )


def _event(
    name: str, category: str, row: int, start_ms: float, ms: float, about: dict[str, Any]
) -> dict[str, Any]:
    times = {"ts": start_ms * US_PER_MS, "dur": ms * US_PER_MS}
    return {"ph": "X", "pid": 0, "tid": row, "name": name, "cat": category, **times, "args": about}
