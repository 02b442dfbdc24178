import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from samattn_cli import load_config
from samattn_cli.cli.app import app
from samattn_cli.encoder.hash import config_hash
from samattn_cli.reports.recording import Outcome, read_recording
from samattn_cli.reports.text import from_json, to_json
from samattn_cli.studies import measure as study
from samattn_cli.studies.machine import available_bytes
from tests.support.running import PATIENCE_S, SAMATTN, environment, samattn

TINY = {
    "image_size": 32, "patch_size": 4, "embed_dim": 64, "depth": 3, "num_heads": 4, "window_size": 3,
    "global_attn_indexes": [1], "rel_pos": "decomposed", "neck": "sam", "out_chans": 16,
}  # fmt: skip
PARTS = ["patch_embed", "pos_embed", "blocks.0", "blocks.1", "blocks.2", "neck"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("measure")
    (folder / "tiny.yaml").write_text(json.dumps(TINY), "utf-8")
    return folder


def measure(folder, *arguments, **variables):
    command = ("measure", "tiny.yaml", "--device", "cpu", "--repeats", "2", *arguments)
    return samattn(*command, cwd=folder, columns=120, **variables)


@pytest.fixture(scope="module")
def recorded(folder):
    """The command run twice: a size and a mode, then one size more."""
    sgd = (
        "--set",
        "run.optimizer=sgd_momentum",
    )  # AdamW updates weights one by one on a CPU, all at once on CUDA
    first = measure(folder, "--mode", "inference,training", *sgd, "-o", "all.json")
    second = measure(folder, "--resolutions", "32,64", "-o", "all.json")
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    return first, second, folder / "all.json"


# -- what a user runs ------------------------------------------------------------------------------------------------


def test_measure_says_each_case_with_the_time_left_and_keeps_the_recording(recorded):
    first, _, file = recorded
    assert first.stdout == ""
    begun, one, two, wrote = first.stderr.splitlines()
    assert begun.startswith("2 cases on ")
    assert one.startswith("[1/2] tiny 32x32 float32 eager batch 1 inference: 938.4 KiB, ")
    assert "about" in one
    assert one.endswith(" s left")
    assert two.startswith("[2/2] tiny 32x32 float32 eager batch 1 training (sgd_momentum): ")
    assert wrote == "wrote all.json"
    assert read_recording(file).fingerprint.kind == "cpu"


def test_finished_cases_are_not_run_again(recorded):
    _, second, file = recorded
    begun, only, _ = second.stderr.splitlines()
    assert begun.endswith("; 1 already finished, in all.json")
    assert only.startswith("[1/1] tiny 64x64 ")
    assert [case.status for case in read_recording(file).cases] == ["measured"] * 3


def test_memory_is_what_the_allocator_gave_out_and_close_to_the_prediction(recorded):
    inference, _, larger = read_recording(recorded[-1]).cases
    for case in (inference, larger):
        measured = case.measured
        assert [layer.name for layer in measured.layers] == PARTS
        assert measured.peak_allocated_bytes == max(layer.peak_bytes for layer in measured.layers)
        assert measured.peak_allocated_bytes == pytest.approx(case.predicted_bytes, rel=0.01)
        assert 0 < measured.baseline_bytes < measured.peak_allocated_bytes
        assert (measured.peak_reserved_bytes, measured.workspace_bytes) == (None, 0)


def test_a_training_step_is_measured_forward_backward_and_step(recorded):
    inference, training, _ = read_recording(recorded[-1]).cases
    forward = [(name, "forward") for name in PARTS]
    backward = [(name, "backward") for name in reversed(PARTS)]
    sections = [(layer.name, layer.phase) for layer in training.measured.layers]
    assert sections == [*forward, *backward, ("optimizer", "step")]
    weights = inference.measured.baseline_bytes - 32 * 32 * 3 * 4
    state = training.measured.baseline_bytes - inference.measured.baseline_bytes
    assert state == pytest.approx(2 * weights, rel=0.001)  # momentum, and the gradients
    assert training.measured.peak_allocated_bytes == pytest.approx(training.predicted_bytes, rel=0.03)
    for latency in (training.measured.latency, training.measured.layers[0].latency):
        assert 0 < latency.low_ms <= latency.median_ms <= latency.high_ms
        assert latency.repeats == 2


def test_without_a_file_the_table_is_printed(folder):
    result = measure(folder, "--set", "run.checkpointing=true", "--mode", "training", "--dtype", "bfloat16")
    assert result.returncode == 0, result.stderr
    assert "1  tiny 32x32 bfloat16 eager batch 1 training (adamw)" in result.stdout
    assert "checkpointing" in result.stdout
    assert "10th" in result.stdout


def gone(group: int) -> bool:
    """Whether a process group is no more, or soon will be: what was killed is still to be waited for."""
    given_up = time.monotonic() + PATIENCE_S
    while time.monotonic() < given_up:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.exhaustive
def test_an_interrupt_keeps_what_is_finished_and_leaves_no_process(folder):
    sizes = ["--resolutions", "32,36,40", "-o", "interrupted.json", "--repeats", "2"]
    command = [*SAMATTN, "measure", "tiny.yaml", "--device", "cpu", *sizes]
    with subprocess.Popen(
        command, cwd=folder, stderr=subprocess.PIPE, env=environment(), text=True, start_new_session=True
    ) as process:
        lines = iter(process.stderr)
        assert next(lines).startswith("3 cases")
        assert next(lines).startswith("[1/3]")
        process.send_signal(signal.SIGINT)
        said = list(lines)
    assert process.returncode == 130
    wanted = (
        "interrupted; 1 of 3 cases finished and kept in interrupted.json; run the same command to continue"
    )
    assert said == [f"samattn: {wanted}\n"]
    assert gone(process.pid)
    assert len(read_recording(folder / "interrupted.json").cases) == 1


def test_an_interrupt_of_the_second_case_keeps_the_first(recorded, tmp_path, monkeypatch):
    """As above, without processes: measuring is left out."""
    before = read_recording(recorded[-1])
    first = Outcome(status="measured", measured=before.cases[0].measured)
    outcomes = iter([first])

    def ask_outcome(*_):
        for outcome in outcomes:
            return outcome
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(study, "ask_fingerprint", lambda *_: before.fingerprint)
    monkeypatch.setattr(study, "ask_outcome", ask_outcome)
    (tmp_path / "tiny.yaml").write_text(json.dumps(TINY), "utf-8")
    command = ["measure", "tiny.yaml", "--device", "cpu", "--resolutions", "32,36,40", "-o", "kept.json"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 130
    wanted = "interrupted; 1 of 3 cases finished and kept in kept.json; run the same command to continue"
    assert result.stderr.splitlines()[-1] == f"samattn: {wanted}"
    assert [case.measured for case in read_recording(tmp_path / "kept.json").cases] == [first.measured]


@pytest.mark.skipif((available_bytes() or 0) < 2 << 30, reason="needs memory to be refused")
def test_running_out_of_memory_is_a_result_and_does_not_touch_the_next_case(folder):
    command = ("measure", "tiny.yaml", "--device", "cpu", "--repeats", "1", "-o", "full.json")
    too_little_for_the_scores = 512 << 20  # of 625 MiB
    result = samattn(
        *command, "--resolutions", "320,32", cwd=folder, columns=120, headroom=too_little_for_the_scores
    )
    assert result.returncode == 0, result.stderr
    _, full, fits, _ = result.stderr.splitlines()
    assert "320x320 float32 eager batch 1 inference: out of memory; predicted " in full
    assert "32x32 float32 eager batch 1 inference: 938.4 KiB" in fits
    assert [case.status for case in read_recording(folder / "full.json").cases] == [
        "out of memory",
        "measured",
    ]


def test_a_case_that_would_fill_the_memory_is_not_run(folder):
    result = measure(folder, "--resolutions", "4096", "-o", "huge.json")
    assert result.returncode == 2
    assert "inference: not run; predicted " in result.stderr
    assert "of memory is available" in result.stderr


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_the_allocators_counters_events_and_snapshot_are_recorded(folder):
    command = ("measure", "tiny.yaml", "--repeats", "3", "-o", "gpu.json")
    result = samattn(*command, "--mode", "inference,training", "--attention", "eager,sdpa", cwd=folder)
    assert result.returncode == 0, result.stderr
    recording = read_recording(folder / "gpu.json")
    assert recording.fingerprint.kind == "cuda"
    assert recording.fingerprint.driver
    assert recording.fingerprint.allocation_bytes == 512
    assert [case.status for case in recording.cases] == ["measured"] * 4
    for measured in (case.measured for case in recording.cases):
        assert measured.workspace_bytes > 0
        assert measured.baseline_bytes < measured.peak_allocated_bytes <= measured.peak_reserved_bytes
        assert measured.peak_requested_bytes <= measured.peak_allocated_bytes
        assert max(layer.peak_bytes for layer in measured.layers) == measured.peak_allocated_bytes
    assert samattn("measure", "tiny.yaml", "--snapshot", "x.pickle", cwd=folder).returncode == 0
    assert (folder / "x.pickle").stat().st_size > 0


# -- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--device", "cdua"), "--device cdua: must be cuda, cuda:1, cpu or dry:NAME; did you mean 'cuda'?"),
        (("--device", "gpu"), "--device gpu: must be cuda, cuda:1, cpu or dry:NAME"),
        (
            ("--device", "cpu", "--snapshot", "x.pickle"),
            "[cuda-only]",
        ),
        (("--snapshot", "no/x.pickle"), "--snapshot no/x.pickle: no such directory: no [no-such-directory]"),
        (("--device", "cpu", "--resolutions", "32,,64"), "--resolutions"),
        (("--device", "cpu", "--attention", "flash"), "flash"),
        (("--device", "cpu", "--dtype", "float32,float8"), "--dtype float8"),
        (
            ("--device", "cpu", "-o", "x.csv"),
            ".json [unknown-extension]",
        ),
        (("--resolutions", "32,64", "--snapshot", "x.pickle"), "there are 2 [one-case-only]"),
    ],
)
def test_bad_options_are_one_message(folder, arguments, message):
    result = samattn("measure", "tiny.yaml", *arguments, cwd=folder)
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_without_torch_or_cuda_it_says_so(folder):
    code = (
        "import sys; sys.modules['torch'] = None; sys.argv = ['samattn', 'measure', 'sam_vit_b']\n"
        "from samattn_cli.cli import run; run()"
    )
    missing = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert missing.returncode == 2
    assert missing.stderr.endswith("pip install 'samattn[torch]' [not-installed]\n")
    hidden = samattn("measure", "tiny.yaml", cwd=folder, CUDA_VISIBLE_DEVICES="")
    assert hidden.returncode == 2
    assert hidden.stderr.startswith("--device cuda: torch ")
    code = "no-cuda" if torch.version.cuda is None else "device-does-not-run"  # of a CUDA build
    assert hidden.stderr.endswith(f"--device cpu measures on the CPU [{code}]\n")
    assert len(hidden.stderr.splitlines()) == 1


