"""Faults around samattn: one plain message each, exit 2, nothing lost; what cannot be said changes no verdict."""

import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from samattn_cli import analyze, from_json, load_config, to_json
from samattn_cli.cli import files
from samattn_cli.cli.app import app
from samattn_cli.encoder.hash import config_hash
from samattn_cli.encoder.model import EncoderConfig
from samattn_cli.errors import ConfigError, RecordingError
from samattn_cli.files.sources import DISK, REGULAR_FILES
from samattn_cli.gate.init.discovery import configs_below
from samattn_cli.reports.recording import MeasuredCase, read_recording
from samattn_cli.reports.recording import from_json as recording_from_json
from tests.support.running import PATIENCE_S, ROOT, SAMATTN, environment, samattn
from tests.support.sampling import sampled
from tests.support.thresholds_files import SMALL, checked, folder

TOO_LARGE = "1" + "0" * 309
"""No float is as large: 1.8e308 is the largest."""

DRIFT = '- {id: drift, metric: flops, vs: baseline, increase: {error: "+0"}}'
LIMIT = "- {id: a, metric: flops, limit: 1 TFLOP}"


def run(*arguments: str, **variables: str):
    return CliRunner().invoke(app, arguments, env=variables)


def shell(command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    text = command.replace("samattn", " ".join(SAMATTN))
    return subprocess.run(
        ["bash", "-c", text],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


# -- numbers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["value", "was"])
@pytest.mark.parametrize("number", [TOO_LARGE, f"-{TOO_LARGE}", "1e999", "NaN"])
def test_a_number_of_a_baseline_that_no_float_holds(tmp_path, monkeypatch, key: str, number: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CI", raising=False)  # where baselines are not written
    folder(tmp_path, DRIFT)
    assert run("baseline", "create").exit_code == 0
    path = tmp_path / "samattn-baseline.json"
    text = path.read_text("utf-8")
    if key == "value":
        damaged = re.sub(r'"value": \d+', f'"value": {number}', text)
    else:
        damaged = text.replace(
            "}\n", f', "accepted": {{"rule": "drift", "reason": "r", "was": {number}}}}}\n', 1
        )
    assert damaged != text
    path.write_text(damaged, "utf-8")
    for command in (["check"], ["baseline", "update"]):
        done = run(*command)
        assert done.exit_code == 2
        wrong = "value is " if key == "value" else "accepted must have "
        assert f"samattn-baseline.json:2:1: {wrong}" in done.output
        assert "[damaged-figure]" in done.output
        assert len(done.stderr) < 300
    assert path.read_text("utf-8") == damaged


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "Infinity", TOO_LARGE])
def test_a_report_with_a_number_that_is_not_finite_is_refused(number: str) -> None:
    text = to_json(analyze(load_config("sam_vit_b"), verify=False))
    damaged = re.sub(r'"flops": \d+', f'"flops": {number}', text, count=1)
    with pytest.raises(ValueError, match=r"is not a finite number") as error:
        from_json(damaged)
    assert len(str(error.value)) < 100


@pytest.mark.parametrize("number", ["1e999", "NaN", TOO_LARGE])
def test_a_recording_with_a_number_that_is_not_finite_is_refused(number: str) -> None:
    (shipped,) = (Path(__file__).parent.parent.parent / "samattn_cli" / "recordings").glob("cpu-*.json")
    text = re.sub(r'"median_ms": [\d.]+', f'"median_ms": {number}', shipped.read_text("utf-8"), count=1)
    with pytest.raises(RecordingError, match=r"r.json: is damaged: not JSON \(.* is not a finite number\)"):
        recording_from_json(text, "r.json")


# -- keys, standard input, the working directory, memory -------------------------------------------------------------


@pytest.mark.parametrize("key", ["\udcff", "run.\udcff", "stages.0.\udcff", "\udcff.a"])
def test_a_key_that_is_not_text_next_to_another_wrong_value(key: str) -> None:
    for wrong in ("embed_dim=x", "num_heads=x", "depth=-3", "window_size=x"):
        with pytest.raises(ConfigError) as error:
            load_config("sam_vit_b", [f"{key}=3", wrong])
        (problem,) = error.value.problems
        assert problem.message.startswith(f"the key {key!r} is not text")


def test_a_mapping_with_a_key_that_is_not_text() -> None:
    with pytest.raises(ConfigError) as caught:
        load_config({"extends": "sam_vit_b", "run": {"\ud800": 1}, "embed_dim": "x"})
    assert caught.value.codes == ("not-utf-8",)


def test_a_closed_standard_input(tmp_path) -> None:
    done = shell("samattn analyze - --no-verify <&-", tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("-: ")
    assert done.stderr.endswith(" [stdin-closed]\n")


@pytest.mark.parametrize("command", ["analyze sam_vit_b", "check", "init", "measure sam_vit_b --device cpu"])
def test_a_working_directory_that_was_deleted(tmp_path, command: str) -> None:
    (tmp_path / "gone").mkdir()
    script = tmp_path / "samattn.py"  # as an installed one; `python -m` itself needs the folder
    script.write_text(
        f"import sys\nsys.path[0] = {str(ROOT)!r}\nfrom samattn_cli.cli import run\nrun()\n", "utf-8"
    )
    done = subprocess.run(
        ["bash", "-c", f"cd gone && rmdir ../gone && {SAMATTN[0]} {script} {command}"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith(" [no-working-directory]\n")
    assert done.stderr.count("\n") == 1


def test_memory_that_runs_out(monkeypatch) -> None:
    def analyze(*_: object, **__: object) -> None:
        raise MemoryError("Unable to allocate 8.00 EiB for an array")

    monkeypatch.setattr("samattn_cli.studies.analyze.analyze", analyze)
    done = run("analyze", "sam_vit_b")
    assert done.exit_code == 2
    assert "Unable to allocate 8.00 EiB for an array" in done.stderr
    assert done.stderr.endswith(" [out-of-memory]\n")


# -- what is not a file ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["pipe", "device", "socket"])
def test_what_is_not_a_file_and_matched_by_a_glob_is_not_waited_for(tmp_path, monkeypatch, kind: str) -> None:
    monkeypatch.chdir(tmp_path)
    folder(tmp_path, LIMIT)
    odd = Path("encoders/odd.yaml")
    if kind == "pipe":
        os.mkfifo(odd)
    elif kind == "device":
        odd.symlink_to("/dev/zero")
    else:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(odd))
    report = checked(tmp_path, LIMIT)
    (result,) = [result for result in report.results if result.outcome == "unchecked"]
    assert Path(result.config) == tmp_path / odd
    assert f"'{tmp_path / odd}'" in result.summary
    assert kind in result.summary
    assert report.outcome == "unchecked"
    assert configs_below(tmp_path, []).configs == ("encoders/small.yaml",)  # init


@pytest.mark.parametrize(
    "command",
    [
        ["analyze", "p.json"],
        ["analyze", "extends.yaml"],
        ["verify", "--measured", "p.json"],
        ["calibrate", "h100", "p.json"],
        ["import", "p.json"],
        ["analyze", "sam_vit_b", "--no-verify", "--device", "p.json"],
        pytest.param(
            ["measure", "sam_vit_b", "--device", "cpu", "-o", "p.json"], marks=pytest.mark.exhaustive
        ),
        ["analyze", "sam_vit_b", "--no-verify", "-o", "p.json"],
    ],
)
def test_a_pipe_that_nobody_is_at_the_other_end_of(tmp_path, monkeypatch, command: list[str]) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("p.json")
    Path("extends.yaml").write_text("extends: p.json\n", "utf-8")
    began = time.monotonic()
    done = run(*command)
    assert time.monotonic() - began < 60
    assert done.exit_code == 2
    assert re.search(
        r"is a pipe(, not a file| that nothing writes to)\b| pipe \[cannot-write\]\n", done.stderr
    )


def test_a_program_is_read_through_a_pipe(tmp_path) -> None:
    (tmp_path / "small.yaml").write_text(SMALL, "utf-8")
    done = shell("samattn analyze <(sleep 0.2; cat small.yaml; sleep 0.2) --no-verify --format csv", tmp_path)
    assert done.returncode == 0, done.stderr
    from_file = samattn("analyze", "small.yaml", "--no-verify", "-f", "csv", cwd=tmp_path).stdout
    assert re.sub(r"total,,\w+,", "total,,small,", done.stdout) == from_file  # which is called by its name


def test_devices_are_read_by_their_own_names(tmp_path) -> None:
    assert DISK.read(Path("/dev/zero"), 3) == b"\0\0\0"
    with pytest.raises(OSError, match="is a device, not a file"):
        REGULAR_FILES.read(Path("/dev/zero"), 3)
    (tmp_path / "z").symlink_to("/dev/zero")
    with pytest.raises(OSError, match="is a device, not a file"):
        DISK.read(tmp_path / "z", 3)


# -- reports to streams ----------------------------------------------------------------------------------------------


def test_a_report_goes_to_standard_output_by_its_name(tmp_path) -> None:
    folder(tmp_path, LIMIT)
    plain = shell("samattn check --format json", tmp_path).stdout
    assert json.loads(plain)["kind"] == "check"
    done = shell("set -o pipefail; samattn check -o json=/dev/stdout | cat", tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, plain, "")


@pytest.mark.exhaustive
def test_a_report_goes_to_a_descriptor_by_its_name(tmp_path) -> None:
    folder(tmp_path, LIMIT)
    plain = shell("samattn check --format json", tmp_path).stdout
    assert shell("samattn check -o json=/dev/fd/3 3>&1 >/dev/null", tmp_path).stdout == plain
    (tmp_path / "log").write_text("before\n", "utf-8")
    assert shell("samattn check -o json=/dev/stdout >> log; echo after >> log", tmp_path).returncode == 0
    assert (tmp_path / "log").read_text("utf-8") == f"before\n{plain}after\n"


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("/dev/full", "No space left on device"),
        ("/dev/fd/77", "Bad file descriptor"),
        ("pipe", "no process reads from this pipe"),
    ],
)
def test_a_stream_that_takes_no_report(tmp_path, monkeypatch, place: str, reason: str) -> None:
    monkeypatch.chdir(tmp_path)
    folder(tmp_path, LIMIT)
    os.mkfifo("pipe")
    done = run("check", "-o", f"json={place}")
    assert (done.exit_code, done.stderr) == (2, f"-o {place}: {reason} [cannot-write]\n")


@pytest.mark.parametrize(
    "command",
    sampled(["check", "analyze sam_vit_b --no-verify", "sweep sam_vit_b --resolutions 512,1024"], 3),
)
def test_what_cannot_be_written_keeps_no_other_file_from_being_written(tmp_path, command: str) -> None:
    folder(tmp_path, LIMIT)
    summary = f"GITHUB_ACTIONS=true GITHUB_STEP_SUMMARY={tmp_path}/summary"
    done = shell(
        f"{summary} samattn {command} --format json -o csv=/dev/full -o a.json -o b.md >/dev/full", tmp_path
    )
    assert done.returncode == 2
    assert "-o /dev/full: No space left on device [cannot-write]\n" in done.stderr
    assert json.loads((tmp_path / "a.json").read_text("utf-8"))["kind"]
    assert (tmp_path / "b.md").is_file()
    assert (tmp_path / "summary").is_file() == (command == "check")


def test_what_streams_are_called() -> None:
    assert files.stream_of(Path("/dev/stdout")) == 1
    assert files.stream_of(Path("/proc/self/fd/12")) == 12
    for name in ("/dev/fd/x", "/dev/fd/", "/dev/null", "stdout", "a/dev/fd/1"):
        assert files.stream_of(Path(name)) is None
    assert files.is_written_into(Path("/dev/null"))
    assert not files.is_written_into(Path(__file__))
    assert not files.is_written_into(Path(__file__).parent)


# -- what cannot be said ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "code"),
    sampled(
        [
            ("samattn --help >&-", 2),
            ("samattn --version >/dev/full", 2),
            ("samattn --version >&-", 2),
            ("samattn --help >/dev/full 2>/dev/full", 2),
            ("samattn analyze --help >/dev/full", 2),
            ("samattn help sweep >&-", 2),
            ("set -o pipefail; samattn --help | true", 0),
            ("samattn analyze --no-such 2>/dev/full", 2),
            ("samattn no-such 2>/dev/full", 2),
            ("samattn analyze none.yaml 2>/dev/full", 2),
            ("samattn analyze none.yaml 2>&-", 2),
            ("samattn analyze sam_vit_b --no-verify -o a.json 2>/dev/full", 0),
            ("samattn check 2>/dev/full", 0),
            ("GITHUB_ACTIONS=true samattn check --thresholds broken.yaml -o r.json 2>/dev/full", 1),
            ("samattn check --thresholds broken.yaml >/dev/full 2>/dev/full", 2),
        ],
        4,
    ),
)
def test_what_cannot_be_said_changes_no_verdict(tmp_path, command: str, code: int) -> None:
    file = folder(tmp_path, LIMIT)
    (tmp_path / "broken.yaml").write_text(Path(file.label).read_text("utf-8").replace("1 T", "1 "), "utf-8")
    done = shell(command, tmp_path)
    assert done.returncode == code
    assert "Traceback" not in done.stdout + done.stderr


