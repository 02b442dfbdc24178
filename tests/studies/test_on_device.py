"""Whether a run fits a device is what the caching allocator says of it, not the bytes that are live alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from samattn_cli import analyze, load_config, load_device
from samattn_cli.studies.on_device import cuda_of, fits, in_memory
from samattn_cli.studies.passes import Passes

A100 = load_device("a100_80")
VIT_B_STEP = 9_960_954_880
"""Bytes that torch 2.14.1 allocates in a training step of SAM ViT-B with AdamW, over the dry device of an A100."""


def with_memory(nbytes: int):
    return replace(A100, memory_bytes=nbytes + A100.reserved_bytes)


def test_a_training_step_takes_more_than_what_is_live() -> None:
    config = load_config("sam_vit_b", ["run.mode=training"])
    passes = Passes(config, A100)
    used = in_memory(passes, A100)
    assert used.peak_allocated_bytes == VIT_B_STEP
    assert passes.peak_bytes < 0.92 * VIT_B_STEP
    between = with_memory((passes.peak_bytes + VIT_B_STEP) // 2)
    assert not fits(Passes(config, between), between)
    report = analyze(config, device=between, verify=False)
    assert (report.device.fits, report.device.peak_allocated_bytes) == (False, VIT_B_STEP)
    assert report.device.too_large  # the part in which memory runs out
    assert report.device.spare_bytes < 0


def test_what_is_just_reserved_fits() -> None:
    passes = Passes(load_config("sam_vit_b"), A100)
    used = in_memory(passes, A100)
    assert used.peak_reserved_bytes is not None
    exactly = with_memory(used.peak_reserved_bytes)
    assert in_memory(Passes(passes.config, exactly), exactly).fits


def test_a_change_makes_it_fit_only_where_the_allocator_finds_room() -> None:
    config = load_config("sam_vit_b", ["run.mode=training"])
    changed = Passes(load_config("sam_vit_b", ["run.mode=training", "run.checkpointing=true"]), A100)
    live = with_memory(changed.peak_bytes)
    report = analyze(config, device=live, verify=False)
    checkpointing = next(change for change in report.changes if change.change == "checkpointing")
    assert (checkpointing.peak_bytes, checkpointing.fits) == (changed.peak_bytes, False)


@pytest.mark.parametrize("name", ["cpu", "h100"])
def test_a_device_without_compute_capability_is_judged_by_what_is_live(name) -> None:
    device = load_device(name)
    used = in_memory(Passes(load_config("vit_b"), device), device)
    assert used.fits
    assert (used.peak_allocated_bytes is None) == (cuda_of(device) is None) == (name == "cpu")
