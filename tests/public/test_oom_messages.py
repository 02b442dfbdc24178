"""Out-of-memory errors of public threads, by their figures alone: an operation explains one, or it is not the encoder's.

Each entry of `oom_messages.json` has the figures as printed (`tried`, and where the message has them `allocated`, `capacity`,
`free`, `reserved`, `unallocated`), the address of the thread, what it says of the run (`config`, `settings`), and what is expected:

- "op": one of the operations `op` explains it, by `why`: the line of the thread's traceback, which samattn is not given, or live
  bytes. It is answered, or several as likely are, or it is said to be possible; another operation is never the answer;
- "not ours": no operation of the encoder asks for that size, by `why`;
- "contradicted": operations ask for that size, but what the thread says of the run cannot be; `why` says what;
- "open": the thread does not say enough to know; no operation may be the answer.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from samattn_cli import load_config
from samattn_cli.reports.oom import Oom
from samattn_cli.studies.oom.answer import answer
from samattn_cli.studies.oom.words import place_of
from samattn_cli.tape.inside import Cuda
from tests.support.running import ROOT

MESSAGES: list[dict[str, Any]] = json.loads(Path(__file__).with_name("oom_messages.json").read_text("utf-8"))
FIGURES = {
    "capacity": "{} total capacity",
    "allocated": "{} already allocated",
    "free": "{} free",
    "reserved": "{} reserved in total by PyTorch",
    "unallocated": "{} is reserved by PyTorch but unallocated",
}
FEW = ("bowang-lab/MedSAM/issues/146", "brjathu/LART/issues/31", "sd-webui-inpaint-anything/issues/77")
"""Those of the default suite: live bytes prove the operation, several are as likely, and none asks for it."""


def text_of(entry: dict[str, Any]) -> str:
    figures = "; ".join(words.format(entry[name]) for name, words in FIGURES.items() if name in entry)
    return f"CUDA out of memory. Tried to allocate {entry['tried']} (GPU 0; {figures})"


def answered(entry: dict[str, Any]) -> Oom:
    given = frozenset(each.partition("=")[0].removeprefix("run.") for each in entry["settings"])
    return answer(text_of(entry), load_config(entry["config"], entry["settings"]), given, Cuda())


def is_right(entry: dict[str, Any], report: Oom) -> bool:
    expected = entry["expected"]
    if expected == "not ours":
        return report.verdict == "none"
    if expected == "op":
        first = report.candidates[0]
        return first.op in entry["op"] or place_of(first) not in report.answer
    return report.verdict != "operation"


def name_of(entry: dict[str, Any]) -> str:
    return f"{entry['address'].removeprefix('https://github.com/')}-{entry['tried']}"


@pytest.mark.parametrize(
    "entry", [entry for entry in MESSAGES if entry["address"].endswith(FEW)], ids=name_of
)
def test_a_public_message(entry):
    assert is_right(entry, answered(entry))


@pytest.mark.exhaustive
@pytest.mark.parametrize("entry", MESSAGES, ids=name_of)
def test_every_public_message(entry):
    assert is_right(entry, answered(entry))


def test_the_table_of_messages_is_what_the_file_has():
    counts = Counter(entry["expected"] for entry in MESSAGES)
    page = (ROOT / "tests" / "README.md").read_text("utf-8")
    assert sum(counts.values()) == len(MESSAGES) >= 30
    for expected, count in counts.items():
        assert f"| {expected} | {count} |" in page
