"""Runs some encoders dry with torch 2.15, whose memory has other rules than that of 2.14, and keeps what torch counted in `newest.json`.

    python -m tests.tape.dry.newest        # with the CUDA build of that torch; ten minutes

The cases are as in `runs.json`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from samattn_cli import load_config
from samattn_cli.encoder.applicable_keys import mapping_of
from tests.tape.dry.many import measured
from tests.tape.dry.record import case_of

PATH = Path(__file__).with_name("newest.json")

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


def recorded() -> list[dict[str, Any]]:
    """The cases, with what torch's allocator counted."""
    cases = []
    for preset, device, sets in CASES:
        config = load_config(preset, list(sets))
        (outcome,) = measured(device, "", [mapping_of(config)])
        if outcome["status"] != "measured":
            raise SystemExit(f"{preset} on {device}: {outcome['message']}")
        cases.append(case_of(preset, device, config, outcome["measured"], []))
    return cases


if __name__ == "__main__":
    PATH.write_text("[\n" + ",\n".join(map(json.dumps, recorded())) + "\n]\n", "utf-8")
