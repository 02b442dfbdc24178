"""Runs encoders dry with the newest torch, whose memory has other rules than that of 2.14, and keeps what torch counted in `newest.json`.

    python -m tests.tape.dry.newest        # with the CUDA build of that torch; half an hour

The cases are as in `runs.json`: those of `CASES`, and one of `EVERY` of the smaller ones of `fsdp.json` and of those of `runs.json`.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from samattn_cli import load_config
from samattn_cli.encoder.applicable_keys import mapping_of
from samattn_cli.encoder.model import EncoderConfig
from tests.support.recorded import config_of
from tests.tape.dry import fsdp, record
from tests.tape.dry.many import measured

PATH = Path(__file__).with_name("newest.json")
EVERY = 3

TRAINING, HALF = "run.mode=training", "run.dtype=bfloat16"
SDPA, FUSED, AUTOCAST = "run.attention=sdpa", "run.attention=fused", "run.autocast=bfloat16"
SMALL = "image_size=224"

CASES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("sam_vit_b", "h100", (SMALL,)),
    ("sam_vit_b", "a100_80", (SMALL, TRAINING)),
    ("sam_vit_b", "h100", (SMALL, TRAINING, HALF, FUSED)),
    ("sam_vit_b", "a100_80", (SMALL, TRAINING, "implementation=transformers")),
    ("sam_vit_b", "a100_80", (SMALL, SDPA, "implementation=timm")),
    ("vit_b", "h100", (TRAINING,)),
    ("vit_b", "h100", (TRAINING, HALF, SDPA)),
    ("vit_b", "a100_80", (TRAINING, AUTOCAST, "run.checkpointing=true")),
    ("vit_b", "a100_80", (TRAINING, "run.step=first")),
    ("swin_t", "h100", (TRAINING,)),
    ("swin_t", "a100_80", (TRAINING, SDPA, HALF)),
    ("swinv2_t", "a100_80", (TRAINING, "image_size=256")),
    ("sam2_hiera_t", "h100", (SMALL, TRAINING)),
    ("sam2_hiera_t", "a100_80", (SMALL, SDPA)),
    ("deep_encoder", "a100_80", (SMALL, TRAINING)),
    ("qwen2_5_vl_vision", "a100_80", (SMALL,)),
    ("vitdet_b_fpn", "a100_80", (SMALL, TRAINING)),
    ("mae_b_pretrain", "a100_80", (TRAINING,)),
    ("sam_vit_b_lora", "a100_80", (SMALL, TRAINING, HALF)),
    # windows: 65 images of SAM 2 and 1,025 of Swin are more than 65,535 in the first stage
    ("sam2_hiera_t", "h200", (SDPA, HALF, "run.batch_size=65")),
    ("sam2_hiera_t", "h200", (SDPA, HALF, "run.batch_size=65", TRAINING)),
    ("swin_t", "h200", (SDPA, HALF, "run.batch_size=1025", TRAINING)),
    ("swin_t", "h200", (SDPA, "run.batch_size=1025", TRAINING)),
)
"""A preset, a device, and what is set."""


class Case(NamedTuple):
    """What is run: an encoder on a device, and what its config sets besides what `record.case_of` reads from it."""

    preset: str
    device: str
    config: EncoderConfig
    sets: list[str]


def cases() -> Iterator[Case]:
    """All of them."""
    import torch

    for preset, device, sets in CASES:
        yield Case(preset, device, load_config(preset, list(sets)), [])
    for case in (*fsdp.EACH_PATH, *fsdp.SMALL, fsdp.WHOLE[0])[::EVERY]:
        preset, *sets = case.split()
        own = [each for each in sets if not each.startswith(("run.", "image_size="))]
        yield Case(preset, fsdp.DEVICE, fsdp.config_of(case), own)
    for run in json.loads(record.PATH.read_text("utf-8"))[::EVERY]:
        config = config_of({**run, "torch": torch.__version__})
        yield Case(run["preset"], run["device"], config, run.get("sets", []))


def recorded() -> list[dict[str, Any]]:
    """The cases, with what torch's allocator counted; those of one device and one setting of the allocator run together."""
    groups: dict[tuple[str, str], list[Case]] = defaultdict(list)
    for case in cases():
        groups[case.device, case.config.run.allocator].append(case)
    found = []
    for (device, allocator), group in groups.items():
        print(f"{device} {allocator}: {len(group)}", file=sys.stderr, flush=True)
        outcomes = measured(device, allocator, [mapping_of(case.config) for case in group])
        for case, outcome in zip(group, outcomes, strict=True):
            if outcome["status"] != "measured":
                raise SystemExit(f"{case.preset} on {device}: {outcome['message']}")
            found.append(record.case_of(case.preset, device, case.config, outcome["measured"], case.sets))
    return found


if __name__ == "__main__":
    PATH.write_text("[\n" + ",\n".join(map(json.dumps, recorded())) + "\n]\n", "utf-8")
