"""Runs encoders out of memory on the dry device, and keeps the messages that torch prints in `messages.json`.

    python -m tests.studies.oom.dry.record             # about five minutes, with torch's CUDA build
    python -m tests.studies.oom.dry.record held_out    # those of `held_out.py`, into held_out.json

The capacity of each card is chosen by a replay, so that memory runs out in the forward and in the backward of the first step, and in
a later one. What is kept is torch's own: the message, the part and phase that its hooks were in, and its node of autograd or line of code.
It needs what `tests/tape/dry/record.py` needs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from samattn_cli import load_config
from samattn_cli.device.dry.environment import environment
from samattn_cli.device.load import load_device
from samattn_cli.encoder.model import EncoderConfig
from samattn_cli.studies.on_device import cuda_of
from samattn_cli.studies.oom.places import run_of
from samattn_cli.tape.allocator import segment_for
from samattn_cli.tape.inside import Cuda
from samattn_cli.tape.timeline import Timeline
from tests.studies.oom.dry.held_out import HELD_OUT

PATH = Path(__file__).with_name("messages.json")
HELD_OUT_PATH = Path(__file__).with_name("held_out.json")
DEVICE = "rtx_3090"
STEP = 2 << 20
CASES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("sam_vit_b", ("image_size=512", "run.batch_size=2")),
    ("sam_vit_b", ("image_size=512", "run.attention=sdpa", "run.dtype=bfloat16")),
    ("vit_b", ("run.batch_size=8",)),
    ("mae_b_pretrain", ("run.batch_size=4",)),
    ("vitdet_b", ("image_size=448",)),
    ("swin_t", ("run.batch_size=8",)),
    ("swinv2_t", ("run.batch_size=4",)),
    ("sam2_hiera_t", ("image_size=448",)),
    ("deep_encoder", ("image_size=512",)),
    ("sam3_vision", ("image_size=504",)),
    ("med_sam_adapter_b", ("image_size=448",)),
    ("sam_vit_b_lora", ("image_size=448",)),
    # here memory can run out in a later step's forward and backward; above, in its optimizer or not at all
    ("mae_b_pretrain", ("run.batch_size=64",)),
    ("deep_encoder", ("image_size=640", "run.batch_size=4")),
    ("sam_vit_b_lora", ("image_size=448", "run.batch_size=2", "lora_rank=32")),
)
"""Preset and settings; each is run in inference, and in training in the four phases."""
PHASES = (("forward", 1), ("backward", 1), ("forward", 2), ("backward", 2))
MOST_SCANNED = 24


def capacities(preset: str, settings: tuple[str, ...]) -> Iterator[tuple[str, int]]:
    """The modes, and the memory of the process in which a run is expected to end in each phase."""
    cuda = _cuda(DEVICE)
    for mode, phases in (("inference", PHASES[:1]), ("training", PHASES)):
        config = load_config(preset, (*settings, f"run.mode={mode}"))
        run = run_of(config, cuda)
        for phase, number in phases:
            capacity = capacity_for(config, cuda, run, phase, number)
            if capacity is None:
                print(f"{preset} {settings}: no memory in which it ends in {phase} {number}", file=sys.stderr)
            else:
                yield mode, capacity


def capacity_for(config: EncoderConfig, cuda: Cuda, run: Timeline, phase: str, number: int) -> int | None:
    """The memory in which a run is expected to end in a phase of a step; None if none is found."""
    edges = [
        asked.reserved_bytes + asked.segment_bytes - STEP
        for asked in run.asked(note for note in run.notes if note[5])
        if asked.round == number and asked.section[0] and phase == asked.section[1]
    ]
    sizes = (*_middle_first(edges), *(_between_steps(config, cuda, run) if number > 1 else ()))
    fails = ((size, run_of(config, cuda, size).failed) for size in sizes)
    return next(
        (
            size
            for size, failed in fails
            if failed and failed.round == number and failed.op and phase == failed.section[1]
        ),
        None,
    )


def _cuda(device: str) -> Cuda:
    cuda = cuda_of(load_device(device, "DEVICE"))
    assert cuda is not None
    return cuda


def _between_steps(config: EncoderConfig, cuda: Cuda, run: Timeline) -> Iterator[int]:
    """Sizes in which the first step has room and a later one has not, the largest first.

    With less memory the allocator gives segments back and asks for others, so not each request for a segment is where a run ends.
    """
    last = max(note[4] + (segment_for(note[1]) if note[5] else 0) for note in run.notes)
    low = _least(last, lambda size: _ends(config, cuda, size) not in {0, 1})
    high = _least(last, lambda size: _ends(config, cuda, size) is None)
    step = max((high - low) // MOST_SCANNED // STEP, 1) * STEP
    yield from range(high - STEP, low - STEP, -step)


def _ends(config: EncoderConfig, cuda: Cuda, size: int) -> int | None:
    """The step in which a run ends in so much memory, 0 for its weights; None if it has room."""
    failed = run_of(config, cuda, size).failed
    return None if failed is None else failed.round


def _least(last: int, holds: Callable[[int], bool]) -> int:
    """The least size, in steps of a segment, from which something holds, or memory suffices."""
    low, high = 0, last // STEP + 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle * STEP) else (middle + 1, high)
    return low * STEP


def _middle_first(edges: list[int]) -> list[int]:
    """The larger half first, from its middle on: each is another place in the run."""
    ordered = sorted(set(edges))
    at = 2 * len(ordered) // 3
    return [*ordered[at:], *ordered[:at][::-1]]


def main() -> None:
    """Record the cases of one of the two files."""
    if sys.argv[1:] == ["held_out"]:
        _keep(HELD_OUT_PATH, list(_held_out()))
        return
    asked = [
        {"preset": preset, "settings": [*settings, f"run.mode={mode}"], "capacity": capacity}
        for preset, settings in CASES
        for mode, capacity in capacities(preset, settings)
    ]
    _keep(PATH, _recorded(asked, DEVICE))


def _held_out() -> Iterator[dict[str, Any]]:
    for preset, settings, name, ends in HELD_OUT:
        config, cuda, device = load_config(preset, settings), _cuda(name), load_device(name, "DEVICE")
        capacity = (
            device.memory_bytes - device.reserved_bytes
            if ends is None
            else capacity_for(config, cuda, run_of(config, cuda), *ends)
        )
        case = {"preset": preset, "settings": settings, "device": name, "capacity": capacity}
        yield from [case] if capacity is None else _recorded([case], name)


def _recorded(asked: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """What each case prints, in one process of the dry device that forks for each."""
    device = load_device(name, "DEVICE")
    done = subprocess.run(
        [sys.executable, "-m", "tests.studies.oom.dry.run"],
        input=json.dumps({"cases": asked, "context": device.reserved_bytes}),
        env=os.environ | environment(device),
        capture_output=True,
        text=True,
        check=False,
    )
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    print(
        f"{len(found)} of {len(asked)} cases, {sum('message' in each for each in found)} ran out",
        done.stderr[-2000:],
        flush=True,
    )
    return found


def _keep(path: Path, found: list[dict[str, Any]]) -> None:
    path.write_text("[\n" + ",\n".join(map(json.dumps, found)) + "\n]\n", "utf-8")


if __name__ == "__main__":
    main()
