"""Which single change of an encoder, or of how it is run, would lower the peak of memory, and to what."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ..config.kernels import takes
from ..config.model import EncoderConfig
from ..report import Change
from .passes import Passes

KERNELS = ("sdpa", "fused")


def changes_of(passes: Passes) -> tuple[Change, ...]:
    """The changes that lower the peak of the run's mode, the best first."""
    now = passes.peak_bytes
    found = []
    for change, config, said in _candidates(passes.config):
        peak = Passes(config).peak_bytes
        found.append(Change(change, said, peak, 1 - peak / now))
    return tuple(
        sorted((change for change in found if change.peak_bytes < now), key=lambda change: change.peak_bytes)
    )


def _candidates(config: EncoderConfig) -> Iterator[tuple[str, EncoderConfig, tuple[str, ...]]]:
    """A change in words, the encoder with it, and what to set for it."""
    run, windowed = config.run, config.all_windowed()
    for kernel in KERNELS:
        if kernel != run.attention and takes(kernel, config) and not _same_as_sdpa(kernel, config):
            yield _run(config, f"{kernel} attention", attention=kernel)
    if run.dtype == "float32" and run.autocast == "none":
        yield _run(config, "bfloat16", dtype="bfloat16")
        if run.mode == "training":
            yield _run(config, "autocast to bfloat16", autocast="bfloat16")
    if run.mode == "training" and not run.checkpointing:
        yield _run(config, "checkpointing", checkpointing=True)
    if windowed != config:
        keys = ("global_attn_indexes",) if len(config.stages) == 1 else _per_stage(config)
        yield "no global layer", windowed, tuple(f"{key}=[]" for key in keys)


def _same_as_sdpa(kernel: str, config: EncoderConfig) -> bool:
    """Without relative positions there is nothing to fold."""
    return kernel == "fused" and all(stage.rel_pos == "none" for stage in config.stages)


def _per_stage(config: EncoderConfig) -> tuple[str, ...]:
    stages = enumerate(config.stages)
    return tuple(f"stages.{i}.global_attn_indexes" for i, stage in stages if stage.global_attn_indexes)


def _run(config: EncoderConfig, change: str, **keys: Any) -> tuple[str, EncoderConfig, tuple[str, ...]]:
    said = tuple(f"run.{key}={str(value).lower()}" for key, value in keys.items())
    return change, replace(config, run=replace(config.run, **keys)), said
