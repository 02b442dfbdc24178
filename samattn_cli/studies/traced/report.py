"""The report of `samattn trace`, from the passes of a traced module."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from math import prod
from typing import TYPE_CHECKING, Any

from ...encoder.model import EncoderConfig, RunConfig
from ...records import replace
from ...reports.analysis import DeviceReport, OpReport, Share, TrainingReport
from ...reports.trace import DryRun
from ...reports.traced import (
    AttentionReport,
    RunReport,
    TracedAnalysis,
    TracedLayer,
    TracedPart,
    TracedTotals,
)
from ...tape.ops import SCORES, Op, Recording
from ...tape.training import OPTIMIZERS
from ...units import ITEM_BYTES, format_things
from .ask import Asked, ask_dry_run, ask_trace
from .kernels import target_of
from .passes import TracedPasses
from .windows import VALUES

if TYPE_CHECKING:
    from ...device.model import Device
    from ...device.roofline import LayerTime

FLOAT32_BYTES = 4
SHARED = "{0} runs {1} times in a forward; its figures are those of all of them"
CUDNN = "_scaled_dot_product_cudnn_attention"
WITHOUT_GRADIENT = (
    "{} {} no gradient from the outputs: {}. The optimizer keeps no state for {}; DistributedDataParallel fails in its second step "
    "without find_unused_parameters=True"
)
MOST_NAMES = 4
WORKSPACE = (
    "on {0} torch runs cuDNN's attention, whose workspace is not documented: these figures take what an H200 took, with torch 2.11 "
    "and cuDNN 9.19 (--device dry:{0} runs without this attention, as torch.backends.cuda.enable_cudnn_sdp(False) does)"
)


def trace(
    target: str,
    *,
    inputs: Sequence[str] = (),
    arguments: Mapping[str, Any] | None = None,
    dtype: str = "",
    submodule: str = "",
    mode: str = "inference",
    optimizer: str = "adamw",
    device: Device | None = None,
    dry: bool = False,
    against: EncoderConfig | None = None,
) -> TracedAnalysis:
    """Analyze any PyTorch module. It runs on the meta device in a process of its own: its weights are never made.

    Args:
        target: "package.module:callable", "timm:NAME", "torchvision:NAME", or a Hugging Face folder or config.json.
        inputs: shapes, such as "1x3x1024x1024", "pixel_values=1x3x224x224" or "ids=1x77:int64".
        arguments: for the callable.
        dtype: type of weights and inputs; default: that of the module.
        submodule: the part of the module to trace, by its name.
        mode: "inference", or "training" for a training step in addition.
        optimizer: of the training step: adamw, sgd_momentum or sgd.
        device: for times and whether it fits (see `load_device`).
        against: a config to compare the module with; without `inputs` and `dtype`, those of the config are taken.
        dry: also run the module by torch's CUDA code as if on the device, for what its allocator allocates and reserves.

    Returns:
        Parameters, MACs, FLOPs, memory and time by layer and in total.

    Raises:
        UsageError: if the target cannot be traced.
    """
    if against is not None:
        inputs = inputs or ["x".join(map(str, against.input_shape))]
        dtype = dtype or against.run.dtype
    asked = Asked(target, inputs, arguments or {}, dtype, submodule, mode, optimizer)
    target_device = target_of(device, has_cudnn=not dry)  # a dry run leaves out cuDNN's attention
    passes = TracedPasses(ask_trace(asked, target_device), optimizer)
    report = _report(asked, passes, device)
    if against is not None:
        from .against import against as compare

        report = replace(report, against=compare(passes, against))
    if device is None or not dry or report.device is None:
        return report
    return with_memory(replace(report, dry=True), _as_run(report.device, ask_dry_run(asked, device)))


def traced(asked: Asked, device: Device | None = None) -> TracedAnalysis:
    """The report of a module, traced as it is asked for.

    Raises:
        UsageError: if the target cannot be traced.
    """
    return _report(asked, TracedPasses(ask_trace(asked, target_of(device)), asked.optimizer), device)


def _report(asked: Asked, passes: TracedPasses, device: Device | None) -> TracedAnalysis:
    return report_of(passes, asked.name, asked.mode, asked.optimizer, device)


def with_memory(report: TracedAnalysis, device: DeviceReport) -> TracedAnalysis:
    """The report with what a device's allocator allocates and reserves."""
    used: dict[str, Any] = {
        "allocated_bytes": device.allocated_bytes,
        "reserved_bytes": device.reserved_bytes,
    }
    return replace(report, device=device, totals=replace(report.totals, **used))


