"""`samattn measure --compile`: what it needs, what its recordings are not mixed with, and runs over the dry device."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.utils import _triton

from samattn_cli import load_config, load_device
from samattn_cli.encoder.hash import config_hash
from samattn_cli.errors import DeviceError, RecordingError, UsageError
from samattn_cli.gate.lookup import MetricError
from samattn_cli.gate.recordings import Recordings
from samattn_cli.render.measured import render_recording
from samattn_cli.render.options import Options
from samattn_cli.reports.recording import MeasuredCase, Measurement, Recording
from samattn_cli.reports.text import to_json
from samattn_cli.stack import compiled, fingerprint
from samattn_cli.studies.calibrate import calibrate_device
from samattn_cli.studies.judge import judge
from samattn_cli.studies.measure import start
from tests.device.test_dry import A100, CUDA_BUILD
from tests.support.running import samattn

TINY = {
    "image_size": 64, "patch_size": 8, "embed_dim": 64, "depth": 2, "num_heads": 2, "window_size": 3,
    "global_attn_indexes": [1], "rel_pos": "decomposed", "neck": "sam", "out_chans": 16,
}  # fmt: skip


def recording(mode: str) -> Recording:
    """SAM ViT-B in bfloat16, batch 8, compiled on an A100: 4,671.6 MiB."""
    config = load_config("sam_vit_b", ["run.dtype=bfloat16", "run.batch_size=8"])
    measured = Measurement(245_000_000, 4_898_500_000, 5_043_650_560, 0, 8_519_680, (), None, ())
    case = MeasuredCase(
        config=config,
        config_hash=config_hash(config),
        predicted_bytes=None,
        measured_at="",
        status="measured",
        measured=measured,
    )
    return Recording(fingerprint=replace(A100, compiled=mode), cases=(case,))


@pytest.fixture
def able(monkeypatch):
    """A machine that has all that torch.compile needs."""
    monkeypatch.setattr(compiled, "find_spec", lambda _: SimpleNamespace())
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(_triton, "has_triton", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (6, 1))
    monkeypatch.delenv("CC", raising=False)
    compiled.check_compiles("cuda")


@pytest.mark.usefixtures("able")
@pytest.mark.parametrize(
    ("module", "name", "replacement", "code"),
    [
        (compiled, "find_spec", lambda _: None, "no-triton"),
        (shutil, "which", lambda _: None, "no-compiler"),
        (_triton, "has_triton", lambda: False, "not-for-device"),
    ],
)
def test_what_torch_compile_needs(monkeypatch, module, name, replacement, code) -> None:
    monkeypatch.setattr(module, name, replacement)
    with pytest.raises(DeviceError) as error:
        compiled.check_compiles("cuda")
    assert error.value.codes == (code,)


@pytest.mark.usefixtures("able")
def test_a_compiler_that_cc_names_and_that_is_not_there(monkeypatch) -> None:
    monkeypatch.setenv("CC", "/opt/cc")
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "/opt/cc" else name)
    with pytest.raises(DeviceError, match="CC=/opt/cc"):
        compiled.check_compiles("cuda")


@pytest.mark.parametrize(
    ("capability", "runs"),
    [((6, 1), False), ((7, 5), True), ((8, 9), True), ((11, 0), False), ((12, 1), True)],
)
def test_kernels_run_on_later_devices_of_a_major_version(monkeypatch, capability, runs) -> None:
    """torch 2.14.1+cu130 is built for these."""
    built = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"]
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: built)
    if runs:
        fingerprint._check_kernels(*capability)
        return
    with pytest.raises(DeviceError, match=r"\d+\.\d; .*sm_120") as error:
        fingerprint._check_kernels(*capability)
    assert error.value.codes == ("no-kernels",)


def test_ptx_runs_on_all_later_devices(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_80", "compute_90"])
    fingerprint._check_kernels(10, 0)
    with pytest.raises(DeviceError):
        fingerprint._check_kernels(7, 5)


def test_a_compiled_recording_is_not_continued_with_another_mode_or_eager(tmp_path) -> None:
    file = tmp_path / "compiled.json"
    file.write_text(to_json(recording("default")), "utf-8")
    assert start(replace(A100, compiled="default"), file).cases
    for mode in ("reduce-overhead", ""):
        with pytest.raises(RecordingError, match="compiled 'default' there") as error:
            start(replace(A100, compiled=mode), file)
        assert error.value.codes == ("recordings-differ",)


def test_a_recording_from_before_is_of_eager_passes(tmp_path) -> None:
    written = json.loads(to_json(recording("")))
    del written["fingerprint"]["compiled"]
    (tmp_path / "old.json").write_text(json.dumps(written), "utf-8")
    assert start(A100, tmp_path / "old.json").cases


def test_what_samattn_derives_is_not_compared_with_compiled_passes(tmp_path) -> None:
    made = recording("default")
    with pytest.raises(UsageError, match=r"torch\.compile"):
        judge({Path("made.json"): made})
    with pytest.raises(RecordingError) as error:
        calibrate_device(load_device("a100_80"), {Path("made.json"): replace(made, fingerprint=cuda(made))})
    assert error.value.codes == ("compiled-recording",)
    (tmp_path / "made.json").write_text(to_json(made), "utf-8")
    with pytest.raises(MetricError) as missing:
        list(Recordings((tmp_path / "made.json",)).readings(made.cases[0].config, None, "peak_bytes"))
    assert "no recording matches" in str(missing.value)


def cuda(made: Recording):
    return replace(made.fingerprint, kind="cuda")


def test_the_table_says_what_compiled_figures_are() -> None:
    shown, graphs = (
        " ".join(render_recording(recording(mode), Options(width=100)).split())
        for mode in ("default", "reduce-overhead")
    )
    assert "4.56 GiB" in shown
    assert "compiled (default)" in shown
    assert "has no layers" in shown
    assert "CUDA graphs" in graphs
    assert "CUDA graphs" not in shown


@pytest.mark.parametrize(
    ("words", "code"),
    [(("--device", "cpu", "--compile"), "cuda-only"), (("--compile-mode", "fastest"), "unknown-mode")],
)
def test_options_that_do_not_go(words, code, tmp_path) -> None:
    done = samattn("measure", "vit_b", *words, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith(f" [{code}]\n")


@CUDA_BUILD
def test_a_compiled_dry_run(tmp_path) -> None:
    """CUDA graphs: a pass allocates nothing but what is kept, and the pool of the graphs is reserved."""
    (tmp_path / "tiny.yaml").write_text(json.dumps(TINY), "utf-8")
    words = ("measure", "tiny.yaml", "--device", "dry", "--compile", "--compile-mode")
    done = samattn(*words, "reduce-overhead", "-o", "c.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "no layers" in done.stderr
    assert "CUDA graphs" in done.stderr
    made = json.loads((tmp_path / "c.json").read_text("utf-8"))
    assert made["fingerprint"]["compiled"] == "reduce-overhead"
    figures = made["cases"][0]["measured"]
    assert figures["peak_allocated_bytes"] == figures["baseline_bytes"]
    assert (figures["layers"], made["cases"][0]["predicted_bytes"]) == ([], None)
    assert figures["peak_reserved_bytes"] > 16 << 20
    other = samattn(*words, "default", "-o", "c.json", cwd=tmp_path)
    assert other.returncode == 2
    assert "[recordings-differ]" in other.stderr
