"""The dry device: what it needs, what it says where that is missing, and runs on it where torch's CUDA build is installed."""

from __future__ import annotations

import json
import platform
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from samattn_cli import Grid, analyze, load_config, load_device, sweep
from samattn_cli.device.dry import build
from samattn_cli.device.dry.environment import environment
from samattn_cli.encoder.hash import config_hash
from samattn_cli.encoder.presets import devices
from samattn_cli.errors import DeviceError, RecordingError
from samattn_cli.render import render
from samattn_cli.render.measured import render_recording
from samattn_cli.render.options import Options
from samattn_cli.reports.recording import Fingerprint, MeasuredCase, Measurement, Recording, from_json
from samattn_cli.studies.calibrate import calibrate_device
from samattn_cli.studies.judge import judge
from samattn_cli.studies.predicted import with_prediction
from samattn_cli.studies.sweep_measure import encoders_at, with_measured
from tests.support.running import samattn

A100 = Fingerprint(
    device="NVIDIA A100",
    kind="dry",
    total_bytes=85_094_039_552,
    compute_capability="8.0",
    driver="",
    cuda="13.0",
    cudnn="",
    torch="2.14.1+cu130",
    allocator="native",
    allocation_bytes=512,
    samattn="0.1.0",
    python="3.11",
    platform="Linux",
    settings=(),
    multiprocessors=108,
    threads_per_multiprocessor=2048,
)


def on_this_machine() -> bool:
    try:
        build.cuda_headers()
    except DeviceError:
        return False
    return shutil.which("cc") is not None