# -- a config that cannot be loaded ----------------------------------------------------------------------------------

PROFILES = "profiles: {a: {batch_size: 1}, b: {batch_size: 2}, c: {image_size: 64}}"
IN_EACH = "\n".join(f"- {{id: {name}, metric: flops, limit: 1 TFLOP, profile: {name}}}" for name in "abc")


def test_a_config_that_cannot_be_loaded_is_reported_once(tmp_path) -> None:
    folder(tmp_path, LIMIT)
    (tmp_path / "encoders" / "bad.yaml").write_text("patch_size: 16\ncolour: 1\n", "utf-8")
    report = checked(tmp_path, IN_EACH, more=PROFILES)
    (result,) = [result for result in report.results if result.outcome == "unchecked"]
    assert (result.profile, Path(result.config).name) == ("", "bad.yaml")
    said = (result.summary, *result.causes)
    for wrong in ("image_size is missing", "embed_dim is missing", "unknown key 'colour'"):
        assert sum(wrong in text for text in said) == 1


def test_a_profile_in_which_a_config_cannot_be_loaded_is_named(tmp_path) -> None:
    broken = PROFILES.replace("image_size: 64", "image_size: 7").replace("batch_size: 2", "image_size: 9")
    report = checked(tmp_path, IN_EACH, more=broken)
    failed = [(result.profile, result.summary) for result in report.results if result.outcome == "unchecked"]
    assert failed == [
        ("b", "cannot be loaded: image_size 9 is smaller than patch_size 16: use at least 16"),
        ("c", "cannot be loaded: image_size 7 is smaller than patch_size 16: use at least 16"),
    ]