def damage(file: Path, change) -> str:
    data = json.loads(file.read_text("utf-8"))
    change(data)
    return json.dumps(data)


def without_figures(data):
    data["cases"][0]["measured"] = None


def of_another_config(data):
    data["cases"][1]["config"]["patch_size"] = 8


def of_another_kind(data):
    data["kind"] = "analysis"


def of_a_later_schema(data):
    data["schema_version"] = 2


def with_text_for_a_number(data):
    data["cases"][0]["measured"]["workspace_bytes"] = "0"


@pytest.mark.parametrize(
    ("change", "code", "parts"),
    [
        (without_figures, "damaged-recording", ("cases.0 (tiny)", "'measured'")),
        (of_another_config, "damaged-recording", ("cases.1 (tiny)", "config_hash")),
        (of_another_kind, "not-a-recording", ("'analysis'",)),
        (of_a_later_schema, "other-schema-version", ("2", "1")),
        (with_text_for_a_number, "damaged-recording", ("cases.0.measured.workspace_bytes", "valid integer")),
    ],
)
def test_a_damaged_recording_is_one_message(recorded, tmp_path, change, code, parts):
    (tmp_path / "bad.json").write_text(damage(recorded[-1], change), "utf-8")
    result = samattn("verify", "--measured", "bad.json", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("bad.json: ")
    assert result.stderr.endswith(f"[{code}]\n")
    assert all(part in result.stderr for part in parts)
    assert len(result.stderr.splitlines()) == 1


def test_a_truncated_or_missing_recording_is_one_message(recorded, tmp_path):
    text = recorded[-1].read_text("utf-8")
    (tmp_path / "half.json").write_text(text[: len(text) // 2], "utf-8")
    half, none = (samattn("verify", "--measured", name, cwd=tmp_path) for name in ("half.json", "none.json"))
    assert half.returncode == none.returncode == 2
    assert half.stderr.startswith("half.json: ")
    assert half.stderr.endswith("[damaged-recording]\n")
    assert none.stderr == "none.json: No such file or directory [cannot-read]\n"
    refused = samattn("measure", "sam_vit_b", "--device", "cpu", "-o", "half.json", cwd=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr == half.stderr
    assert (tmp_path / "half.json").read_text("utf-8") == text[: len(text) // 2]


def test_a_recording_of_another_device_is_not_gone_on_with(recorded, folder):
    def elsewhere(data):
        data["fingerprint"] |= {"device": "NVIDIA H100", "torch": "2.9.0"}

    (folder / "other.json").write_text(damage(recorded[-1], elsewhere), "utf-8")
    result = measure(folder, "-o", "other.json")
    assert result.returncode == 2
    assert "device 'NVIDIA H100' there, " in result.stderr
    assert "torch '2.9.0' there, " in result.stderr
    fresh = measure(folder, "-o", "other.json", "--fresh")
    assert fresh.returncode == 0
    assert len(read_recording(folder / "other.json").cases) == 1


# -- verify --measured -----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("recorded")
def test_verify_prints_predicted_against_measured_by_case_and_layer(folder):
    result = samattn("verify", "--measured", "all.json", cwd=folder, columns=120)
    assert (result.returncode, result.stderr) == (0, "")
    text = " ".join(result.stdout.split())
    assert "tiny 64x64 float32 eager batch 1 inference cpu 4.19 MiB 4.18 MiB +0.19 % " in text
    assert "blocks.1 forward 4.19 MiB 4.18 MiB +0.19 %" in text
    assert re.search(r"Whole pass: worst \d\.\d\d %, median ", text)
    assert "on the CPU it is shown, but not judged" in text
    assert "! not judged: it was measured on a CPU" in text


def as_cuda(data):
    data["fingerprint"]["kind"] = "cuda"
    data["cases"] = [case for case in data["cases"] if case["config"]["run"]["mode"] == "inference"]
    for case in data["cases"]:
        case["measured"]["workspace_bytes"] = 8 << 20
        case["measured"]["peak_allocated_bytes"] += 8 << 20
        case["measured"]["layers"] = []


def test_on_cuda_an_error_of_more_than_one_percent_exits_1(recorded, tmp_path):
    (tmp_path / "close.json").write_text(damage(recorded[-1], as_cuda), "utf-8")
    close = samattn("verify", "--measured", "close.json", cwd=tmp_path)
    assert close.returncode == 0, close.stderr

    def far(data):
        as_cuda(data)
        data["cases"][0]["measured"]["peak_allocated_bytes"] *= 2

    (tmp_path / "far.json").write_text(damage(recorded[-1], far), "utf-8")
    result = samattn("verify", "--measured", "close.json", "far.json", "-f", "json", cwd=tmp_path)
    assert result.returncode == 1
    judgement = json.loads(result.stdout)
    assert (judgement["kind"], len(judgement["cases"])) == ("judgement", 4)
    assert judgement["whole_errors"]["worst"] > 0.5
    assert to_json(from_json(result.stdout)) == result.stdout
    assert not from_json(result.stdout).is_close
    assert from_json((tmp_path / "far.json").read_text("utf-8")).cases[0].measured.workspace_bytes == 8 << 20


@pytest.mark.usefixtures("recorded")
def test_with_configs_only_their_cases_are_judged_and_each_must_have_one(folder):
    one = samattn("verify", "tiny.yaml", "--measured", "all.json", "-f", "json", cwd=folder)
    assert [case["config"]["image_size"] for case in json.loads(one.stdout)["cases"]] == [[32, 32]]
    none = samattn("verify", "tiny.yaml", "sam_vit_b", "--measured", "all.json", cwd=folder)
    assert none.returncode == 2
    assert none.stderr.startswith("all.json: ")
    assert "sam_vit_b" in none.stderr
    assert none.stderr.endswith(" [not-recorded]\n")
    nothing = samattn("verify", cwd=folder)
    assert nothing.returncode == 2
    assert nothing.stderr.endswith(" [missing-argument]\n")


def test_a_new_name_loses_no_recording_and_anything_else_does():
    config = load_config(TINY)
    assert config_hash(load_config({**TINY, "name": "other", "description": "x"})) == config_hash(config)
    assert config_hash(load_config(TINY, ["run.tf32=true"])) != config_hash(config)
    assert config_hash(load_config(TINY, ["image_size=36"])) != config_hash(config)
