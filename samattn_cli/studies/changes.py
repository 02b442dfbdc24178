"""Single changes of an encoder, or of how it is run, that lower its peak memory, and the peak with each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from ..encoder.kernels import takes
from ..encoder.model import EncoderConfig
from ..encoder.plan_rules import is_valid
from ..encoder.registry import REFERENCE
from ..records import replace
from ..reports.analysis import Change
from .on_device import fits, in_bytes, on
from .passes import Passes

if TYPE_CHECKING:
    from ..device.model import Device

Candidate = tuple[str, EncoderConfig, tuple[str, ...]]
"""A change in words, the encoder with it, and the settings that make it."""

KERNELS = ("sdpa", "fused")
LEAST_SAVING = 0.001


def changes_of(passes: Passes, memory: int | None = None) -> tuple[Change, ...]:
    """The single changes that lower the peak of the run's mode, from the best to the worst.

    Whether each fits is for the device of the passes or, without one, for `memory` bytes.
    """
    return _worth(passes, candidates(passes.config), memory)


def pairs_of(passes: Passes, memory: int | None = None) -> tuple[Change, ...]:
    """Pairs of changes of how the encoder is run, from the best to the worst, for when no single change makes it fit."""
    return _worth(passes, _pairs(passes.config), memory)


def _pairs(config: EncoderConfig) -> Iterator[Candidate]:
    return (
        (f"{first} and {second}", both, (*settings, *more))
        for first, changed, settings in candidates(config)
        for second, both, more in candidates(changed)
        if both.stages == config.stages and settings < more
    )


def fix_of(changes: Sequence[Change], pairs: Sequence[Change]) -> Change | None:
    """The best single change that fits, or else the best pair; a change of the model only if nothing else fits.

    If it is enough to checkpoint the global blocks, the others are not checkpointed.
    """
    of_run = [change for change in changes if change.keeps_model]
    return _first_that_fits(of_run) or _first_that_fits(changes) or _first_that_fits(pairs)


def in_its_memory(change: Change, passes: Passes) -> Change:
    """A change with what the allocator allocates and reserves on the device of the passes, as `samattn fit` gives it."""
    tried = chain(candidates(passes.config), _pairs(passes.config))
    config = next(config for _, config, settings in tried if settings == change.set)
    used = on(Passes(config, passes.device), passes.device).room
    if used is None:
        return change
    return replace(change, allocated_bytes=used.allocated_bytes, reserved_bytes=used.reserved_bytes)


def _first_that_fits(changes: Sequence[Change]) -> Change | None:
    fitting = [change for change in changes if change.fits]
    best = next(iter(fitting), None)
    if best is None:
        return None
    fewer = {
        "run.checkpointing=global" if setting == "run.checkpointing=true" else setting for setting in best.set
    }
    return next((change for change in fitting if set(change.set) == fewer), best)


def _worth(passes: Passes, candidates: Iterable[Candidate], memory: int | None) -> tuple[Change, ...]:
    now = passes.peak_bytes
    changes = []
    for change, config, settings in candidates:
        changed = Passes(config)
        peak = changed.peak_bytes
        fits = _fits(changed, passes.device, memory)
        changes.append(Change(change, settings, peak, 1 - peak / now, fits))
    worth = (change for change in changes if change.peak_bytes_saving >= LEAST_SAVING)
    return tuple(sorted(worth, key=lambda change: change.peak_bytes))


def _fits(passes: Passes, device: Device | None, memory: int | None) -> bool | None:
    """Whether a run fits a device or, without one, `memory` bytes; None without either."""
    if device is not None:
        return fits(passes, device)
    return None if memory is None else in_bytes(passes, memory).fits


def candidates(config: EncoderConfig) -> Iterator[Candidate]:
    """A change in words, the encoder with it, and the settings that make it; of encoders that are valid."""
    return (candidate for candidate in _candidates(config) if is_valid(candidate[1]))


def _candidates(config: EncoderConfig) -> Iterator[Candidate]:
    run = config.run
    if config.implementation != REFERENCE:
        changed = replace(config, implementation=REFERENCE)
        yield "the reference's code", changed, (f"implementation={REFERENCE}",)
    for kernel in KERNELS:
        if kernel != run.attention and takes(kernel, config) and not same_as_sdpa(kernel, config):
            yield _run(config, f"{kernel} attention", attention=kernel)
    if run.dtype == "float32" and run.autocast == "none":
        yield _run(config, "bfloat16", dtype="bfloat16")
        if run.is_fsdp and run.param_dtype == "none":
            yield _run(config, "gathered in bfloat16", param_dtype="bfloat16")
        elif run.mode == "training" and not run.is_fsdp:
            yield _run(config, "autocast to bfloat16", autocast="bfloat16")
    if run.mode == "training" and not run.checkpointing:
        if config.implementation == REFERENCE and len({layer.is_global for layer in config.kinds}) > 1:
            yield _run(config, "checkpointing (global)", checkpointing="global")
        yield _run(config, "checkpointing", checkpointing=True)
    if settings := tuple(_windowing(config)):
        yield "no global layer", config.all_windowed(), settings


def same_as_sdpa(kernel: str, config: EncoderConfig) -> bool:
    """Whether `kernel` does the same as sdpa: without relative positions, "fused" has nothing to fold in."""
    return kernel == "fused" and all(stage.rel_pos == "none" for stage in config.stages)


def _windowing(config: EncoderConfig) -> Iterator[str]:
    """The settings that make every block windowed that can be."""
    for number, stage in enumerate(config.stages):
        own = "" if len(config.stages) == 1 else f"stages.{number}."
        if stage.global_attn_indexes:
            yield f"{own}global_attn_indexes=none"
        if not stage.placement.is_global:
            for at, override in enumerate(stage.overrides):
                if override.placement is not None and override.placement.is_global:
                    yield f"{own}overrides.{at}.{stage.placement.setting}"


def _run(config: EncoderConfig, change: str, **keys: Any) -> Candidate:
    settings = tuple(f"run.{key}={str(value).lower()}" for key, value in keys.items())
    return change, replace(config, run=replace(config.run, **keys)), settings
