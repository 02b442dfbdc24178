"""Which single change of an encoder, or of how it is run, would lower the peak of memory, and to what."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from ..encoder.kernels import takes
from ..encoder.model import EncoderConfig
from ..reports.analysis import Change
from .passes import Passes

Candidate = tuple[str, EncoderConfig, tuple[str, ...]]
"""A change in words, the encoder with it, and what to set for it."""

KERNELS = ("sdpa", "fused")
LEAST_SAVING = 0.001


def changes_of(passes: Passes) -> tuple[Change, ...]:
    """The single changes that lower the peak of the run's mode, the best first."""
    return _worth(passes, _candidates(passes.config))


def pairs_of(passes: Passes) -> tuple[Change, ...]:
    """Two changes of how the encoder is run at once, the best first: for a device that no single change makes it fit."""
    pairs = [
        (f"{first} and {second}", config, (*said, *also))
        for first, changed, said in _candidates(passes.config)
        for second, config, also in _candidates(changed)
        if config.stages == passes.config.stages and said < also
    ]
    return _worth(passes, pairs)


def _worth(passes: Passes, candidates: Iterable[Candidate]) -> tuple[Change, ...]:
    now, device = passes.peak_bytes, passes.device
    found = []
    for change, config, said in candidates:
        peak = Passes(config).peak_bytes
        fits = None if device is None else peak <= device.usable_bytes
        found.append(Change(change, said, peak, 1 - peak / now, fits))
    worth = (change for change in found if change.peak_bytes_saving >= LEAST_SAVING)
    return tuple(sorted(worth, key=lambda change: change.peak_bytes))


def _candidates(config: EncoderConfig) -> Iterator[Candidate]:
    """A change in words, the encoder with it, and what to set for it."""
    run = config.run
    for kernel in KERNELS:
        if kernel != run.attention and takes(kernel, config) and not _same_as_sdpa(kernel, config):
            yield _run(config, f"{kernel} attention", attention=kernel)
    if run.dtype == "float32" and run.autocast == "none":
        yield _run(config, "bfloat16", dtype="bfloat16")
        if run.mode == "training":
            yield _run(config, "autocast to bfloat16", autocast="bfloat16")
    if run.mode == "training" and not run.checkpointing:
        yield _run(config, "checkpointing", checkpointing=True)
    if said := tuple(_windowing(config)):
        yield "no global layer", config.all_windowed(), said


def _same_as_sdpa(kernel: str, config: EncoderConfig) -> bool:
    """Without relative positions there is nothing to fold."""
    return kernel == "fused" and all(stage.rel_pos == "none" for stage in config.stages)


def _windowing(config: EncoderConfig) -> Iterator[str]:
    """What to set for every block to be windowed that can be."""
    for number, stage in enumerate(config.stages):
        own = "" if len(config.stages) == 1 else f"stages.{number}."
        if stage.global_attn_indexes:
            yield f"{own}global_attn_indexes=none"
        if not stage.placement.is_global:
            for at, override in enumerate(stage.overrides):
                if override.placement is not None and override.placement.is_global:
                    yield f"{own}overrides.{at}.{stage.placement.setting}"


def _run(config: EncoderConfig, change: str, **keys: Any) -> Candidate:
    said = tuple(f"run.{key}={str(value).lower()}" for key, value in keys.items())
    return change, replace(config, run=replace(config.run, **keys)), said