CUDA_BUILD = pytest.mark.skipif(not on_this_machine(), reason="torch's CUDA build is not installed")


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A machine whose torch has CUDA headers, with an empty cache."""
    headers = tmp_path / "nvidia" / "cu13" / "include"
    headers.mkdir(parents=True)
    for name in ("cuda.h", "cuda_runtime_api.h"):
        (headers / name).write_text("")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    found = SimpleNamespace(submodule_search_locations=[str(tmp_path / "nvidia")])
    monkeypatch.setattr(build, "find_spec", lambda _: found)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return headers


@pytest.mark.usefixtures("elsewhere")
def test_another_platform(monkeypatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    with pytest.raises(DeviceError, match="arm64") as error:
        build.library()
    assert error.value.codes == ("dry-platform",)


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize(
    ("missing", "code"), [("torch", "dry-without-torch"), ("nvidia", "dry-without-cuda")]
)
def test_no_torch_or_one_without_cuda(monkeypatch, missing, code) -> None:
    monkeypatch.setattr(build, "find_spec", lambda name: None if name == missing else SimpleNamespace())
    with pytest.raises(DeviceError, match=r"5\.5 GB") as error:
        build.library()
    assert error.value.codes == (code,)


@pytest.mark.usefixtures("elsewhere")
def test_no_compiler(monkeypatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(DeviceError) as error:
        build.library()
    assert error.value.codes == ("dry-without-compiler",)


@pytest.mark.usefixtures("elsewhere")
def test_a_compiler_that_fails_leaves_nothing_in_the_cache(tmp_path) -> None:
    """The headers of this machine are empty."""
    with pytest.raises(DeviceError) as error:
        build.library()
    assert error.value.codes == ("dry-not-built",)
    assert not list((tmp_path / "cache").rglob("*.so"))


def test_a_library_that_is_built_is_not_built_again(elsewhere, monkeypatch) -> None:
    built = []

    def compiled(_compiler, _headers, to) -> None:
        built.append(to)
        to.write_text("library")

    monkeypatch.setattr(build, "_compile", compiled)
    first = build.library()
    assert build.library() == first
    assert len(built) == 1
    assert sorted(path.name for path in first.parent.iterdir()) == sorted([build.LIBRARY, *build.LINKS])
    assert (first.parent / build.LINKS[0]).resolve() == first.resolve()
    (elsewhere / "cuda.h").write_text("of another torch")
    assert build.library() != first


@pytest.mark.usefixtures("elsewhere")
def test_the_environment_has_the_figures_of_the_device(monkeypatch) -> None:
    monkeypatch.setattr(build, "_compile", lambda _compiler, _headers, to: to.write_text("library"))
    monkeypatch.setenv("LD_PRELOAD", "other.so")
    variables = environment(load_device("rtx_4090"))
    assert variables["SAMATTN_DRY_CC"] == "8.9"
    assert variables["SAMATTN_DRY_SMS"] == "128"
    assert variables["SAMATTN_DRY_THREADS"] == "1536"
    assert int(variables["SAMATTN_DRY_BYTES"]) == load_device("rtx_4090").memory_bytes
    library, other = variables["LD_PRELOAD"].split(":")
    assert (library.rpartition("/")[2], other) == (build.LIBRARY, "other.so")


@pytest.mark.usefixtures("elsewhere")
def test_a_device_that_has_no_compute_capability(monkeypatch) -> None:
    monkeypatch.setattr(build, "_compile", lambda _compiler, _headers, to: to.write_text("library"))
    with pytest.raises(DeviceError, match="compute_capability, multiprocessors") as error:
        environment(load_device("cpu"))
    assert error.value.codes == ("incomplete-device-file",)
    with pytest.raises(DeviceError, match=r"t4: .*multiprocessors"):
        environment(replace(load_device("t4"), multiprocessors=None))


@pytest.mark.usefixtures("elsewhere")
def test_every_cuda_device_that_ships_can_be_run_dry(monkeypatch) -> None:
    monkeypatch.setattr(build, "_compile", lambda _compiler, _headers, to: to.write_text("library"))
    for name in devices():
        if name != "cpu":
            assert environment(load_device(name))


def test_a_device_that_there_is_not(tmp_path) -> None:
    done = samattn("measure", "sam_vit_b", "--device", "dry:h1000", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("dry:h1000: ")
    assert done.stderr.endswith(" [file-not-found]\n")


def test_a_dry_run_and_a_recording_are_two_questions(tmp_path) -> None:
    done = samattn("verify", "vit_b", "--dry", "t4", "--measured", "m.json", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith(" [conflicting-options]\n")
    assert "--measured or --dry" in done.stderr


def test_a_sweep_shows_the_memory_of_dry_runs() -> None:
    """Without times, which dry runs do not have: 64 MiB of 83,886,080 bytes handed out are not the workspace."""
    measured = Measurement(0, 83_886_080, 96 << 20, 0, 16 << 20, (), None, ())
    swept = sweep(["vit_b"], Grid(resolutions=((224, 224),)))
    (config,) = encoders_at(swept)
    case = MeasuredCase(
        config=config,
        config_hash=config_hash(config),
        predicted_bytes=32 << 20,
        measured_at="",
        status="measured",
        measured=measured,
    )
    shown = render(with_measured(swept, A100, [case]), "terminal", Options(width=100))
    row = next(line.split() for line in shown.partition("\nMeasured\n")[2].splitlines() if " MiB" in line)
    assert row == ["all", "64.00", "MiB", "32.00", "MiB", "2.0000"]
    assert "kernels not run" in shown


@CUDA_BUILD
def test_a_dry_run(tmp_path) -> None:
    """Weights and input are those that are derived; a second run goes on with the recording, a measured one is refused."""
    words = ["measure", "vit_b", "--device", "dry:t4", "--mode", "inference,training", "-o", "dry.json"]
    done = samattn(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    recording = from_json((tmp_path / "dry.json").read_text("utf-8"), "dry.json")
    print_ = recording.fingerprint
    assert (print_.kind, print_.compute_capability, print_.multiprocessors == 40) == (
        "dry",
        "7.5",
        True,
    )
    assert {(case.error, case.reserved_error) for case in recording.cases} == {(0.0, 0.0)}
    inference, training = (case.measured for case in recording.cases)
    assert inference.latency is None
    assert {layer.latency for layer in training.layers} == {None}
    assert training.peak_reserved_bytes >= training.peak_allocated_bytes >= training.peak_requested_bytes
    with pytest.raises(RecordingError) as error:
        calibrate_device(load_device("t4"), {tmp_path / "dry.json": recording})
    assert error.value.codes == ("no-times",)
    again = samattn(*words, cwd=tmp_path).stderr
    assert "2 already finished" in again
    assert "[1/2]" not in again
    other = samattn(*words[:2], "--device", "dry:l4", "-o", "dry.json", cwd=tmp_path)
    assert other.returncode == 2


@CUDA_BUILD
def test_out_of_memory_is_a_result(tmp_path) -> None:
    done = samattn(
        "measure", "sam_vit_h", "--device", "dry:t4", "--mode", "training", "-o", "x.json", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "x.json").read_text("utf-8"))["cases"][0]["status"] == "out of memory"


@CUDA_BUILD
def test_a_snapshot_of_a_run_that_no_gpu_did(tmp_path) -> None:
    done = samattn("measure", "vit_b", "--device", "dry", "--snapshot", "s.pickle", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "s.pickle").stat().st_size > 10_000


@CUDA_BUILD
def test_predictions_are_compared_with_a_dry_run(tmp_path) -> None:
    done = samattn(
        "verify", "vit_b", "--dry", "h100", "--set", "run.mode=training", "-o", "v.json", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    (case,) = json.loads((tmp_path / "v.json").read_text("utf-8"))["cases"]
    assert (case["kind"], case["whole"]["error"]) == ("dry", 0.0)


def test_a_measured_case_is_next_to_what_its_allocator_is_predicted_to_take() -> None:
    """Of SAM ViT-B with FSDP2 on 8 GPUs, whose tensors take 1.38 GiB: as `analyze --device a100_80` says."""
    keys = ["image_size=512", "run.mode=training", "run.parallel=fsdp2", "run.gpus=8", "run.torch=2.14"]
    config, device = load_config("sam_vit_b", keys), load_device("a100_80")
    totals = analyze(config, device=device, verify=False).totals
    assert [round(each / 2**20, 1) for each in (totals.allocated_bytes, totals.reserved_bytes)] == [
        1513.5,
        1712.0,
    ]
    measured = Measurement(0, totals.allocated_bytes * 2, totals.reserved_bytes, 0, 1, (), None, ())
    case = MeasuredCase(
        config=config,
        config_hash=config_hash(config),
        predicted_bytes=totals.training_bytes,
        measured_at="",
        status="measured",
        measured=measured,
    )
    known = with_prediction(case, A100)
    assert (known.predicted_allocated_bytes, known.error) == (totals.allocated_bytes, -0.5)
    assert (known.predicted_reserved_bytes, known.reserved_error) == (totals.reserved_bytes, 0.0)
    shown = render_recording(Recording(fingerprint=A100, cases=(known,)), Options(width=100))
    row = next(line for line in shown.splitlines() if "GiB" in line)
    assert row.split("  ")[-6:] == ["2.96 GiB", " 1.48 GiB", "-50.00 %", "1.67 GiB", " 1.67 GiB", "0.00 %"]
    on_cpu = with_prediction(case, replace(A100, kind="cpu"))
    assert (on_cpu.predicted_allocated_bytes, on_cpu.reserved_error) == (None, None)
    assert on_cpu.error == totals.training_bytes / (2 * totals.allocated_bytes - 1) - 1
    assert with_prediction(case, replace(A100, compiled="default")) == case


def test_a_dry_recording_is_judged_by_the_allocator() -> None:
    """Of SAM ViT-B's training step: 9,960,954,880 bytes, where the bytes of tensors are 8.4 % below."""
    config = load_config("sam_vit_b", ["run.mode=training"])
    measured = Measurement(0, 9_960_954_880, 10_970_202_112, 0, 17_039_360, (), None, ())
    case = MeasuredCase(
        config=config,
        config_hash=config_hash(config),
        predicted_bytes=None,
        measured_at="",
        status="measured",
        measured=measured,
    )
    recording = Recording(fingerprint=A100, cases=(case,))
    (judged,) = judge({Path("dry"): recording}).cases
    assert (judged.whole.error, judged.workspace_bytes) == (0.0, 0)
    unknown = replace(recording, fingerprint=replace(A100, multiprocessors=None))
    (judged,) = judge({Path("dry"): unknown}).cases
    assert -0.09 < judged.whole.error < -0.07
