"""Keys of a run that change nothing in an answer say so."""

from __future__ import annotations

from dataclasses import replace

import pytest

from samattn_cli.cli.ignored import say_ignored
from samattn_cli.device.load import load_device
from samattn_cli.encoder.model import RunConfig
from samattn_cli.encoder.without_effect import without_effect

FSDP = {"mode": "training", "parallel": "fsdp2", "gpus": 8}
SPLIT, THRESHOLD = "max_split_size_mb:64", "garbage_collection_threshold:0.6"


@pytest.mark.parametrize(
    ("keys", "on_cuda", "has_times", "noted"),
    [
        ({}, False, False, []),
        ({"allocator": SPLIT}, False, True, ["run.allocator"]),
        ({"allocator": SPLIT}, True, True, []),
        ({"allocator": THRESHOLD}, True, True, ["run.allocator"]),
        ({"allocator": f"{SPLIT},{THRESHOLD}"}, True, True, []),
        ({"tf32": True}, True, False, ["run.tf32"]),
        ({"tf32": True}, True, True, []),
        ({"tf32": True, "autocast": "bfloat16"}, True, True, ["run.tf32"]),
        ({"tf32": True, "dtype": "float16"}, True, True, ["run.tf32"]),
        ({"tf32": True, "allocator": SPLIT}, False, False, ["run.allocator", "run.tf32"]),
        ({"torch": "2.13"}, False, True, ["run.torch"]),
        ({"torch": "2.14", "mode": "training"}, False, True, []),  # a linear layer returns a view
        ({"torch": "2.11"}, True, True, []),  # cuBLASLt's workspace is 1 MiB larger than in 2.14
        ({"torch": "2.13", "attention": "sdpa"}, True, True, []),
        ({**FSDP, "param_dtype": "float32"}, True, True, ["run.param_dtype"]),
        ({**FSDP, "reduce_dtype": "float32"}, True, True, ["run.reduce_dtype"]),
        ({**FSDP, "param_dtype": "bfloat16", "reduce_dtype": "bfloat16"}, True, True, []),
        (
            {**FSDP, "param_dtype": "bfloat16", "reduce_dtype": "bfloat16", "torch": "2.14"},
            True,
            True,
            ["run.reduce_dtype"],
        ),
        ({**FSDP, "param_dtype": "bfloat16", "reduce_dtype": "float32"}, True, True, ["run.reduce_dtype"]),
        ({**FSDP, "param_dtype": "bfloat16", "reduce_dtype": "float32", "torch": "2.14"}, True, True, []),
        ({**FSDP, "param_dtype": "bfloat16", "tf32": True}, True, True, ["run.tf32"]),
    ],
)
def test_a_key_without_effect_is_noted(keys, on_cuda, has_times, noted):
    notes = list(without_effect(replace(RunConfig(), **keys), on_cuda=on_cuda, has_times=has_times))
    assert [note.split()[0] for note in notes] == noted
    assert {note.code for note in notes} <= {"key-without-effect"}


@pytest.mark.parametrize(
    ("device", "noted"),
    [(None, "run.allocator"), (1 << 30, "run.allocator"), ("cpu", "run.allocator"), ("t4", "")],
)
def test_each_note_is_printed_once(capsys, device, noted):
    where = load_device(device) if isinstance(device, str) else device
    say_ignored([RunConfig(allocator=SPLIT)] * 2, where)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in lines] == ([noted] if noted else [])
    assert all(line.endswith("[key-without-effect]") for line in lines)
