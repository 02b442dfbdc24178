"""What a real H200 allocated and reserved (torch 2.11.0, 29 November 2026), next to the replay and to a dry run of the same torch."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from samattn_cli import load_config, load_device
from samattn_cli.records import replace
from samattn_cli.render.pages.analysis_evidence import SEEN_SLOWER
from samattn_cli.reports.recording import read_recording
from samattn_cli.studies.judge import judge
from samattn_cli.studies.on_device import replayed
from samattn_cli.studies.passes import Passes
from samattn_cli.studies.predicted import with_prediction
from samattn_cli.studies.recorded import FOLDER
from samattn_cli.tape.allocator import MIB
from samattn_cli.tape.replay import Usage
from tests.gpu.cases import TORCH, h200
from tests.support.sampling import sampled
from tests.tape.test_replay import name_of

RUNS: list[dict[str, Any]] = json.loads(Path(__file__).with_name("h200.json").read_text("utf-8"))
RECORDING = FOLDER / "h200-torch-2.11.json"
WORST = 0.0075
"""cuDNN's workspaces are not predicted. They are free when the peak comes, but change where later blocks lie."""
DIFFERS_DRY = {
    ("swin_t", True): "built on the device, which leaves holes between blocks",
}


def replay(run: dict[str, Any]) -> Usage:
    sets = [f"run.{key}={value}" for key, value in run["run"].items()]
    about = [
        f"image_size={run['image_size']}",
        f"implementation={run['implementation']}",
        f"run.torch={TORCH}",
    ]
    config = load_config(run["preset"], [*about, *sets])
    return replayed(Passes(config), h200())


@cache
def usages() -> list[tuple[dict[str, Any], Usage]]:
    return [(run, replay(run)) for run in RUNS]


@pytest.mark.parametrize("run", sampled(RUNS, 12), ids=name_of)
def test_a_run_allocates_what_the_gpu_did(run):
    used = replay(run)
    assert abs(used.allocated / run["allocated_bytes"] - 1) <= WORST
    if (run["preset"], run["run"].get("checkpointing")) not in DIFFERS_DRY:
        allocated, reserved = run["dry"]
        assert used.allocated == allocated
        assert abs(used.reserved - reserved) <= 2 * MIB


@pytest.mark.exhaustive
def test_half_of_all_runs_are_equal_to_the_byte():
    errors = [used.allocated / run["allocated_bytes"] - 1 for run, used in usages()]
    assert median(map(abs, errors)) == 0.0
    assert sum(error == 0 for error in errors) == 124
    assert max(map(abs, errors)) <= WORST


def test_the_shipped_recording_is_within_its_bounds():
    recording = read_recording(RECORDING)
    judged = judge({RECORDING: replace(recording, cases=recording.cases[::9])})
    assert judged.is_close
    assert judged.whole_errors.worst <= 0.002


def test_the_shipped_predictions_are_those_of_today():
    for case in read_recording(RECORDING).cases[::9]:
        assert replace(case, error=None) != case
        assert with_prediction(case, read_recording(RECORDING).fingerprint) == case


@pytest.mark.exhaustive
def test_every_pass_took_longer_than_the_roofline():
    device, ratios = load_device("h200"), {"float32": list[float](), "bfloat16": list[float](), "float16": []}
    for case in read_recording(RECORDING).cases:
        assert case.measured is not None
        assert case.measured.latency is not None
        time = Passes(case.config, device).latency
        assert time is not None
        ratios[case.config.run.dtype].append(case.measured.latency.median_ms / time.ms)
    assert min(min(each) for each in ratios.values()) > 1
    assert f"{median(ratios['float32']):.1f} to {median(ratios['bfloat16']):.1f} times" in SEEN_SLOWER


@pytest.mark.exhaustive
def test_all_of_the_shipped_recording():
    judged = judge({RECORDING: read_recording(RECORDING)})
    assert judged.is_close
    assert (round(judged.whole_errors.worst, 4), judged.whole_errors.median) == (0.0012, 0.0)
