"""The edge of an H200's memory: what was derived to fit ran there, and the error of what did not is explained."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from samattn_cli import load_config, load_device
from samattn_cli.cli.app import app
from samattn_cli.studies.on_device import replayed
from samattn_cli.studies.passes import Passes
from samattn_cli.tape.allocator import OutOfMemoryError
from tests.gpu.cases import EDGES, TORCH, h200

PATH = Path(__file__).with_name("h200") / "edges.jsonl.gz"


def runs() -> list[dict[str, Any]]:
    with gzip.open(PATH, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def fits(preset: str, sets: tuple[str, ...], images: int) -> bool:
    config = load_config(preset, [*sets, f"run.batch_size={images}", f"run.torch={TORCH}"])
    try:
        replayed(Passes(config), h200(), load_device("h200").usable_bytes)
    except OutOfMemoryError:
        return False
    return True


@pytest.mark.parametrize(("preset", "sets", "most"), EDGES)
def test_what_is_derived_to_fit_ran(preset, sets, most):
    assert fits(preset, sets, most)
    assert not fits(preset, sets, most + 1)
    of_preset = {
        config["run"]["batch_size"]: run["answer"]["status"]
        for run in runs()
        if (config := json.loads(run["key"]))["name"] == preset
        and config["run"]["mode"] == ("training" if "run.mode=training" in sets else "inference")
    }
    assert of_preset[most] == "measured"
    assert of_preset[most + 1] == ("out of memory" if preset == "sam_vit_h" else "measured")


@pytest.mark.exhaustive
def test_the_error_of_a_real_gpu_leads_to_its_operation():
    """ViT-H trains with six images in float32, of which five fit. Nothing but the message and the preset is given."""
    (message,) = [
        run["answer"]["message"]
        for run in runs()
        if '"batch_size": 6,' in run["key"] and run["answer"]["status"] == "out of memory"
    ]
    answered = CliRunner().invoke(app, ["oom", message, "sam_vit_h", "--device", "h200"])
    text = " ".join(answered.stdout.split())
    assert "blocks.31.attn.softmax.grad_input (backward) asks for 6.00 GiB, with 6 images, training" in text