def _as_run(device: DeviceReport, ran: DryRun) -> DeviceReport:
    """What is said of a device, after a dry run of it."""
    return replace(
        device,
        spare_bytes=device.usable_bytes - ran.allocated_bytes,
        allocated_bytes=ran.allocated_bytes,
        reserved_bytes=ran.reserved_bytes,
        nvidia_smi_bytes=ran.reserved_bytes + device.context_bytes,
        fits=ran.ran,
    )


def report_of(
    passes: TracedPasses, target: str, mode: str, optimizer: str, device: Device | None = None
) -> TracedAnalysis:
    """The report of a traced module."""
    traced = passes.trace
    assert optimizer in OPTIMIZERS  # noqa: S101 - the command has checked it
    times = _times(passes, device)
    places = _places(passes)
    report = TracedAnalysis(
        target=target,
        type=traced.type,
        run=RunReport(
            mode="training" if mode == "training" else "inference",
            optimizer=optimizer,
            dtype=traced.dtype,
            batch_size=passes.batch,
            inputs=traced.inputs,
            outputs=traced.output,
            route=traced.route,
        ),
        notes=(*traced.notes, *_notes(passes, device)),
        totals=_totals(passes, times, device),
        layers=tuple(
            _layer(passes, place, index, times.get(place))
            for index, place in enumerate(place for place in places if place in passes.places.layers)
        ),
        parts=tuple(
            TracedPart(**_part(passes, place, times.get(place)))
            for place in places
            if place not in passes.places.layers
        ),
        shares=_shares(passes),
        training=_training(passes, optimizer, device) if traced.step else None,
    )
    if device is None:
        return report
    return with_memory(report, _device(passes, device, _whole_ms(passes, times, device) or 0.0, times))


def _notes(passes: TracedPasses, device: Device | None) -> list[str]:
    """Modules that run several times, weights without a gradient, and what a trace does not know of a device."""
    runs = {place: passes.places.runs_of(place) for place in passes.recordings}
    shared = [SHARED.format(place, times) for place, times in runs.items() if times > 1]
    runs_cudnn = any(op.name == CUDNN for op in passes.trace.forward)
    unknown = [WORKSPACE.format(device.name)] if device and runs_cudnn else []
    return [*shared, *_without_gradient(passes.without_gradient), *unknown]


def _without_gradient(names: Sequence[str]) -> Iterator[str]:
    """A note on the weights that get no gradient, if there are any."""
    if names:
        count = len(names)
        more = [f"{count - MOST_NAMES + 1:,} more"] if count > MOST_NAMES else []
        listed = [*names[: MOST_NAMES - len(more)], *more]
        text = " and ".join(filter(None, (", ".join(listed[:-1]), listed[-1])))
        get, them = ("gets", "it") if count == 1 else ("get", "them")
        yield WITHOUT_GRADIENT.format(format_things(count, "weight"), get, text, them)


def _places(passes: TracedPasses) -> list[str]:
    """The parts and layers in the order in which they first run."""
    return list(passes.recordings)


def run_of(passes: TracedPasses) -> RunConfig:
    """How the roofline is told of the run. It knows three types; others are taken as float32."""
    dtype = passes.trace.dtype if passes.trace.dtype in ITEM_BYTES else "float32"
    mode = "training" if passes.trace.step else "inference"
    return RunConfig(batch_size=passes.batch, dtype=dtype, mode=mode)


def _times(passes: TracedPasses, device: Device | None) -> dict[str, LayerTime]:
    if device is None:
        return {}
    from ...device.roofline import layer_time

    run = run_of(passes)
    by_place = passes.step_recordings or {place: (each,) for place, each in passes.recordings.items()}
    return {
        place: layer_time(chain.from_iterable(each.ops for each in recordings), device, run)
        for place, recordings in by_place.items()
    }


