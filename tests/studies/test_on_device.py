"""Whether a run fits a device is what the caching allocator says of it, not the bytes that are live alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from samattn_cli import analyze, load_config, load_device
from samattn_cli.errors import UsageError
from samattn_cli.figures import IN_MEMORY, KINDS_AT_PEAK
from samattn_cli.files.load import parse_override
from samattn_cli.studies import on_device
from samattn_cli.studies.grid import Grid
from samattn_cli.studies.on_device import cuda_of, fits, fits_by_live, in_memory
from samattn_cli.studies.passes import Passes
from samattn_cli.studies.sweep import sweep
from samattn_cli.tape.requests import KINDS
from tests.support.sampling import sampled

A100 = load_device("a100_80")
VIT_B_STEP = 9_960_954_880
"""Bytes that torch 2.14.1 allocates in a training step of SAM ViT-B with AdamW, over the dry device of an A100."""


def with_memory(nbytes: int):
    return replace(A100, memory_bytes=nbytes + A100.reserved_bytes)


def test_a_training_step_takes_more_than_what_is_live() -> None:
    config = load_config("sam_vit_b", ["run.mode=training", "run.torch=2.14"])
    passes = Passes(config, A100)
    used = in_memory(passes, A100)
    assert used.allocated_bytes == VIT_B_STEP
    assert passes.peak_bytes < 0.92 * VIT_B_STEP
    between = with_memory((passes.peak_bytes + VIT_B_STEP) // 2)
    assert not fits(Passes(config, between), between)
    report = analyze(config, device=between, verify=False)
    assert (report.device.fits, report.device.allocated_bytes) == (False, VIT_B_STEP)
    assert report.device.too_large  # the part in which memory runs out
    assert report.device.spare_bytes < 0


def test_what_is_just_reserved_fits() -> None:
    passes = Passes(load_config("sam_vit_b"), A100)
    used = in_memory(passes, A100)
    assert used.reserved_bytes is not None
    exactly = with_memory(used.reserved_bytes)
    assert in_memory(Passes(passes.config, exactly), exactly).fits


def test_a_change_makes_it_fit_only_where_the_allocator_finds_room() -> None:
    config = load_config("sam_vit_b", ["run.mode=training"])
    changed = Passes(load_config("sam_vit_b", ["run.mode=training", "run.checkpointing=true"]), A100)
    live = with_memory(changed.peak_bytes)
    report = analyze(config, device=live, verify=False)
    checkpointing = next(change for change in report.changes if change.change == "checkpointing")
    assert (checkpointing.peak_bytes, checkpointing.fits) == (changed.peak_bytes, False)


NEAR = [
    ("sam_vit_b", "inference", 512),
    ("sam_vit_b", "training", 256),
    ("swin_t", "training", 224),
    ("sam2_hiera_t", "inference", 512),
    ("sam_vit_b", "inference --attention sdpa", 448),
]


@pytest.mark.parametrize(("name", "mode", "size"), sampled(NEAR, 6))
def test_a_sweep_says_what_an_analysis_says_around_the_edge(name, mode, size) -> None:
    """Of batches of 1 to 5, memory is made to end near what the third takes: live, allocated, and reserved."""
    mode, _, kernel = mode.partition(" --attention ")
    sets = [f"run.mode={mode}", f"image_size={size}", f"run.attention={kernel or 'eager'}"]
    third = Passes(load_config(name, [*sets, "run.batch_size=3"]), A100)
    used = third.in_memory
    assert used is not None
    assert used.usage is not None
    for memory in (third.peak_bytes, used.allocated_bytes, used.reserved_bytes - 1, used.reserved_bytes):
        device = with_memory(memory)
        grid = Grid(batch_sizes=(1, 2, 3, 4, 5))
        laid_over = [parse_override(text) for text in sets]
        swept = sweep([name], grid, ["flops"], laid_over=laid_over, device=device).columns["fits"].tolist()
        encoders = [load_config(name, [*sets, f"run.batch_size={batch}"]) for batch in grid.batch_sizes]
        assert swept == [in_memory(Passes(encoder), device).fits for encoder in encoders]
        assert swept == [fits(Passes(encoder), device) for encoder in encoders]
        assert swept[2] == in_memory(third, device).fits
    assert analyze(third.config, device=device, verify=False).device.fits  # all that is reserved


def test_a_sweep_says_that_a_batch_cannot_be_launched_as_an_analysis_does() -> None:
    """64 images of SAM 2 are 65,536 windows, one more than a grid of CUDA has in its second dimension; before torch 2.15."""
    sets = ["run.attention=sdpa", "run.dtype=bfloat16", "run.torch=2.14"]
    grid, h100 = Grid(batch_sizes=(63, 64)), load_device("h100")
    laid_over = [parse_override(text) for text in sets]
    swept = (
        sweep(["sam2_hiera_t"], grid, ["flops"], laid_over=laid_over, device=h100).columns["fits"].tolist()
    )
    configs = [load_config("sam2_hiera_t", [*sets, f"run.batch_size={batch}"]) for batch in (63, 64)]
    assert swept == [analyze(config, device=h100, verify=False).device.fits for config in configs]
    assert not all(swept)


def test_no_replay_where_live_bytes_show_whether_a_run_fits(monkeypatch) -> None:
    """A third of the memory is little enough; more than all of it is too much."""
    replays = []
    monkeypatch.setattr(on_device, "in_memory", lambda *given: replays.append(given))
    passes = Passes(load_config("vit_b"))
    assert fits(passes, with_memory(3 * passes.peak_bytes + (256 << 20)))
    assert not fits(passes, with_memory(passes.peak_bytes - 1))
    assert not replays


@pytest.mark.parametrize("name", ["sam2_hiera_t", "sam_vit_b", "swin_b", "mae_b_pretrain"])
@pytest.mark.parametrize("mode", ["inference", "training"])
def test_an_allocator_reserves_less_than_what_is_taken_as_certain_to_fit(name, mode) -> None:
    for batch in (1, 3):
        passes = Passes(load_config(name, [f"run.mode={mode}", f"run.batch_size={batch}"]), A100)
        assert not fits_by_live(passes.peak_bytes, passes.costs.reserved_bytes - 1)
        assert passes.costs.reserved_bytes <= 2 * passes.peak_bytes + (128 << 20)
        assert passes.peak_bytes <= passes.costs.allocated_bytes <= passes.costs.reserved_bytes


def test_the_kinds_at_the_peak_sum_to_what_is_allocated() -> None:
    report = analyze(load_config("sam_vit_b", ["run.mode=training"]), device=A100, verify=False)
    totals = report.totals
    assert sum(getattr(totals, figure) for figure in KINDS_AT_PEAK.values()) == totals.allocated_bytes
    assert tuple(KINDS_AT_PEAK) == KINDS
    assert totals.allocated_at == "blocks.11.attn.softmax.grad_input (backward)"
    assert report.device.nvidia_smi_bytes == totals.reserved_bytes + A100.reserved_bytes
    without = analyze(load_config("vit_b"), verify=False).totals
    assert {getattr(without, name) for name in IN_MEMORY} == {None}


def test_figures_of_a_run_in_memory_swept_and_why_not() -> None:
    grid = Grid(batch_sizes=(1, 2))
    columns = sweep(["vit_b"], grid, ["allocated_bytes", "peak_workspaces"], device=A100).columns
    second = Passes(load_config("vit_b", ["run.batch_size=2"]), A100).costs
    assert columns["allocated_bytes"][1] == second.allocated_bytes
    assert columns["peak_workspaces_bytes"][1] == second.peak_workspaces_bytes
    with pytest.raises(
        UsageError, match=r"vit_b: reserved_bytes needs a CUDA device: cpu .*\[needs-cuda-device\]"
    ):
        sweep(["vit_b"], grid, ["reserved_bytes"], device=load_device("cpu"))
    with pytest.raises(UsageError, match=r"20,000 points need a pass of their own.*\[too-many-replays\]"):
        sweep(["vit_b"], Grid(batch_sizes=tuple(range(1, 20_001))), ["allocated_bytes"], device=A100)


@pytest.mark.parametrize("name", ["cpu", "h100"])
def test_a_device_without_compute_capability_is_judged_by_what_is_live(name) -> None:
    device = load_device(name)
    used = in_memory(Passes(load_config("vit_b"), device), device)
    assert used.fits
    assert (used.allocated_bytes is None) == (cuda_of(device) is None) == (name == "cpu")


def test_a_finding_says_that_the_first_step_fits_and_later_ones_do_not() -> None:
    """A dry run of SAM ViT-H at 928 px on an RTX 4090 runs the first step, and runs out of memory in the second."""
    for step, name, says in (("first", "rtx_4090", 1), ("later", "rtx_4090", 1), ("first", "a100_80", 0)):
        sets = ["image_size=928", "run.mode=training", f"run.step={step}", "run.torch=2.14"]
        config = load_config("sam_vit_h", sets)
        report = analyze(config, device=load_device(name), verify=False)
        assert report.device.fits == (step == "first")
        found = [finding.message for finding in report.findings if finding.code == "first-step-differs"]
        assert len(found) == says
        assert all("(19.47 GiB)" in message and "(24.21 GiB)" in message for message in found)
