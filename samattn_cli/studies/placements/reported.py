"""One placement as it is reported, from its passes and its flow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...device.model import Device
from ...reports.analysis import Figures
from ...reports.placements import LayerCost, VsOwn
from ...tape.training import PHASES
from ..flow import flow_of
from ..passes import Passes
from .results import published_result
from .strategies import Placement


def report_of(
    placement: Placement, own: Figures, device: Device | None, *, with_flow: bool = True
) -> dict[str, Any]:
    """What a `PlacementReport` has: figures of a real pass, beside those of the config's own placement."""
    passes = Passes(placement.config, device)
    figures = passes.figures
    return {
        "names": placement.names,
        "global_layers": placement.layers,
        "figures": figures,
        "vs_own": _vs_own(figures, own),
        "layers": tuple(_layers(passes)),
        "flow": flow_of(placement.config) if with_flow else None,
        "published": published_result(placement.config, placement),
    }


def _vs_own(figures: Figures, own: Figures) -> VsOwn:
    return VsOwn(
        flops_ratio=figures.flops / own.flops,
        peak_bytes_ratio=figures.peak_bytes / own.peak_bytes,
        training_bytes_ratio=figures.training_bytes / own.training_bytes,
        latency_ratio=figures.latency_ms / own.latency_ms if figures.latency_ms and own.latency_ms else None,
    )


def _layers(passes: Passes) -> Iterator[LayerCost]:
    times: list[float | None] = [time.ms for time in passes.times] or [None] * len(passes.memory)
    for segment, used, time in zip(passes.forward.segments, passes.memory, times, strict=True):
        if segment.layer is not None:
            yield LayerCost(
                index=segment.layer.index,
                attention="global" if segment.layer.is_global else "window",
                flops=segment.recording.flops,
                peak_bytes=used.peak_bytes,
                training_bytes=max(passes.step.peaks[segment.name, phase] for phase in PHASES),
                latency_ms=time,
            )
