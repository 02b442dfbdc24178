"""Messages that torch printed on the dry device, and where it was: `samattn oom` finds the place from the message alone.

`dry/messages.json` has 53 runs of 12 encoders, in inference and in training: forward, backward, first and later step.
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
from samattn_cli.studies.oom.words import place_of
from tests.studies.oom.dry.record import DEVICE, PATH

GIVEN = frozenset({"batch_size", "dtype", "mode", "attention", "image_size"})
CASES: list[dict[str, Any]] = json.loads(PATH.read_text("utf-8"))
ALIKE = {
    # 2.00 MiB is asked for every small request; several near here have as much live within the printed digits
    ("swinv2_t", "norm", "backward", 2),
    ("swinv2_t", "blocks.11", "forward", 2),
}
MOVED = {
    # segments were given back before, and what is requested after that has other addresses than in a replay
    ("sam_vit_b", "blocks.11", "backward", 3787456512),
    ("vitdet_b", "blocks.11", "backward", 1962934272),
    ("sam3_vision", "blocks.31", "backward", 12943622144),
}
SMALL = [case for case in CASES if case["preset"] == "vit_b"]


def answered(case: dict[str, Any]) -> Oom:
    cuda = cuda_of(load_device(DEVICE, "DEVICE"))
    assert cuda is not None
    return answer(case["message"], load_config(case["preset"], case["settings"]), GIVEN, cuda)


def is_found(case: dict[str, Any]) -> bool:
    first = answered(case).candidates[0]
    is_later = case["round"] > 1
    return [first.layers[0], first.phase] == case["section"] and (first.round == "later") == is_later


def is_alike(case: dict[str, Any]) -> bool:
    return (case["preset"], *case["section"], case["round"]) in ALIKE


def is_moved(case: dict[str, Any]) -> bool:
    return (case["preset"], *case["section"], case["capacity"]) in MOVED


def name_of(case: dict[str, Any]) -> str:
    return f"{case['preset']}-{case['settings'][-1]}-{'.'.join(case['section'])}-{case['round']}"


@pytest.mark.parametrize("case", SMALL, ids=name_of)
def test_the_place_of_a_message_of_one_encoder(case):
    assert is_found(case)


@pytest.mark.exhaustive
@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_the_place_of_every_message(case):
    if is_moved(case) or is_alike(case):
        assert answered(case).verdict != "operation"
    else:
        assert is_found(case)


def test_operations_that_ask_for_a_shared_segment_are_not_told_apart():
    """Each small request asks for 2.00 MiB, and about as much is live before several: none is named."""
    case = next(case for case in CASES if is_alike(case) and case["round"] > 1)
    report = answered(case)
    assert report.message.tried.text == "2.00 MiB"
    assert report.verdict == "possible"
    assert "segments of that size for small tensors" in report.answer
    assert place_of(report.candidates[0]) not in report.answer


def test_the_messages_are_of_ten_encoders_and_all_phases():
    assert len({case["preset"] for case in CASES}) >= 10
    phases = {(case["section"][1], case["round"]) for case in CASES}
    assert phases == {("forward", 1), ("backward", 1), ("forward", 2), ("backward", 2)}
