"""The snapshot of a run: PyTorch's memory viewer reads it, and it has the figures of the report."""

import importlib.util
import pickle
import pickletools
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from samattn_cli import analyze, load_config, load_device
from samattn_cli.cli.app import app
from samattn_cli.studies.passes import Passes
from samattn_cli.studies.snapshot import snapshot_of

SMALL = ("depth=2", "image_size=64", "global_attn_indexes=[1]")
TRAINING = "run.mode=training"
RUNS = (
    (),
    (TRAINING,),
    (TRAINING, "run.parallel=fsdp2", "run.gpus=4"),
    (TRAINING, "run.allocator=expandable_segments:True", "run.optimizer=sgd"),
)
OPCODES = {
    *(
        "PROTO",
        "FRAME",
        "STOP",
        "MARK",
        "MEMOIZE",
        "BINGET",
        "LONG_BINGET",
        "EMPTY_DICT",
        "EMPTY_LIST",
        "EMPTY_TUPLE",
    ),
    *(
        "SETITEM",
        "SETITEMS",
        "APPEND",
        "APPENDS",
        "TUPLE",
        "TUPLE1",
        "TUPLE2",
        "TUPLE3",
        "NONE",
        "NEWTRUE",
        "NEWFALSE",
    ),
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "SHORT_BINUNICODE", "BINUNICODE"),
}
"""Those that torch/utils/viz/MemoryViz.js reads."""
EXACT_IN_JAVASCRIPT = 2**53


def config(*settings: str) -> Any:
    return load_config("sam_vit_b", (*SMALL, *settings))


@cache
def pickled(settings: tuple[str, ...]) -> bytes:
    return snapshot_of(Passes(config(*settings), load_device("a100_80", "DEVICE")))


def snapshot(settings: tuple[str, ...]) -> dict[str, Any]:
    return pickle.loads(pickled(settings))


@pytest.fixture(scope="module")
def viewer() -> Any:
    """torch.cuda._memory_viz, which needs nothing else of torch."""
    found = importlib.util.find_spec("torch")
    assert found is not None
    assert found.origin is not None
    file = Path(found.origin).parent / "cuda" / "_memory_viz.py"
    spec = importlib.util.spec_from_file_location("memory_viz", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def reserved(trace: list[dict[str, Any]]) -> list[int]:
    """What is reserved after each entry."""
    signs = {"segment_alloc": 1, "segment_map": 1, "segment_free": -1, "segment_unmap": -1}
    now, found = 0, []
    for entry in trace:
        now += signs.get(entry["action"], 0) * entry["size"]
        found.append(now)
    return found


@pytest.mark.parametrize("settings", RUNS)
def test_torchs_viewer_reads_it(settings, viewer) -> None:
    data = snapshot(settings)
    assert f"segments: {len(data['segments'])}" in viewer.segsum(data)  # it raises if sizes do not add up
    assert "blocks.1" in viewer.memory(data, format_flamegraph=str) + str(data["device_traces"])
    assert viewer.compare(data["segments"], data["segments"], format_flamegraph=str) == ""
    for page in (viewer.trace_plot(data), viewer.segment_plot(data), viewer.trace(data)):
        assert page


@pytest.mark.parametrize("settings", RUNS)
def test_segments_at_the_end_are_what_the_trace_leaves(settings) -> None:
    data = snapshot(settings)
    (trace,) = data["device_traces"]
    assert sum(segment["total_size"] for segment in data["segments"]) == reserved(trace)[-1]
    live: dict[int, int] = {}
    for entry in trace:
        if entry["action"] == "alloc":
            assert entry["addr"] not in live
            live[entry["addr"]] = entry["size"]
        elif entry["action"] == "free_completed":
            assert live.pop(entry["addr"]) == entry["size"]
    blocks = [block for segment in data["segments"] for block in segment["blocks"]]
    kept = {b["address"]: b["requested_size"] for b in blocks if b["state"] == "active_allocated"}
    assert kept == live


@pytest.mark.parametrize("settings", RUNS[:2])
def test_the_most_that_is_reserved_is_that_of_the_report(settings) -> None:
    (trace,) = snapshot(settings)["device_traces"]
    totals = analyze(config(*settings), device=load_device("a100_80", "DEVICE"), verify=False).totals
    assert max(reserved(trace)) == totals.reserved_bytes


def test_each_pass_is_there_and_frames_name_layer_and_operation() -> None:
    (trace,) = snapshot((TRAINING,))["device_traces"]
    frames = {
        (own["filename"], own["name"], outer["name"]) for own, outer in (entry["frames"] for entry in trace)
    }
    assert ("blocks.1 backward", "attn.softmax.grad_input [temporaries]", "pass 1") in frames
    assert ("blocks.1 backward", "attn.softmax.grad_input [temporaries]", "pass 2") in frames
    assert ("optimizer step", "step [optimizer]", "pass 1") in frames
    assert ("optimizer step", "step [optimizer]", "pass 2") not in frames
    assert ("around the layers", "weights [weights]", "build") in frames


@pytest.mark.parametrize("settings", RUNS)
def test_the_viewer_in_a_browser_can_unpickle_it(settings) -> None:
    assert {opcode.name for opcode, _, _ in pickletools.genops(pickled(settings))} <= OPCODES
    assert max(entry["addr"] for entry in snapshot(settings)["device_traces"][0]) < EXACT_IN_JAVASCRIPT


def test_the_command_writes_it_next_to_the_report(tmp_path) -> None:
    file = tmp_path / "snapshot.pickle"
    settings = (word for each in SMALL for word in ("--set", each))
    words = [
        "analyze",
        "sam_vit_b",
        *settings,
        "--no-verify",
        "--brief",
        "--device",
        "a100_80",
        "--snapshot",
        str(file),
    ]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert "fits a100_80" in result.stdout
    assert file.read_bytes() == pickled(())


@pytest.mark.parametrize("device", [[], ["--device", "cpu"], ["--memory", "8GiB"]])
def test_it_needs_a_cuda_device(device, tmp_path) -> None:
    file = tmp_path / "snapshot.pickle"
    result = CliRunner().invoke(
        app, ["analyze", "sam_vit_b", "--no-verify", *device, "--snapshot", str(file)]
    )
    assert result.exit_code == 2
    assert "[needs-device]" in result.output
    assert not file.exists()


def test_a_folder_that_does_not_exist_is_refused_before_any_work(tmp_path) -> None:
    words = [
        "analyze",
        "sam_vit_b",
        "--device",
        "a100_80",
        "--snapshot",
        str(tmp_path / "none" / "snapshot.pickle"),
    ]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert result.output.startswith("--snapshot ")
    assert "[no-such-directory]" in result.output
