"""Out-of-memory errors of public threads, by their figures alone: an operation explains one, or it is not the encoder's.

Each entry of `oom_messages.json` has the figures as printed (`tried`, and where the message has them `allocated`, `capacity`,
`free`, `reserved`, `unallocated`), the address of the thread, what it says of the run (`config`, `settings`), and what is expected:

- "op": the operation `op` explains it, and no other is named before it;
- "not ours": no operation of the encoder asks for that size;
- "contradicted": operations ask for that size, but what the thread says of the run cannot be; `why` says what.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from samattn_cli import load_config
from samattn_cli.studies.oom.answer import answer
from samattn_cli.tape.inside import Cuda

MESSAGES = json.loads(Path(__file__).with_name("oom_messages.json").read_text("utf-8"))
FIGURES = {
    "capacity": "{} total capacity",
    "allocated": "{} already allocated",
    "free": "{} free",
    "reserved": "{} reserved in total by PyTorch",
    "unallocated": "{} is reserved by PyTorch but unallocated",
}
EXPECTED = {"op", "not ours", "contradicted"}


def text_of(entry: dict[str, str]) -> str:
    figures = "; ".join(words.format(entry[name]) for name, words in FIGURES.items() if name in entry)
    return f"CUDA out of memory. Tried to allocate {entry['tried']} (GPU 0; {figures})"


@pytest.mark.parametrize("entry", MESSAGES, ids=lambda entry: f"{entry['config']}-{entry['tried']}")
def test_a_public_message(entry):
    assert entry["expected"] in EXPECTED
    given = frozenset(each.partition("=")[0].removeprefix("run.") for each in entry["settings"])
    report = answer(text_of(entry), load_config(entry["config"], entry["settings"]), given, Cuda())
    if entry["expected"] == "op":
        first = report.candidates[0]
        assert entry["op"] in {f"{layer}.{first.op}" for layer in first.layers}
    elif entry["expected"] == "not ours":
        assert report.verdict == "none"
    else:
        assert report.verdict != "operation", entry["why"]