def _part(passes: TracedPasses, place: str, time: LayerTime | None) -> dict[str, Any]:
    recording = passes.recordings[place]
    training = passes.training_moments.get(place) if passes.trace.step else None
    saved = passes.saved.get(place) if passes.trace.step else None
    return {
        "name": place,
        "type": passes.places.type_of(place),
        "params": recording.params,
        "macs": recording.macs,
        "flops": recording.flops,
        "elementwise_flops": recording.elementwise_flops,
        "traffic_bytes": _traffic(passes, place),
        "saved_bytes": None if saved is None else sum(saved.values()),
        "peak_bytes": passes.moments[place].nbytes,
        "peak_op": passes.moments[place].op,
        "training_bytes": training and training.nbytes,
        "training_op": training and f"{training.op}{_in_phase(training.phase)}",
        "latency_ms": time and time.ms,
        "bound": time and time.bound,
        "share_of_peak": time and time.share_of_peak,
        "attentions": _attentions(passes, place),
        "ops": _ops(recording, saved or {}),
    }


def _in_phase(phase: str) -> str:
    return "" if phase == "forward" else f" ({phase})"


def _traffic(passes: TracedPasses, place: str) -> int:
    recordings: Iterable[Recording] = passes.step_recordings.get(place, ())
    if not passes.trace.step:
        recordings = (passes.recordings[place],)
    return sum(each.bytes_read + each.bytes_written for each in recordings)


def _attentions(passes: TracedPasses, place: str) -> tuple[AttentionReport, ...]:
    """The attention products of a place, by their names in it."""
    found = []
    for product in passes.products:
        if passes.places.of(passes.trace.forward[product.op]) == place:
            name = product.report.name.removeprefix(place).removeprefix(".")
            found.append(replace(product.report, name=name))
    return tuple(found)


def _layer(passes: TracedPasses, place: str, index: int, time: LayerTime | None) -> TracedLayer:
    part = _part(passes, place, time)
    attentions: tuple[AttentionReport, ...] = part["attentions"]
    main = max(attentions, key=lambda each: each.windows * each.queries * each.keys) if attentions else None
    words = dict.fromkeys(each.placement for each in attentions)
    return TracedLayer(
        **part,
        index=index,
        attention=main.attention if main else None,
        placement=" + ".join(words),
        windows=main.windows if main else None,
        window_tokens=main.queries if main else None,
        num_heads=main.num_heads if main else None,
        grid=_grid(passes, place),
        attention_bytes=passes.recordings[place].scores * _item_bytes(passes),
    )


def _grid(passes: TracedPasses, place: str) -> tuple[int, int] | None:
    """The grid of tokens that enters a layer: (B, H, W, C) says it; of (B, N, C) it is that of the image's proportions."""
    entering = next((op.entering for op in passes.recordings[place].ops if op.entering), ())
    if len(entering) == 4:  # noqa: PLR2004 - (B, H, W, C), or (B, C, H, W)
        return (entering[1], entering[2]) if entering[3] > entering[1] else (entering[2], entering[3])
    image = next((shape for shape in passes.trace.inputs.values() if len(shape) == 4), None)  # noqa: PLR2004
    if len(entering) != 3 or image is None:  # noqa: PLR2004 - (B, N, C)
        return None
    height, width = image[-2:]
    rows = round((entering[1] * height / width) ** 0.5)
    columns = rows * width // height
    return (rows, columns) if rows and rows * columns == entering[1] else None


def _ops(recording: Recording, saved: Mapping[str, int]) -> tuple[OpReport, ...]:
    return tuple(
        OpReport(
            name=op.name,
            kind=op.kind,
            macs=op.macs,
            flops=op.flops,
            elementwise_flops=op.elementwise_flops,
            params=op.params,
            bytes_read=op.bytes_read,
            bytes_written=op.bytes_written,
            requested_bytes=op.requested_bytes,
            saved_bytes=saved.get(op.name, 0),
        )
        for op in recording.ops
    )


def _item_bytes(passes: TracedPasses) -> int:
    return ITEM_BYTES.get(passes.trace.dtype, FLOAT32_BYTES)


def _totals(passes: TracedPasses, times: Mapping[str, LayerTime], device: Device | None) -> TracedTotals:
    recordings = list(passes.recordings.values())
    peak_at, peak = max(passes.moments.items(), key=lambda item: item[1].nbytes)
    training = passes.training_moments if passes.trace.step else {}
    at, highest = max(training.items(), key=lambda item: item[1].nbytes, default=(None, None))
    return TracedTotals(
        params=sum(prod(weight.shape) for weight in passes.trace.weights),
        macs=sum(each.macs for each in recordings),
        flops=sum(each.flops for each in recordings),
        elementwise_flops=sum(each.elementwise_flops for each in recordings),
        traffic_bytes=sum(_traffic(passes, place) for place in passes.recordings),
        attention_bytes=sum(product.scores for product in passes.products) * _item_bytes(passes),
        weights_bytes=sum(weight.nbytes for weight in passes.trace.weights),
        peak_bytes=peak.nbytes,
        peak_at=qualified(peak_at, peak.op),
        training_bytes=None if highest is None else highest.nbytes,
        training_at=None
        if highest is None or at is None
        else qualified(at, highest.op) + _in_phase(highest.phase),
        latency_ms=_whole_ms(passes, times, device),
    )


