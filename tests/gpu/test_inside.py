"""What attention takes inside on an H200, call by call, next to what the Tape derives for the same call."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from samattn_cli.records import replace
from samattn_cli.tape import autograd
from samattn_cli.tape.graph import Node
from samattn_cli.tape.inside import Cuda, steps
from samattn_cli.tape.kernels import attention
from samattn_cli.tape.ops import Recording
from samattn_cli.tape.sdpa_call import Target
from samattn_cli.tape.storage import Storage
from samattn_cli.tape.tape import Tape
from samattn_cli.tape.tensor import Tensor

PATH = Path(__file__).with_name("h200") / "inside.jsonl.gz"
H200 = Cuda(9.0, 132)


def recorded(key: str) -> list[dict[str, Any]]:
    with gzip.open(PATH, "rt", encoding="utf-8") as file:
        return next(run["answer"] for run in map(json.loads, file) if run["key"] == key)


def operands(tape: Tape, shape: list[int], kind: str) -> list[Tensor]:
    """Queries, keys, values, and a mask if there is one."""
    B, h, N, M, d = shape
    if kind == "packed":
        whole = replace(tape.tensor(B, N, 3, h, d), grad_fn=(Node(None), 0))
        return list(whole.permute(2, 0, 3, 1, 4).unbind())
    q, k, v = (replace(tape.tensor(B, h, n, d), grad_fn=(Node(None), 0)) for n in (N, M, M))
    return [q, k, v, tape.tensor(B, h, N, M)] if "mask" in kind else [q, k, v]


def made(recording: Recording) -> list[int]:
    """The bytes of what operations allocate, in order. What has none is not allocated."""
    found = []
    for op in recording.ops:
        results = iter(op.allocates)
        taken = [next(results) if step is None else step for step in steps(op, H200)]
        rest = [each for each in op.allocates if each not in taken]
        found += [each.nbytes if isinstance(each, Storage) else each for each in (*taken, *rest)]
    return [nbytes for nbytes in found if nbytes]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_cudnn_attention_takes_what_it_took(dtype: str) -> None:
    """Seed, offset, output, log-sum-exp for a backward, workspace; of the backward three gradients and the workspace."""
    backward = 0
    for run in recorded(f"attention cudnn {dtype}"):
        if "error" in run:
            assert (run["kind"], run["grad"]) == ("masked grad", True)  # cuDNN has no gradient of a mask
            continue
        tape = Tape(2, half_to_float=dtype == "float16", training=run["grad"], target=Target((9, 0), (2, 11)))
        q, k, v, *mask = operands(tape, run["shape"], run["kind"])
        out = attention(tape, "sdpa", q, k, v, *mask)
        taken = [nbytes for sign, nbytes in run["forward"] if sign == "+"]
        assert made(tape.recording()) == taken, run
        if run["grad"]:
            backward += 1
            autograd.backward(tape, [(out, tape.tensor_like(out))], [(x, None) for x in (q, k, v)])
            taken = [nbytes for sign, nbytes in run["backward"] if sign == "+"]
            assert made(tape.recording())[:4] == taken[:4], run
            B, h, N, _, d = run["shape"]
            assert taken[3] == 4 * B * h * N * (d + 1) + 256
    assert backward == 25
