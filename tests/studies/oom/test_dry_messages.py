"""Messages that torch printed on the dry device, and where it was: `samattn oom` finds the place from the message alone.

`dry/messages.json` has 68 runs of 12 encoders, in inference and in training: forward, backward, first and later step. The 18 of
`dry/held_out.json` were written down before any was recorded, and no rule was made for them.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from samattn_cli import load_config
from samattn_cli.device.load import load_device
from samattn_cli.reports.oom import Oom
from samattn_cli.studies.on_device import cuda_of
from samattn_cli.studies.oom.answer import answer
from tests.studies.oom.dry.held_out import HELD_OUT
from tests.studies.oom.dry.record import DEVICE, HELD_OUT_PATH, PATH
from tests.support.recorded import torch_of

GIVEN = frozenset({"batch_size", "dtype", "mode", "attention", "image_size"})
CASES: list[dict[str, Any]] = json.loads(PATH.read_text("utf-8"))
HELD: list[dict[str, Any]] = json.loads(HELD_OUT_PATH.read_text("utf-8"))
SMALL = [case for case in CASES if case["preset"] == "vit_b"]


def answered(case: dict[str, Any]) -> Oom:
    cuda = cuda_of(load_device(case.get("device", DEVICE), "DEVICE"))
    assert cuda is not None
    config = load_config(case["preset"], [*case["settings"], torch_of(case)])
    return answer(case["message"], config, GIVEN, cuda)


def is_found(case: dict[str, Any]) -> bool:
    """Whether the first candidate is in the layer, phase and step in which torch was; forwards of inference are all alike."""
    first = answered(case).candidates[0]
    is_later = case["round"] > 1 and "run.mode=training" in case["settings"]
    layer, phase = case["section"]
    return layer in first.layers and first.phase == phase and (first.round == "later") == is_later


def name_of(case: dict[str, Any]) -> str:
    return f"{case['preset']}-{case['settings'][-1]}-{'.'.join(case['section'])}-{case['round']}"


@pytest.mark.parametrize("case", SMALL, ids=name_of)
def test_the_place_of_a_message_of_one_encoder(case):
    assert is_found(case)


@pytest.mark.exhaustive
@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_the_place_of_every_message(case):
    assert is_found(case)


@pytest.mark.exhaustive
@pytest.mark.parametrize("case", HELD, ids=name_of)
def test_the_place_of_messages_that_did_not_shape_the_ranking(case):
    assert is_found(case)


def test_the_held_out_runs_are_those_that_were_written_down():
    assert [(case["preset"], tuple(case["settings"]), case["device"]) for case in HELD] == [
        (run.preset, run.settings, run.device) for run in HELD_OUT
    ]


def test_memory_that_runs_out_in_the_second_forward_of_inference():
    """The first leaves free blocks elsewhere. Swin-T's first block asks for as much, with as much live, and has room."""
    case = next(case for case in CASES if case["preset"] == "swin_t" and "inference" in case["settings"][-1])
    assert (case["section"], case["round"]) == (["blocks.1", "forward"], 2)
    first, second = answered(case).candidates[:2]
    assert (first.op, first.layers, first.runs_out_here) == ("mlp.act", ("blocks.1",), True)
    assert (second.op, second.layers, second.runs_out_here) == ("mlp.act", ("blocks.0",), False)
    assert first.live_bytes == second.live_bytes


@pytest.mark.exhaustive
def test_the_gradient_of_an_output_is_named():
    """It is made when the forward is over, and no operation of the encoder makes it."""
    case = next(case for case in HELD if "torch.full_like" in case["operator"])
    assert answered(case).candidates[0].op == "output.grad"


def test_the_messages_are_of_ten_encoders_and_all_phases():
    assert len({case["preset"] for case in CASES}) >= 10
    phases = {(case["section"][1], case["round"]) for case in CASES}
    assert phases == {("forward", 1), ("backward", 1), ("forward", 2), ("backward", 2)}
