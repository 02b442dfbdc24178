import json
import random
from dataclasses import replace
from itertools import product
from math import exp

import pytest

from samattn_cli import load_config
from samattn_cli.device.load import load_device
from samattn_cli.device.model import Calibration, Calibrations, ProductShares, TrafficShares
from samattn_cli.device.roofline import layer_time
from samattn_cli.reports.recording import (
    Fingerprint,
    Latency,
    MeasuredCase,
    MeasuredLayer,
    Measurement,
    Recording,
    config_hash,
    from_json,
)
from samattn_cli.reports.text import to_json
from samattn_cli.studies.calibrate import calibrate_device
from samattn_cli.studies.passes import Passes
from tests.support.running import samattn

ENCODER = {
    "image_size": 128, "patch_size": 8, "embed_dim": 192, "depth": 4, "num_heads": 6, "window_size": 6,
    "global_attn_indexes": [1, 3], "rel_pos": "decomposed", "neck": "sam", "out_chans": 64,
}  # fmt: skip
DEVICE = """\
# a small one
description: A slow GPU
memory_size: 8 GB
memory_bytes: 8000000000
reserved_bytes: 1000000000
bandwidth_bytes_per_s: 50e9  # of the board, not of the cache
launch_overhead_us: 5
vector_flops: 1e12
peak_flops: {float32: 1e12, float16: 2e12}
sources:
  memory_bytes: its datasheet
  reserved_bytes: an estimate
  bandwidth_bytes_per_s: its datasheet
  launch_overhead_us: an estimate
  vector_flops: its datasheet
  peak_flops: {float32: its datasheet, float16: its datasheet}
"""
TRUTH = Calibration(
    recorded_on="made up",
    compute=ProductShares(linear=0.62, matmul=0.21, conv2d=0.33, sdpa=0.4),
    memory=TrafficShares(elementwise=0.83, copy=0.45),
    launch_overhead_us=3.3,
)
PRINT = Fingerprint(
    device="Slow GPU", kind="cuda", total_bytes=8_000_000_000, compute_capability="9.0", driver="570.1", cuda="12.8",
    cudnn="9.1", torch="2.13.0", allocator="native", allocation_bytes=512, samattn="0.1.0", python="3.11.7",
    platform="Linux", settings=(),
)  # fmt: skip