# -- measuring -------------------------------------------------------------------------------------------------------

MEASURE = ["measure", "small.yaml", "--device", "cpu", "--repeats", "1", "-o", "m.json"]


@pytest.fixture
def meanwhile(tmp_path, monkeypatch) -> list[Callable[[], object]]:
    """A folder in which cases run out of memory at once; what happens while the second one runs is put into the list."""
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(SMALL, "utf-8")
    (shipped,) = (ROOT / "samattn_cli" / "recordings").glob("cpu-*.json")
    made_by = read_recording(shipped).fingerprint
    events: list[Callable[[], object]] = []

    def case(config: EncoderConfig, **_: Any) -> MeasuredCase:
        if config.run.batch_size == 2:
            events.pop()()
        of = {"config": config, "config_hash": config_hash(config), "predicted_bytes": 1, "measured_at": ""}
        return MeasuredCase(status="out of memory", **of)

    monkeypatch.setattr("samattn_cli.studies.measure.measure_case", case)
    monkeypatch.setattr("samattn_cli.studies.measure.device_fingerprint", lambda *_: made_by)
    return events


def measured_batches() -> list[int]:
    return [case.config.run.batch_size for case in read_recording(Path("m.json")).cases]


def test_two_commands_that_measure_into_one_file_lose_nothing(meanwhile, tmp_path) -> None:
    """The second runs from beginning to end while the first measures its second case."""
    meanwhile.append(lambda: run(*MEASURE, "--batch-size", "3,4"))
    assert run(*MEASURE, "--batch-size", "1,2,5").exit_code == 0
    assert measured_batches() == [1, 3, 4, 2, 5]
    assert {path.name for path in tmp_path.iterdir()} == {"small.yaml", "m.json"}


