"""Rows of issue 20 about one encoder: reports, the cross-check, the Tape."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path

from tests.benchmarks.measuring import Line, Row, Trees, command, in_turns, output, run
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

OPERATIONS = """
import sys
from pathlib import Path
from samattn_cli import load_config
try:
    from samattn_cli.tape.backward import backward
    from samattn_cli.tape.encoder import forward
except ModuleNotFoundError:
    from samattn_cli.cost.encoder import backward, forward
passes, *trains = sys.argv[1:]
configs = [load_config("sam_vit_h", [f"image_size={side}"]) for side in range(512, 864, 16)]
for config in configs:
    config.plan
def recorded(config):
    passed = forward(config, training=bool(trains))
    runs = [getattr(run, "recording", run) for run in backward(passed)] if trains else []
    segments = passed.segments if not hasattr(passed, "twins") else [twins.first for twins in passed.twins]
    recordings = {id(each): each for each in (*(segment.recording for segment in segments), *runs)}
    return sum(len(each.ops) for each in recordings.values())
Path("operations").write_text(str(sum(map(recorded, configs[:int(passes)]))))
"""
"""Runs so many encoders on the Tape, with their backward if there is another word, and writes how many operations that records.

Blocks of one kind are run once, and a pass that lists them once is not asked for each of them. Each encoder is of another size, so that no block is one of an encoder before.
"""

IMPORT_TORCH = "import torch, fvcore.nn"


def _of_libraries(what: str, target: float, *words: str) -> Row:
    """Instructions of a command, as a multiple of those of its libraries."""

    def row(trees: Trees) -> Iterator[Line]:
        peer = _libraries(trees.now, trees.work)
        old, new = (instructions(tree, trees.work, command(*words)) for tree in trees[:2])
        before, after = (run(tree, trees.work, command(*words)).peak_bytes for tree in trees[:2])
        remark = f"{new / 1e6:,.0f} million instructions, of {LIBRARIES} with {peer / 1e6:,.0f}"
        yield Line(what, old / peer, new / peer, "x", target, remark, peaks=(before, after))

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
        remark = f"{new.seconds:.2f} s, peer {other.seconds:.2f} s, today {old.seconds:.2f} s"
        ratios = old.seconds / other.seconds, new.seconds / other.seconds
        yield Line(what, *ratios, "x", target, remark, peaks=(old.peak_bytes, new.peak_bytes))

    return row


DEPTHS = 32, 320
REPORT = """
import sys, time
from samattn_cli import analyze, load_config
depth = int(sys.argv[1])
config = load_config("sam_vit_h", [f"depth={depth}", f"global_attn_indexes={list(range(7, depth, 8))}"])
analyze(load_config("sam_vit_b"), verify=False)
began = time.process_time()
analyze(config, verify=False)
print(time.process_time() - began)
"""
"""CPU seconds of a report, all imported before."""


def _of_a_layer(trees: Trees) -> Iterator[Line]:
    """What analyze() takes more for each layer: of ViT-H with every eighth layer global."""
    layers = DEPTHS[1] - DEPTHS[0]
    names = [(tree, str(depth)) for tree in trees[:2] for depth in DEPTHS]
    took: dict[tuple[Path, str], list[float]] = {name: [] for name in names}
    for _ in range(7):
        for tree, depth in names:
            took[tree, depth].append(float(output(tree, trees.work, ["-c", REPORT, depth])))
    few, many, few_now, many_now = (min(took[name]) * 1e3 for name in names)
    remark = f"ms at depth {DEPTHS[0]} and {DEPTHS[1]}: today {few:.1f} and {many:.1f}, now {few_now:.1f} and {many_now:.1f}"
    ms = (many - few) / layers, (many_now - few_now) / layers
    yield Line(f"a layer in analyze()'s report, depth {DEPTHS[0]} to {DEPTHS[1]}", *ms, "ms", 0.1, remark)
    counted = [instructions(tree, trees.work, ["-c", REPORT, depth]) / 1e3 for tree, depth in names]
    each = (counted[1] - counted[0]) / layers, (counted[3] - counted[2]) / layers
    yield Line("the same, in thousands of instructions", *each, "k", 0.1)


def _of_an_op(what: str, target: float, *words: str) -> Row:
    """Instructions of passes over encoders that have no block in common, by the operations that the passes record."""

    def row(trees: Trees) -> Iterator[Line]:
        (old, _), (new, ops) = (_passes(tree, trees.work, *words) for tree in trees[:2])
        yield Line(what, old, new, "k", target, f"k instructions; {ops:,} operations now")

    return row


def _passes(tree: Path, folder: Path, *words: str) -> tuple[float, int]:
    """Thousands of instructions for each operation that passes record, and the number of operations."""
    counted = []
    for passes in (1, PASSES + 1):
        taken = instructions(tree, folder, ["-c", OPERATIONS, str(passes), *words])
        counted.append((taken, int((folder / "operations").read_text())))
    (one, few), (all_, many) = counted
    return (all_ - one) / (many - few) / 1000, many - few


PASSES = 20
QWEN = "qwen2_5_vl_vision"

ROWS: dict[str, Row] = {
    "analyze": _of_libraries("analyze sam_vit_h --no-verify", 1.3, "analyze", "sam_vit_h", "--no-verify"),
    "help": _of_libraries("--help", 0.8, "--help"),
    "configs": _of_libraries("configs", 1.3, "configs"),
    "analyze-qwen": _of_libraries(f"analyze {QWEN} --no-verify", 1.6, "analyze", QWEN, "--no-verify"),
    "verify-qwen": _of_peer(
        f"verify {QWEN}, of FlopCounterMode", 1.2, command("verify", QWEN), ["-c", FLOP_COUNTER, QWEN], 1
    ),
    "analyze-verified": _of_peer(
        f"analyze sam_vit_h, of {IMPORT_TORCH}", 1.2, command("analyze", "sam_vit_h"), ["-c", IMPORT_TORCH], 5
    ),
    "tape-op": _of_an_op("the Tape, an operation (forward, sam_vit_h)", 0.5),
    "tape-op-training": _of_an_op("the Tape, an operation (forward and backward)", 0.5, "training"),
    "layer": _of_a_layer,
}
