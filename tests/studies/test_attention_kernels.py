"""The attention kernel of each layer in reports, and sizes that CUDA cannot launch.

A window of SAM 2's first stage is 8x8 tokens of a grid of 256x256: 1,024 windows an image, so that 64 images are 65,536.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from samattn_cli import Grid, load_config, load_device, sweep
from samattn_cli.encoder.model import EncoderConfig
from samattn_cli.files.load import Override
from samattn_cli.studies.analyze import analyze
from samattn_cli.studies.explain import explain
from samattn_cli.studies.fit import Asked, fit
from samattn_cli.studies.on_device import fits, in_bytes, in_memory, on
from samattn_cli.studies.passes import Passes
from tests.support.sampling import sampled

H100, A100, T4 = map(load_device, ("h100", "a100_80", "t4"))
LARGE = replace(A100, memory_bytes=1 << 50)


def config(preset: str, **run) -> EncoderConfig:
    loaded = load_config(preset)
    return replace(loaded, run=replace(loaded.run, attention="sdpa", **run))


def kernels(preset: str, device=None, **run) -> dict[str, list[str]]:
    report = analyze(config(preset, **run), device=device, verify=False)
    found: dict[str, list[str]] = {}
    for kernel in report.attention_kernels:
        found.setdefault(kernel.kernel, []).extend(kernel.layers)
    return found


@pytest.mark.parametrize("device", sampled([H100, A100], 2), ids=lambda device: device.name)
def test_a_batch_that_flash_cannot_launch_is_not_named_as_fitting(device) -> None:
    asked = Asked(vary=("batch_size",), modes=("inference",), kernels=("sdpa",))
    (answer,) = fit(config("sam2_hiera_t", dtype="bfloat16", torch="2.14"), device, asked).answers
    assert answer.label == "63"
    assert answer.next is not None
    assert (answer.next.batch_size, answer.next.fits, answer.next.too_large) == (64, False, ())
    assert answer.next.stopped_at == "blocks.0.attn.sdpa"
    assert all(number in answer.next.refused for number in ("65,536", "65,535", "batch_size 63"))


@pytest.mark.parametrize(
    ("dtype", "batch", "runs"), [("bfloat16", 63, True), ("bfloat16", 64, False), ("float32", 65, True)]
)
def test_memory_efficient_attention_takes_a_large_batch_in_parts(dtype, batch, runs) -> None:
    passes = Passes(config("sam2_hiera_t", dtype=dtype, batch_size=batch, torch="2.14"))
    assert fits(passes, LARGE) is runs
    assert in_memory(passes, LARGE).fits is runs
    assert in_bytes(passes, 1 << 50).fits is runs
    assert bool(in_memory(passes, LARGE).refused) is not runs


def test_a_batch_in_parts_takes_what_torch_takes() -> None:
    """As the dry device counted it: `samattn measure sam2_hiera_t --attention sdpa --batch-size 65` in float32."""
    passes = Passes(config("sam2_hiera_t", batch_size=65, torch="2.14"))
    assert in_memory(passes, LARGE).allocated_bytes == 20_565_879_296


def test_torch_has_no_backward_of_a_batch_in_parts_with_a_mask_that_trains() -> None:
    """Swin's relative positions are such a mask; 1,024 images are 65,536 windows of its first stage."""
    for batch, refused in ((1_023, False), (1_024, True)):
        step = Passes(config("swin_t", mode="training", batch_size=batch, torch="2.14"))
        assert (step.refused is not None) is refused
        assert Passes(config("swin_t", batch_size=batch, torch="2.14")).refused is None
    name, why = step.refused or ("", None)
    assert name.startswith("blocks.")
    assert "backward" in str(why and why.in_words)


@pytest.mark.parametrize(("torch", "kernel"), [("2.14", "flash"), ("2.15", "efficient")])
def test_each_layer_has_its_own_kernel(torch, kernel) -> None:
    """Of 64 images, cuDNN takes the 65,536 windows of no layer of stages 0 and 1; those of later layers are fewer."""
    found = kernels("sam2_hiera_t", H100, dtype="bfloat16", batch_size=64, torch=torch)
    assert found == {
        kernel: [f"blocks.{number}" for number in range(4)],
        "cudnn": [f"blocks.{number}" for number in range(4, 12)],
    }


@pytest.mark.parametrize(
    ("preset", "device", "dtype", "kernel"),
    [
        ("sam2_hiera_t", A100, "bfloat16", "flash"),
        ("sam2_hiera_t", H100, "bfloat16", "cudnn"),
        ("sam2_hiera_t", H100, "float32", "efficient"),
        ("sam2_hiera_t", T4, "float16", "efficient"),
        ("sam_vit_b", A100, "bfloat16", "efficient"),
        ("sam_vit_b", H100, "bfloat16", "cudnn"),
        ("sam_vit_b", None, "bfloat16", "efficient"),
    ],
)
def test_the_device_decides(preset, device, dtype, kernel) -> None:
    assert list(kernels(preset, device, dtype=dtype)) == [kernel]


def test_cudnn_takes_no_mask_that_trains() -> None:
    assert list(kernels("sam_vit_b", H100, dtype="bfloat16", mode="training")) == ["efficient"]


def test_findings() -> None:
    def codes(device, **run) -> set[str]:
        encoder = config("sam2_hiera_t", dtype="bfloat16", torch="2.14", **run)
        report = analyze(encoder, device=device, verify=False)
        return {finding.code for finding in report.findings}

    ours = {"attention-kernel", "cannot-be-launched", "cudnn-workspace"}
    assert codes(A100) & ours == {"attention-kernel"}
    assert codes(H100) & ours == {"attention-kernel", "cudnn-workspace"}
    assert codes(H100, batch_size=64) & ours == ours
    assert not analyze(load_config("sam_vit_b"), verify=False).attention_kernels


def test_operations_and_explanations_say_the_kernel() -> None:
    encoder = config("sam_vit_b", dtype="bfloat16")
    (op,) = (op for op in analyze(encoder, verify=False).layers[2].ops if op.attention_kernel)
    assert op.name == "attn.sdpa"
    assert op.attention_kernel.startswith("memory-efficient, because flash takes no mask")
    lines = explain(encoder, "2.attn.sdpa").kernels
    assert [("cuDNN" in line, "9.0" in line) for line in lines] == [(False, False)] * (len(lines) - 1) + [
        (True, True)
    ]
    assert explain(encoder, "2.attn.qkv").kernels == ()


def test_a_device_without_a_compute_capability_keeps_the_kernels_of_an_a100() -> None:
    passes = Passes(config("sam2_hiera_t", dtype="bfloat16", batch_size=64))
    cpu = load_device("cpu")
    assert on(passes, cpu) is passes
    assert fits(passes, replace(cpu, memory_bytes=1 << 50))
    assert in_memory(passes, replace(cpu, memory_bytes=1 << 50)).refused == ""


def test_a_sweep_says_that_a_batch_cannot_be_launched() -> None:
    """63 images are launched, 64 are not; in float32 memory-efficient attention takes both."""
    grid = Grid(batch_sizes=(1, 63, 64))
    for dtype, fitting in (("bfloat16", [True, True, False]), ("float32", [True, True, True])):
        laid_over = [Override("run.dtype", dtype, "test"), Override("run.torch", "2.14", "test")]
        report = sweep(["sam2_hiera_t"], grid, ["macs"], laid_over=laid_over, device=LARGE)
        assert report.columns["fits"].tolist() == fitting
