"""Runs that were written down before any of their messages was recorded or answered: a test of the ranking that did not shape it.

No encoder of `CASES` in `record.py` is among them with the same size, type and card. `record.py held_out` records them into
`held_out.json`. Where a phase and a step are named, the memory is chosen by a replay so that the run ends there; where none is, the
process has the whole card, and the run ends where it ends.
"""

from __future__ import annotations

from typing import NamedTuple


class HeldOut(NamedTuple):
    """A run: the encoder, its settings, the card, and where it shall end; None: with the whole card, wherever it does."""

    preset: str
    settings: tuple[str, ...]
    device: str
    ends: tuple[str, int] | None


TRAINING = "run.mode=training"
HELD_OUT = (
    HeldOut(
        "sam_vit_l",
        ("image_size=768", "run.dtype=bfloat16", "run.attention=sdpa", TRAINING),
        "l4",
        ("forward", 1),
    ),
    HeldOut("swin_b", ("run.batch_size=16", "run.dtype=bfloat16", TRAINING), "rtx_4090", ("backward", 1)),
    HeldOut(
        "sam2_hiera_s",
        ("image_size=512", "run.batch_size=2", "run.attention=sdpa", TRAINING),
        "a100_40",
        ("forward", 2),
    ),
    HeldOut("mae_l_pretrain", ("run.batch_size=16", TRAINING), "t4", ("backward", 2)),
    HeldOut("vitdet_l", ("image_size=640", "run.mode=inference"), "rtx_4090", ("forward", 1)),
    HeldOut(
        "vit_l",
        ("run.batch_size=32", "run.dtype=bfloat16", "run.attention=sdpa", TRAINING),
        "h100",
        ("backward", 1),
    ),
    HeldOut("swinv2_s", ("run.batch_size=8", TRAINING), "l4", ("forward", 2)),
    HeldOut(
        "qwen2_5_vl_vision", ("image_size=448", "run.dtype=bfloat16", TRAINING), "a100_80", ("forward", 1)
    ),
    HeldOut("med_sam_adapter_l", ("image_size=512", TRAINING), "t4", ("backward", 1)),
    HeldOut(
        "sam_vit_b",
        ("image_size=640", "implementation=transformers", "run.attention=sdpa", TRAINING),
        "rtx_4090",
        ("backward", 2),
    ),
    HeldOut("vitdet_b_fpn", ("image_size=512", "run.dtype=bfloat16", TRAINING), "l40s", ("forward", 1)),
    HeldOut("sam2_hiera_b_plus", ("image_size=768", "run.mode=inference"), "rtx_5090", ("forward", 1)),
    HeldOut("vit_b", ("run.batch_size=64", "run.checkpointing=true", TRAINING), "t4", ("backward", 1)),
    HeldOut("swin_s_384", ("run.batch_size=4", "run.autocast=bfloat16", TRAINING), "l4", ("backward", 1)),
    HeldOut("sam_vit_l", ("run.batch_size=4", TRAINING), "rtx_4090", None),
    HeldOut("vit_l", ("run.batch_size=256", TRAINING), "l4", None),
    HeldOut("swin_l", ("run.batch_size=256", "run.dtype=bfloat16", TRAINING), "a100_40", None),
    HeldOut("vitdet_h", (TRAINING,), "t4", None),
)
