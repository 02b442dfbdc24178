"""What each layer and part of an encoder costs, from its passes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from math import prod
from typing import Any

from ..config.model import EncoderConfig
from ..config.plan import LayerConfig
from ..cost.encoder import Segment
from ..cost.memory import saved_by_op
from ..cost.ops import Op, Recording, parameter_elements
from ..cost.shares import SCORES, share_of
from ..cost.training import PHASES
from ..reports.analysis import LayerReport, OpReport, PartReport, Share, VsGlobal
from .passes import Passes, attention_bytes


def parts_of(passes: Passes) -> tuple[PartReport, ...]:
    """What stands beside the blocks."""
    return tuple(PartReport(**common) for segment, common in _segments(passes) if segment.layer is None)


def layers_of(passes: Passes, all_global: Passes) -> tuple[LayerReport, ...]:
    """The blocks, each against the same one made global."""
    twins = {segment.name: segment for segment in all_global.forward.segments}
    return tuple(
        _layer(passes.config, segment.layer, segment.recording, twins[segment.name], common)
        for segment, common in _segments(passes)
        if segment.layer is not None
    )


def _segments(passes: Passes) -> Iterator[tuple[Segment, dict[str, Any]]]:
    """Each segment with the figures that parts and layers have in common."""
    step, times = passes.step, passes.times or [None] * len(passes.memory)
    rows = zip(
        passes.forward.segments, passes.memory, step.forward.segments, step.saved_bytes, times, strict=True
    )
    for segment, used, training, saved, time in rows:
        peak = max((step.moments[segment.name, phase] for phase in PHASES), key=lambda moment: moment.nbytes)
        recording = segment.recording
        yield (
            segment,
            {
                "name": segment.name,
                "params": recording.params,
                "macs": recording.macs,
                "flops": recording.flops,
                "elementwise_flops": recording.elementwise_flops,
                "saved_bytes": saved,
                "peak_bytes": used.peak_bytes,
                "peak_op": used.peak_op,
                "training_bytes": peak.nbytes,
                "training_op": peak.at.removeprefix(f"{segment.name}."),
                "ops": _op_reports(recording, None if training.is_checkpointed else training.recording),
                "latency_ms": time and time.ms,
                "bound": time and time.bound,
                "share_of_peak": time and time.share_of_peak,
            },
        )


def _layer(
    config: EncoderConfig,
    layer: LayerConfig,
    recording: Recording,
    as_global: Segment,
    common: dict[str, Any],
) -> LayerReport:
    scores = attention_bytes(config, layer)
    scores_global = attention_bytes(config, as_global.layer or layer)
    return LayerReport(
        index=layer.index,
        stage=layer.stage_index,
        attention="global" if layer.is_global else "window",
        window_size=layer.window_size,
        shift_size=layer.shift_size,
        grid=layer.grid,
        padded_grid=layer.padded_grid,
        windows=prod(layer.windows),
        num_heads=layer.stage.num_heads,
        attention_bytes=scores,
        attention_bytes_per_head=scores // layer.stage.num_heads,
        vs_global=VsGlobal(*_flops_ratios(recording, as_global.recording), 1 - scores / scores_global),
        **common,
    )


@lru_cache(maxsize=64)
def _flops_ratios(layer: Recording, as_global: Recording) -> tuple[float, float, float]:
    """Of score products, attention and the whole layer: those of the layer as global over those as it is."""

    def ratio(part: Callable[[Op], bool]) -> float:
        return _flops(filter(part, as_global.ops)) / _flops(filter(part, layer.ops))

    return (
        ratio(lambda op: share_of(op) == SCORES),
        ratio(lambda op: op.module.partition(".")[0] == "attn"),
        as_global.flops / layer.flops,
    )


@lru_cache(maxsize=64)
def _op_reports(recording: Recording, training: Recording | None) -> tuple[OpReport, ...]:
    """The operations of a forward, with what a training step keeps of each: of a checkpointed block nothing."""
    kept = Counter[str]()
    if training is not None:  # which may run more: a frozen weight's copy, say, is made for each use
        for op, nbytes in zip(training.ops, saved_by_op(training), strict=True):
            kept[op.name] += nbytes
    return tuple(
        OpReport(
            name=op.name,
            kind=op.kind,
            macs=op.macs,
            flops=op.flops,
            elementwise_flops=op.elementwise_flops,
            params=sum(map(parameter_elements, op.parameters)),
            bytes_read=op.bytes_read,
            bytes_written=op.bytes_written,
            allocated_bytes=sum(storage.nbytes for storage in op.allocates),
            saved_bytes=kept.pop(op.name, 0),
        )
        for op in recording.ops
        if op.is_kernel
    )


def shares_of(passes: Passes) -> tuple[Share, ...]:
    """FLOPs by part, the largest first; they sum to the total."""
    flops: dict[str, int] = {}
    for segment in passes.forward.segments:
        for op in filter(lambda op: op.macs, segment.recording.ops):
            part = segment.name if segment.layer is None else share_of(op)
            flops[part] = flops.get(part, 0) + op.flops
    total = sum(flops.values())
    ordered = sorted(flops.items(), key=lambda item: -item[1])
    return tuple(Share(part, value, value / total) for part, value in ordered)


def _flops(ops: Iterable[Op]) -> int:
    return sum(op.flops for op in ops)
