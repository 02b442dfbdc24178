"""The predicted time line of a pass: each operation once, one after another, as long as the report says."""

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from samattn_cli import analyze, load_config, load_device
from samattn_cli.cli.app import app
from samattn_cli.render import render
from samattn_cli.render.options import Options

SMALL = ("depth=2", "image_size=64", "global_attn_indexes=[1]")
ROWS = {1: "phases", 2: "layers", 3: "stream 0: operations"}


def report(*settings: str) -> Any:
    device = load_device("h100", "DEVICE")
    return analyze(load_config("sam_vit_b", (*SMALL, *settings)), device=device, verify=False, spans=True)


def events(found: Any) -> dict[str, list[dict[str, Any]]]:
    """The events of each row."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for event in json.loads(render(found, "trace", Options()))["traceEvents"]:
        if event["ph"] == "X":
            rows.setdefault(ROWS[event["tid"]], []).append(event)
    return rows


@pytest.mark.parametrize("settings", [(), ("run.mode=training",), ("run.mode=training", "run.accumulate=2")])
def test_operations_follow_one_another_and_end_with_the_report(settings) -> None:
    found = report(*settings)
    ops = events(found)["stream 0: operations"]
    ends = [event["ts"] + event["dur"] for event in ops]
    assert [event["ts"] for event in ops] == pytest.approx([0, *ends[:-1]])
    assert ends[-1] / 1000 == pytest.approx(found.totals.latency_ms)


def test_a_step_has_its_phases_and_layers_in_order() -> None:
    rows = events(report("run.mode=training", "run.accumulate=2"))
    phases = ["forward", "backward", "forward", "backward", "optimizer's step"]
    assert [event["name"] for event in rows["phases"]] == phases
    layers = [event["name"] for event in rows["layers"]]
    assert layers.index("blocks.0") < layers.index("blocks.1") < layers.index("neck")
    back = layers[layers.index("neck") + 1 :]
    assert back.index("neck") < back.index("blocks.1") < back.index("blocks.0")


def test_layers_are_as_long_as_the_report_says_and_name_what_bounds_them() -> None:
    found = report()
    for event in events(found)["layers"]:
        part = next(each for each in (*found.layers, *found.parts) if each.name == event["name"])
        assert event["dur"] / 1000 == pytest.approx(part.latency_ms)
        assert event["args"]["bound"] == part.bound
        assert event["args"]["FLOPs"] == part.flops


def test_the_command_writes_it(tmp_path) -> None:
    file = tmp_path / "trace.json"
    settings = (word for each in SMALL for word in ("--set", each))
    words = ["analyze", "sam_vit_b", *settings, "--no-verify"]
    result = CliRunner().invoke(app, [*words, "--device", "h100", "-o", f"trace={file}"])
    assert result.exit_code == 0, result.output
    assert json.loads(file.read_text())["otherData"]["device"] == "h100"


def test_it_needs_a_device(tmp_path) -> None:
    file = tmp_path / "trace.json"
    result = CliRunner().invoke(app, ["analyze", "sam_vit_b", "--no-verify", "-o", f"trace={file}"])
    assert result.exit_code == 2
    assert "[needs-device]" in result.output
    assert not file.exists()