def qualified(place: str, op: str) -> str:
    """The name of an operation in the whole module."""
    return ".".join(filter(None, (place, op)))


def _whole_ms(passes: TracedPasses, times: Mapping[str, LayerTime], device: Device | None) -> float | None:
    """The time of a forward, or of a whole step with that of the optimizer."""
    if device is None:
        return None
    optimizer = _phase_ms(passes, "step", device) if passes.trace.step else None
    return sum(time.ms for time in times.values()) + (optimizer or 0.0)


def _shares(passes: TracedPasses) -> tuple[Share, ...]:
    """FLOPs by part, and in layers by what an operation does, from the largest to the smallest."""
    flops: Counter[str] = Counter()
    for place, recording in passes.recordings.items():
        for op in recording.ops:
            if op.flops:
                flops[_share_of(op, place) if place in passes.places.layers else place] += op.flops
    total = sum(flops.values())
    return tuple(Share(part, value, value / total) for part, value in flops.most_common())


def _share_of(op: Op, place: str) -> str:
    """What an operation of a layer does: attention, or its name without numbers."""
    name = op.name.partition(" ")[0]
    is_attention = op.kind == "sdpa" or name.rpartition(".")[2] in {SCORES, VALUES}
    return SCORES if is_attention else name or place


def _training(passes: TracedPasses, optimizer: str, device: Device | None) -> TrainingReport:
    at, highest = max(passes.training_moments.items(), key=lambda item: item[1].nbytes)
    phase_ms: Callable[[str], float | None] = lambda phase: _phase_ms(passes, phase, device)  # noqa: E731
    forward, backward = phase_ms("forward"), phase_ms("backward")
    return TrainingReport(
        optimizer=optimizer,
        checkpointing=False,
        checkpointed_blocks=(),
        weights_bytes=passes.weights_bytes,
        trained_params=passes.trained_params,
        gradients_bytes=passes.gradients_bytes,
        optimizer_bytes=passes.optimizer_bytes,
        kept_bytes=passes.kept_bytes,
        peak_bytes=highest.nbytes,
        peak_at=qualified(at, highest.op) + _in_phase(highest.phase),
        flops=sum(op.flops for op in passes.trace.step),
        forward_ms=forward,
        backward_ms=backward,
        optimizer_ms=phase_ms("step"),
        step_ms=None if forward is None else forward + (backward or 0) + (phase_ms("step") or 0),
    )


def _phase_ms(passes: TracedPasses, phase: str, device: Device | None) -> float | None:
    if device is None:
        return None
    from ...device.roofline import layer_time

    ops: Iterable[Op] = (op for run in passes.step if run.phase == phase for op in run.recording.ops)
    return layer_time([passes.optimizer_op] if phase == "step" else ops, device, run_of(passes)).ms


def _device(
    passes: TracedPasses, device: Device, total: float, times: Mapping[str, LayerTime]
) -> DeviceReport:
    from ...device.roofline import calibration
    from .in_memory import in_memory

    moments = passes.training_moments if passes.trace.step else passes.moments
    peak = max(moment.nbytes for moment in moments.values())
    measured = calibration(device, run_of(passes))
    used = in_memory(passes, device)
    return DeviceReport(
        name=device.name,
        description=device.description,
        memory_size=device.memory_size,
        usable_bytes=device.usable_bytes,
        context_bytes=device.reserved_bytes,
        spare_bytes=device.usable_bytes - (used.allocated if used else peak),
        allocated_bytes=used and used.allocated,
        reserved_bytes=used and used.reserved,
        nvidia_smi_bytes=used and used.reserved + device.reserved_bytes,
        fits=used.fits if used else peak <= device.usable_bytes,
        too_large=tuple(place for place, moment in moments.items() if moment.nbytes > device.usable_bytes),
        latency_ms=total,
        calibrated_share=sum(time.ms * time.calibrated_share for time in times.values()) / total
        if total
        else 1.0,
        recorded_on="" if measured is None else measured.recorded_on,
    )
