"""torch's choice of attention kernel on an H200 (torch 2.11.0, cuDNN 9.19): 10,439 calls, next to the rules of 2.11."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from samattn_cli.tape.sdpa import choose
from samattn_cli.tape.sdpa_call import Target
from tests.tape.dry.sdpa import LETTERS
from tests.tape.dry.sdpa_cases import RANDOM, named, randomly

PATH = Path(__file__).with_name("h200") / "sdpa.jsonl.gz"
H200 = Target((9, 0), (2, 11))


@pytest.mark.parametrize("at_random", [600, pytest.param(RANDOM, marks=pytest.mark.exhaustive)])
def test_each_call_runs_the_kernel_that_the_gpu_chose(at_random: int) -> None:
    """Calls of three dimensions were given a batch. "-" is a call whose operands did not fit."""
    with gzip.open(PATH, "rt", encoding="utf-8") as file:
        letters = json.loads(file.readline())["answer"]
    assert len(letters) - letters.count("-") == 10_439
    calls = [*(call for _, call in named()), *randomly(at_random)]
    different = [
        (call, theirs)
        for call, theirs in zip(calls, letters, strict=at_random == RANDOM)
        if theirs not in ("-", LETTERS[choose(call.batched(), H200).kernel])
    ]
    assert different == []
