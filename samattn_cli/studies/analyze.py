"""What each layer of one encoder costs, and what its windows save."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import fields
from functools import lru_cache

from ..config.model import EncoderConfig, LayerConfig
from ..cost.encoder import ForwardPass, Segment, forward
from ..cost.memory import SegmentMemory, saved_by_op, walk
from ..cost.tape import Op, Recording, parameter_elements
from ..cost.vit import PART_OF, SCORES, windows_over
from ..report import (
    Analysis,
    Comparison,
    Comparisons,
    CrossCheck,
    Figures,
    LayerReport,
    OpReport,
    PartReport,
    Share,
    Totals,
    VsGlobal,
)
from ..units import ITEM_BYTES
from .findings import findings
from .verify import verify as run_crosscheck

NOT_ASKED = CrossCheck.not_run("skipped", "not asked for")


def analyze(config: EncoderConfig, *, verify: bool = True) -> Analysis:
    """Analyze one encoder.

    Args:
        config: the encoder.
        verify: also cross-check the figures against the real stack (needs the extra "torch").

    Returns:
        Parameters, MACs, FLOPs and memory by layer and in all, against the all-global and all-windowed encoder, with
        findings and the verdicts of the cross-check.
    """
    if not isinstance(config, EncoderConfig):
        raise TypeError(f"analyze takes an EncoderConfig, not {config!r}: load_config makes one")
    passed, all_global = forward(config), forward(config.all_global())
    global_twins = {segment.name: segment for segment in all_global.segments}
    measured = list(zip(passed.segments, walk(passed), strict=True))
    layers = tuple(
        _layer(config, segment.layer, segment, used, global_twins[segment.name])
        for segment, used in measured
        if segment.layer is not None
    )
    parts = tuple(_part(segment, used) for segment, used in measured if segment.layer is None)
    totals = _totals(passed)
    comparison = Comparisons(
        vs_all_global=_compare(totals, _totals(all_global)),
        vs_all_window=_compare(totals, _totals(forward(config.all_windowed())))
        if _has_windows(config)
        else None,
    )
    return Analysis(
        config=config,
        totals=totals,
        layers=layers,
        parts=parts,
        shares=_shares(passed),
        comparison=comparison,
        findings=findings(config, layers, totals, comparison),
        crosscheck=run_crosscheck(config, every_layer=False) if verify else NOT_ASKED,
    )


def _has_windows(config: EncoderConfig) -> bool:
    return any(stage.window_size != (0, 0) for stage in config.stages)


def _layer(
    config: EncoderConfig, layer: LayerConfig, segment: Segment, used: SegmentMemory, as_global: Segment
) -> LayerReport:
    grid = config.grid
    rows, columns = (1, 1) if layer.is_global else windows_over(grid, layer.window_size)
    height, width = grid if layer.is_global else layer.window_size
    scores_bytes = attention_bytes(segment.recording)
    return LayerReport(
        index=layer.index,
        name=layer.name,
        stage=layer.stage_index,
        attention="global" if layer.is_global else "window",
        window_size=layer.window_size,
        grid=grid,
        padded_grid=(rows * height, columns * width),
        windows=rows * columns,
        num_heads=layer.stage.num_heads,
        params=segment.recording.params,
        macs=segment.recording.macs,
        flops=segment.recording.flops,
        elementwise_flops=segment.recording.elementwise_flops,
        attention_bytes=scores_bytes,
        attention_bytes_per_head=scores_bytes // layer.stage.num_heads,
        saved_bytes=used.saved_bytes,
        peak_bytes=used.peak_bytes,
        peak_op=used.peak_op,
        ops=_op_reports(segment.recording),
        vs_global=_vs_global(segment.recording, as_global.recording),
    )


def _part(segment: Segment, used: SegmentMemory) -> PartReport:
    return PartReport(
        name=segment.name,
        params=segment.recording.params,
        macs=segment.recording.macs,
        flops=segment.recording.flops,
        elementwise_flops=segment.recording.elementwise_flops,
        saved_bytes=used.saved_bytes,
        peak_bytes=used.peak_bytes,
        peak_op=used.peak_op,
        ops=_op_reports(segment.recording),
    )


@lru_cache(maxsize=64)
def _vs_global(layer: Recording, as_global: Recording) -> VsGlobal:
    """Ratios of the layer as global over the layer as it is."""

    def ratio(part: Callable[[Op], bool]) -> float:
        return _flops(filter(part, as_global.ops)) / _flops(filter(part, layer.ops))

    return VsGlobal(
        scores_flops_ratio=ratio(lambda op: PART_OF.get(op.name) == "scores"),
        attention_flops_ratio=ratio(lambda op: op.module.partition(".")[0] == "attn"),
        layer_flops_ratio=as_global.flops / layer.flops,
        attention_bytes_saving=1 - attention_bytes(layer) / attention_bytes(as_global),
    )


@lru_cache(maxsize=64)
def attention_bytes(layer: Recording) -> int:
    """Bytes of the score matrix, all heads, windows and images, padding included, as eager attention makes it."""
    return int(sum(op.bytes_written for op in layer.ops if op.name == SCORES))


@lru_cache(maxsize=64)
def _op_reports(recording: Recording) -> tuple[OpReport, ...]:
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
            saved_bytes=kept,
        )
        for op, kept in zip(recording.ops, saved_by_op(recording), strict=True)
        if op.kind != "free"
    )


def _flops(ops: Iterable[Op]) -> int:
    return sum(op.flops for op in ops)


def _totals(passed: ForwardPass) -> Totals:
    segments, memory = passed.segments, list(walk(passed))
    peak = max(range(len(segments)), key=lambda i: memory[i].peak_bytes)
    params = sum(segment.recording.params for segment in segments)
    return Totals(
        params=params,
        macs=sum(segment.recording.macs for segment in segments),
        flops=sum(segment.recording.flops for segment in segments),
        elementwise_flops=sum(segment.recording.elementwise_flops for segment in segments),
        attention_bytes=sum(attention_bytes(segment.recording) for segment in segments),
        weights_bytes=params * ITEM_BYTES[passed.config.run.dtype],
        peak_bytes=memory[peak].peak_bytes,
        peak_at=segments[peak].qualified(memory[peak].peak_op),
    )


def _compare(this: Totals, other: Totals) -> Comparison:
    return Comparison(
        **{field.name: getattr(other, field.name) for field in fields(Figures)},
        flops_ratio=other.flops / this.flops,
        attention_bytes_saving=1 - this.attention_bytes / other.attention_bytes,
        peak_bytes_saving=1 - this.peak_bytes / other.peak_bytes,
    )


def _shares(passed: ForwardPass) -> tuple[Share, ...]:
    """FLOPs by part, the largest first; they sum to the total."""
    flops: dict[str, int] = {}
    for segment in passed.segments:
        for op in filter(lambda op: op.macs, segment.recording.ops):
            part = segment.name if segment.layer is None else PART_OF[op.name]
            flops[part] = flops.get(part, 0) + op.flops
    total = sum(flops.values())
    ordered = sorted(flops.items(), key=lambda item: -item[1])
    return tuple(Share(part, value, value / total) for part, value in ordered)