def test_a_fresh_recording_replaces_the_file_once(meanwhile) -> None:
    assert run(*MEASURE, "--batch-size", "7").exit_code == 0
    meanwhile.append(lambda: run(*MEASURE, "--batch-size", "3"))
    assert run(*MEASURE, "--batch-size", "1,2", "--fresh").exit_code == 0
    assert measured_batches() == [1, 3, 2]


def test_a_file_that_is_removed_while_it_is_measured_into_is_written_again(meanwhile) -> None:
    meanwhile.append(Path("m.json").unlink)
    assert run(*MEASURE, "--batch-size", "1,2").exit_code == 0
    assert measured_batches() == [1, 2]


def test_a_file_that_became_another_while_it_was_measured_into(meanwhile) -> None:
    meanwhile.append(lambda: Path("m.json").write_text("{}", "utf-8"))
    done = run(*MEASURE, "--batch-size", "1,2", COLUMNS="150")
    assert done.exit_code == 2
    assert "m.json: is not a recording" in done.stderr
    assert Path("m.json").read_text("utf-8") == "{}"
    assert "batch 1" in done.stdout  # what was measured is shown
    assert "batch 2" in done.stdout


ASKS = """
import sys
from samattn_cli.studies import child
child.CODE = '''
import os, time
from samattn_cli.stack import child
def answer(request):
    with open("pid", "w") as file:
        print(os.getpid(), file=file)
    time.sleep(600)
child.answer = answer
child.main()
'''
child.ask_fingerprint("cpu")
"""


@pytest.mark.parametrize("signal_", [signal.SIGTERM, signal.SIGKILL])
def test_the_process_of_a_case_ends_with_the_one_that_asked(tmp_path, signal_: signal.Signals) -> None:
    asking = subprocess.Popen(
        [SAMATTN[0], "-c", ASKS],
        cwd=tmp_path,
        env=environment(PYTHONPATH=str(ROOT)),
        stderr=subprocess.DEVNULL,
    )
    pid = tmp_path / "pid"
    _wait_until(lambda: pid.is_file() and pid.read_text().strip())
    asking.send_signal(signal_)
    asking.wait()
    _wait_until(lambda: not Path("/proc", pid.read_text().strip()).exists())


def _wait_until(is_so: Callable[[], object]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.02)
