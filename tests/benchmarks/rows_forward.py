"""Rows of issue 20 about one encoder: reports, the cross-check, the Tape."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path

from tests.benchmarks.measuring import Line, Row, Trees, command, in_turns, run
from tests.benchmarks.startup import LIBRARIES, instructions

FLOP_COUNTER = """
import sys, torch
from samattn_cli import load_config
from samattn_cli.stack.encoder import build, image_for
from torch.utils.flop_counter import FlopCounterMode
config = load_config(sys.argv[1])
model, image = build(config, "meta"), image_for(config, "meta")
with torch.no_grad(), FlopCounterMode(display=False) as counter:
    model(image)
print(counter.get_total_flops())
"""
"""Counts the FLOPs of an encoder on the meta device, as a user would script it."""

IMPORT_TORCH = "import torch, fvcore.nn"


def _of_libraries(what: str, target: float, *words: str) -> Row:
    """Instructions of a command, as a multiple of those of its libraries."""

    def row(trees: Trees) -> Iterator[Line]:
        peer = _libraries(trees.now, trees.work)
        old, new = (instructions(tree, trees.work, command(*words)) / peer for tree in trees[:2])
        yield Line(what, old, new, "x", target, f"of {LIBRARIES}: {peer / 1e6:,.0f} million instructions")

    return row


@cache
def _libraries(tree: Path, folder: Path) -> int:
    return instructions(tree, folder, ["-c", LIBRARIES])


def _of_peer(what: str, target: float, words: list[str], peer: list[str], runs: int) -> Row:
    """CPU seconds of a command as a multiple of those of another program, in turns."""

    def row(trees: Trees) -> Iterator[Line]:
        cases = [(trees.now, peer), (trees.before, words), (trees.now, words)]
        for tree in trees[:2]:
            run(tree, trees.work, ["-m", "compileall", "-q", str(tree / "samattn_cli")])
        other, old, new = in_turns(runs, *(partial(run, tree, trees.work, each) for tree, each in cases))
        remark = f"peer {other.seconds:.2f} s, today {old.seconds:.2f} s, now {new.seconds:.2f} s"
        yield Line(what, old.seconds / other.seconds, new.seconds / other.seconds, "x", target, remark)

    return row


QWEN = "qwen2_5_vl_vision"

ROWS: dict[str, Row] = {
    "help": _of_libraries("--help", 0.8, "--help"),
    "configs": _of_libraries("configs", 1.3, "configs"),
    "analyze": _of_libraries("analyze sam_vit_h --no-verify", 1.3, "analyze", "sam_vit_h", "--no-verify"),
    "analyze-qwen": _of_libraries(f"analyze {QWEN} --no-verify", 1.6, "analyze", QWEN, "--no-verify"),
    "verify-qwen": _of_peer(
        f"verify {QWEN}, of FlopCounterMode", 1.2, command("verify", QWEN), ["-c", FLOP_COUNTER, QWEN], 1
    ),
    "analyze-verified": _of_peer(
        f"analyze sam_vit_h, of {IMPORT_TORCH}", 1.2, command("analyze", "sam_vit_h"), ["-c", IMPORT_TORCH], 5
    ),
}
