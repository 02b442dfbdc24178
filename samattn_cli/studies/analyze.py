"""What each layer of one encoder costs, what its windows save, and whether it fits a device."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..encoder.model import EncoderConfig
from ..encoder.registry import REFERENCE
from ..records import replace
from ..reports.analysis import (
    Analysis,
    Comparison,
    Comparisons,
    DeviceReport,
    Figures,
    Finding,
    MemoryReport,
    Totals,
    TrainingReport,
)
from ..reports.memory_timeline import MemoryTimeline
from ..reports.op_span import OpSpan
from ..reports.other_sizes import OtherSizes
from ..verdicts import CrossCheck
from .against_published import published
from .arguments import check_asked
from .attention_kernels import attention_kernels, findings_of
from .changes import changes_of, fix_of, in_its_memory, pairs_of
from .communication import communication
from .convolution_workspace import of_convolutions
from .findings import findings, fitting, lacks, steps_differ
from .installed_torch import of_installed_torch
from .layers import layers_of, parts_of, shares_of
from .on_device import in_bytes
from .passes import Passes
from .readers import COMPARED
from .recorded import measured
from .verify import verify as run_crosscheck

if TYPE_CHECKING:
    from ..device.model import Device

NOT_ASKED = CrossCheck.not_run("skipped", "not asked for")


def analyze(
    config: EncoderConfig,
    *,
    device: Device | None = None,
    memory: int | None = None,
    verify: bool = True,
    sizes: bool = False,
    timeline: bool = False,
    spans: bool = False,
) -> Analysis:
    """Analyze one encoder.

    Args:
        config: the encoder.
        device: the device that it runs on, for times and whether it fits (see `load_device`).
        memory: the bytes that a run may take, for whether it fits; of a device, its own memory counts.
        verify: also cross-check the figures against the real stack (needs the extra "torch").
        sizes: also say which other image sizes the weights take.
        timeline: also say what is live over the pass, allocation by allocation.
        spans: also say when each operation runs on the device.

    Returns:
        Parameters, MACs, FLOPs, memory and time by layer and in total, compared with the all-global and the all-windowed
        encoder, with findings and the verdicts of the cross-check.

    Raises:
        UsageError: if the device cannot compute in the type of the run.
    """
    check_asked("analyze", config, device)
    passes = Passes(config, device)
    layers = layers_of(passes)
    totals = _totals(passes)
    comparison = Comparisons(
        vs_all_global=_compare(passes, passes.all_global),
        vs_all_window=_compare(passes, passes.all_windowed) if passes.all_windowed else None,
    )
    changes = changes_of(passes, memory)
    where = None if device is None else _device(passes, device)
    within = None if memory is None or device is not None else _memory(passes, memory)
    room = where or within
    pairs = pairs_of(passes, memory) if lacks(room) and not any(change.fits for change in changes) else ()
    fix = fix_of(changes, pairs) if lacks(room) else None
    is_pair = fix in pairs
    fix = None if fix is None else in_its_memory(fix, passes)
    kernels = attention_kernels(passes, device)
    of_kernels = findings_of(passes, device, kernels)
    return Analysis(
        config=config,
        totals=totals,
        layers=layers,
        parts=parts_of(passes),
        shares=shares_of(passes),
        comparison=comparison,
        training=_training(passes),
        changes=changes,
        findings=(
            *findings(config, layers, totals, comparison, changes, _of_reference(config)),
            *fitting(room, fix, is_pair=is_pair),
            *of_kernels,
            *of_convolutions(passes, device),
            *of_installed_torch(passes),
            *_steps(passes, where),
            *_spreading(passes),
        ),
        crosscheck=run_crosscheck(config, every_layer=False) if verify else NOT_ASKED,
        device=where,
        communication=communication(passes),
        measured=measured(config, lambda: replace(passes, on_cpu=True).peak_bytes),
        published=published(config),
        attention_kernels=kernels,
        memory=within,
        fix=fix,
        other_sizes=_other_sizes(config) if sizes else None,
        timeline=_timeline(passes) if timeline else None,
        op_spans=_spans(passes) if spans else None,
    )


def _of_reference(config: EncoderConfig) -> Figures | None:
    """The figures of the reference, if the encoder has another implementation."""
    if config.implementation == REFERENCE:
        return None
    return Passes(replace(config, implementation=REFERENCE)).figures


def _other_sizes(config: EncoderConfig) -> OtherSizes:
    from ..tape.other_sizes import other_sizes

    return other_sizes(config)


def _timeline(passes: Passes) -> MemoryTimeline:
    from .memory_timeline import memory_timeline

    return memory_timeline(passes)


def _spans(passes: Passes) -> tuple[OpSpan, ...]:
    from .op_spans import op_spans

    return op_spans(passes)


def _spreading(passes: Passes) -> Iterator[Finding]:
    """The findings about a step on several GPUs."""
    if passes.trains and passes.config.run.gpus > 1:
        from .spreading_findings import of_spreading

        yield from of_spreading(passes)


def _steps(passes: Passes, where: DeviceReport | None) -> tuple[Finding, ...]:
    """A finding where the first training step fits the device, and later ones do not.

    Later steps run after the first: if they fit, it fits, and if it does not, they do not.
    """
    run = passes.config.run
    if where is None or where.allocated_bytes is None or not passes.trains:
        return ()
    if where.fits == (run.step == "later"):
        return ()
    other = replace(run, step="later" if run.step == "first" else "first")
    used = Passes(replace(passes.config, run=other), passes.device).in_memory
    return (
        () if used is None or where.refused or used.fits == where.fits else (steps_differ(where, run, used),)
    )


def _totals(passes: Passes) -> Totals:
    return Totals(
        **vars(passes.costs),
        peak_at=passes.peak_at,
        training_at=passes.step.peak_at,
        allocated_at=passes.allocated_at,
    )


def _compare(this: Passes, other: Passes) -> Comparison:
    return Comparison(
        **vars(other.figures), **{name: compared(this, other) for name, compared in COMPARED.items()}
    )


def _training(passes: Passes) -> TrainingReport:
    step, run = passes.step, passes.config.run
    return TrainingReport(
        optimizer=run.optimizer,
        checkpointing=bool(passes.config.checkpointed),
        checkpointed_blocks=tuple(
            layer.name for layer in passes.config.layers if layer.name in passes.config.checkpointed
        ),
        weights_bytes=step.weights_bytes,
        trained_params=step.trained_params,
        gradients_bytes=step.gradients_bytes,
        optimizer_bytes=step.optimizer_bytes,
        kept_bytes=step.kept_bytes,
        peak_bytes=step.peak_bytes,
        peak_at=step.peak_at,
        flops=step.flops,
        forward_ms=passes.phase_ms("forward"),
        backward_ms=passes.phase_ms("backward"),
        optimizer_ms=passes.phase_ms("step"),
        step_ms=passes.latency.ms if passes.latency and passes.trains else None,
        recomputed_flops=step.recomputed_flops,
        recomputed_ms=passes.recomputed_ms,
        buckets_bytes=step.buckets_bytes,
        average_bytes=step.average_bytes,
    )


def _memory(passes: Passes, usable_bytes: int) -> MemoryReport:
    used = in_bytes(passes, usable_bytes)
    return MemoryReport(
        usable_bytes=usable_bytes,
        spare_bytes=usable_bytes - passes.peak_bytes,
        fits=used.fits,
        too_large=tuple(passes.larger_than(usable_bytes)),
        refused=used.refused,
        stopped_at=passes.stopped_at(usable_bytes),
    )


def _device(passes: Passes, device: Device) -> DeviceReport:
    from ..device.roofline import calibration

    time, used = passes.latency, passes.in_memory
    measured_on = calibration(device, passes.config.run)
    assert time is not None  # noqa: S101 - for the type checker: there is a device
    assert used is not None  # noqa: S101 - the same
    return DeviceReport(
        name=device.name,
        description=device.description,
        memory_size=device.memory_size,
        usable_bytes=device.usable_bytes,
        context_bytes=device.reserved_bytes,
        spare_bytes=device.usable_bytes - (used.allocated_bytes or passes.peak_bytes),
        allocated_bytes=used.allocated_bytes,
        reserved_bytes=used.reserved_bytes,
        nvidia_smi_bytes=None if used.reserved_bytes is None else used.reserved_bytes + device.reserved_bytes,
        fits=used.fits,
        too_large=tuple(passes.larger_than(device.usable_bytes)) or used.too_large,
        latency_ms=time.ms,
        calibrated_share=time.calibrated_share,
        recorded_on="" if measured_on is None else measured_on.recorded_on,
        refused=used.refused,
        stopped_at=passes.stopped_at(device.usable_bytes) or used.stopped_at,
    )