def measured(config, device, noise):
    """The case of a config, as long as the roofline says, give or take some."""
    passes = Passes(config, device)

    def latency(ms):
        taken = ms * exp(noise())
        return Latency(taken, taken, taken, 10)

    layers = tuple(
        MeasuredLayer(name, phase, 1, latency(layer_time(ops, device, config.run).ms))
        for (name, phase), ops in passes.sections.items()
    )
    return MeasuredCase(
        config=config,
        config_hash=config_hash(config),
        predicted_bytes=1,
        measured_at="2026-11-22T10:00:00+00:00",
        status="measured",
        measured=Measurement(1, 1, 1, 1, 0, (), latency(passes.latency.ms), layers),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("calibrate")
    (folder / "slow.yaml").write_text(DEVICE, "utf-8")
    (folder / "tiny.yaml").write_text(json.dumps(ENCODER), "utf-8")
    (folder / "slow.json").write_text(to_json(recorded(folder)), "utf-8")
    return folder


def recorded(folder):
    """Small encoders in two sizes, batches, kernels, modes and types, with 3 % of noise, on a device of known factors."""
    true = replace(load_device(folder / "slow.yaml"), calibrated=Calibrations(float32=TRUTH, float16=TRUTH))
    dice = random.Random(0)
    axes = product((128, 256), (1, 3), ("eager", "sdpa"), ("inference", "training"), ("float32", "float16"))
    configs = [
        load_config(
            folder / "tiny.yaml",
            [f"image_size={size}", f"run.batch_size={batch}", f"run.attention={kernel}", f"run.mode={mode}", f"run.dtype={dtype}"],
        )
        for size, batch, kernel, mode, dtype in axes
    ]  # fmt: skip
    cases = tuple(measured(config, true, lambda: dice.gauss(0, 0.03)) for config in configs)
    return Recording(fingerprint=PRINT, cases=cases)


def calibrate(folder, *arguments):
    return samattn("calibrate", *arguments, cwd=folder, columns=140)


@pytest.fixture(scope="module")
def calibrated(folder):
    return calibrate(folder, "slow.yaml", "slow.json", "-o", "mine.yaml")


@pytest.fixture(scope="module")
def report(folder):
    recording = from_json((folder / "slow.json").read_text("utf-8"), "slow.json")
    return calibrate_device(load_device(folder / "slow.yaml"), {folder / "slow.json": recording})


def kept(folder, name, change):
    """A recording in a file, changed."""
    data = json.loads((folder / "slow.json").read_text("utf-8"))
    change(data)
    (folder / name).write_text(json.dumps(data), "utf-8")
    return name


# What a user runs


def test_it_says_what_was_fitted_to_what_was_judged_and_how_well(calibrated):
    assert (calibrated.returncode, calibrated.stderr) == (0, "wrote mine.yaml\n")
    lines = calibrated.stdout.splitlines()
    assert lines[:2] == ["slow - A slow GPU", "calibrated by what was measured on Slow GPU, torch 2.13.0"]
    assert "factor       float32  float16" in lines
    rows = [line.split() for line in lines if line.startswith(("float32 ", "float16 ", "total "))]
    assert [row[:5] for row in rows] == [
        ["float32", "8", "cases", "8", "cases"],
        ["float16", "8", "cases", "8", "cases"],
        ["total", "16", "cases", "16", "cases"],
    ]
    for row in rows:
        before, _, _, _, after, *_ = row[5:]
        assert float(before) > 15
        assert float(after) < 5
    assert sum(line.startswith("tiny ") for line in lines) == 16


def test_the_file_is_the_devices_own_with_the_factors(folder, calibrated):
    assert calibrated.returncode == 0
    text = (folder / "mine.yaml").read_text("utf-8")
    assert text.startswith(
        f"{DEVICE}calibrated:\n  float32:\n    recorded_on: Slow GPU, driver 570.1, torch 2.13.0, "
    )
    device = load_device(folder / "mine.yaml")
    for found in (device.calibrated.float32, device.calibrated.float16):
        assert found.recorded_on == "Slow GPU, driver 570.1, torch 2.13.0, 2026-11-22"
        assert found.compute.linear == pytest.approx(0.62, rel=0.05)
        assert found.memory.elementwise == pytest.approx(0.83, rel=0.1)
    assert (device.calibrated.tf32, device.calibrated.bfloat16) == (None, None)


def test_analyze_says_calibrated_by_it(folder, calibrated):
    assert calibrated.returncode == 0
    command = ("analyze", "tiny.yaml", "--no-verify", "--device")
    before, after = (
        " ".join(samattn(*command, name, cwd=folder).stdout.split()) for name in ("slow.yaml", "mine.yaml")
    )
    assert "calibrated by measurement" in after
    assert "by its datasheet" not in after
    assert "by its datasheet" in before
    assert "calibrated by" not in before


def test_without_a_file_the_section_is_printed(folder, calibrated):
    result = calibrate(folder, "slow.yaml", "slow.json")
    written = (folder / "mine.yaml").read_text("utf-8").removeprefix(DEVICE)
    assert result.stdout == f"{calibrated.stdout}\n{written}"
    assert (result.returncode, result.stderr) == (0, "")


def test_a_second_calibration_takes_the_place_of_the_first_unit_by_unit(folder, calibrated):
    assert calibrated.returncode == 0
    single = kept(
        folder,
        "half.json",
        lambda data: data.update(
            cases=[c for c in data["cases"] if c["config"]["run"]["dtype"] == "float16"]
        ),
    )
    other = DEVICE + "calibrated: {float32: {recorded_on: before}, float16: {recorded_on: before}}\nname: b\n"
    (folder / "before.yaml").write_text(other, "utf-8")
    result = calibrate(folder, "before.yaml", single, "-o", "after.yaml")
    assert result.returncode == 0, result.stderr
    device, first = load_device(folder / "after.yaml"), load_device(folder / "mine.yaml")
    assert device.name == "b"
    assert device.calibrated.float32 == Calibration(recorded_on="before")
    assert device.calibrated.float16 == first.calibrated.float16


def test_another_memory_is_reported(folder):
    large = kept(folder, "large.json", lambda data: data["fingerprint"].update(total_bytes=80_000_000_000))
    result = calibrate(folder, "slow.yaml", large)
    assert result.stderr.startswith("samattn: Slow GPU has 74.51 GiB of memory, and slow has 7.45 GiB")
    assert result.stderr.endswith(" [device-mismatch]\n")
    assert result.returncode == 0


def test_factors_that_do_not_predict_the_other_half_are_reported(folder):
    def spoil(data):
        for number, case in enumerate(data["cases"]):
            case["measured"]["latency"]["median_ms"] *= 1 + number

    result = calibrate(folder, "slow.yaml", kept(folder, "spoilt.json", spoil))
    assert result.returncode == 0
    for unit, line in zip(("float32", "float16"), result.stderr.splitlines(), strict=True):
        assert line.startswith(f"samattn: {unit} has a median error of ")
        assert " %, more than 10.00 %" in line
        assert line.endswith(" [large-error]")


# What it is made of


def test_no_case_is_on_both_sides_and_each_kernel_and_mode_on_both(folder, report):
    recording = from_json((folder / "slow.json").read_text("utf-8"), "slow.json")
    backwards = replace(recording, cases=recording.cases[::-1])
    device = load_device(folder / "slow.yaml")
    assert report == calibrate_device(
        device, {folder / "slow.json": recording, folder / "again.json": backwards}
    )
    for unit in report.units:
        hashes = {config_hash(case.config) for case in unit.judged}
        assert (unit.fitted, len(hashes)) == (8, 8)
        kinds = [(case.config.run.mode, case.config.run.attention) for case in unit.judged]
        assert sorted(set(kinds)) == sorted(product(("inference", "training"), ("eager", "sdpa")))
        assert all(kinds.count(kind) == 2 for kind in kinds)


def test_the_errors_are_those_of_the_factors_in_the_file(folder, calibrated, report):
    assert calibrated.returncode == 0
    device = load_device(folder / "mine.yaml")
    cases = [case for unit in report.units for case in unit.judged]
    for case in cases:
        assert case.calibrated_ms == Passes(case.config, device).latency.ms
        assert case.datasheet_ms == Passes(case.config, load_device(folder / "slow.yaml")).latency.ms
    sizes = sorted(abs(case.calibrated_error) for case in cases)
    assert report.calibrated.median == (sizes[7] + sizes[8]) / 2 <= 0.1
    assert report.calibrated.worst == sizes[-1]


# What is wrong with what it is given


def test_recordings_of_different_devices_or_torches_do_not_mix(folder):
    for key, value, here in (("device", "NVIDIA H100", "Slow GPU"), ("torch", "2.5.0", "2.13.0")):
        other = kept(
            folder, f"{key}.json", lambda data, key=key, value=value: data["fingerprint"].update({key: value})
        )
        result = calibrate(folder, "slow.yaml", "slow.json", other, "-o", "no.yaml")
        assert f"{key} is '{here}' in slow.json and '{value}' in {other}" in result.stderr
        assert result.stderr.endswith(" [recordings-differ]\n")
        assert (result.returncode, result.stdout) == (2, "")
        assert not (folder / "no.yaml").exists()


def test_too_few_cases_are_reported_by_unit(folder):
    few = kept(folder, "few.json", lambda data: data.update(cases=data["cases"][:5]))
    result = calibrate(folder, "slow.yaml", few)
    assert result.stderr.startswith("few.json: ")
    assert "float32: 3 cases, but at least 4 are needed; float16: 2 cases, but at least 4" in result.stderr
    assert result.stderr.endswith(" [too-few-cases]\n")
    assert (result.returncode, result.stdout) == (2, "")
    none = kept(folder, "none.json", lambda data: data.update(cases=[]))
    result = calibrate(folder, "slow.yaml", none)
    assert result.stderr.startswith("none.json: ")
    assert result.stderr.endswith(": no case was measured [too-few-cases]\n")


def test_a_unit_with_too_few_is_left_out_and_said(folder):
    def without_most_of_float16(data):
        data["cases"] = [c for c in data["cases"] if c["config"]["run"]["dtype"] == "float32"] + data[
            "cases"
        ][1:2]

    result = calibrate(folder, "slow.yaml", kept(folder, "one.json", without_most_of_float16))
    assert result.returncode == 0
    assert "not calibrated: float16: 1 case, but at least 4 are needed\n" in result.stdout
    assert "  float16:\n" not in result.stdout


def test_a_type_that_the_device_has_no_units_for_is_reported(folder):
    text = DEVICE.replace(", float16: 2e12", "").replace(", float16: its datasheet", "")
    (folder / "float32.yaml").write_text(text, "utf-8")
    result = calibrate(folder, "float32.yaml", "slow.json")
    assert result.returncode == 0
    assert "not calibrated: float16: float32 has no float16 units: it has only float32\n" in result.stdout


def test_a_faster_device_is_another(folder):
    (folder / "slower.yaml").write_text(DEVICE.replace("float32: 1e12", "float32: 1e10"), "utf-8")
    result = calibrate(folder, "slower.yaml", "slow.json")
    assert result.returncode == 2
    assert result.stderr.startswith("a pass of tiny took ")
    assert result.stderr.endswith(" [device-mismatch]\n")


def test_a_damaged_recording_is_reported(folder):
    (folder / "cut.json").write_text((folder / "slow.json").read_text("utf-8")[:5000], "utf-8")
    result = calibrate(folder, "slow.yaml", "cut.json")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("cut.json: is damaged: not JSON (")
    assert (
        calibrate(folder, "slow.yaml", "gone.json").stderr
        == "gone.json: No such file or directory [cannot-read]\n"
    )


def test_an_unknown_device_comes_with_the_nearest(folder):
    result = calibrate(folder, "h10", "slow.json")
    assert result.stderr.endswith("; did you mean 'h100'? [file-not-found]\n")
    assert (result.returncode, result.stdout) == (2, "")


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("mine.json", "-o mine.json: the extension must be .yaml or .yml [unknown-extension]"),
        ("no/mine.yaml", "-o no/mine.yaml: no such directory: no [no-such-directory]"),
    ],
)
def test_a_file_that_cannot_be_written_is_reported_first(folder, output, message):
    result = calibrate(folder, "h10", "gone.json", "-o", output)
    assert (result.returncode, result.stderr) == (2, f"{message}\n")
