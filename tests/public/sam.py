"""segment-anything's own encoders, counted for `counts.py`."""

from __future__ import annotations

import torch

from samattn_cli import load_config
from samattn_cli.stack.encoder import image_for
from tests.public.counting import counted
from tests.public.record import Record
from tests.public.segment_anything_encoder import official_encoder

PRESETS = ("sam_vit_b", "sam_vit_l", "sam_vit_h", "sam_vit_h_all_global")


def count(preset: str) -> tuple[int, int]:
    """Parameters and FLOPs of their encoder."""
    config = load_config(preset)
    with torch.device("meta"):  # their get_rel_pos makes its indexes on the default device
        return counted(official_encoder(config, "meta"), image_for(config, "meta"))


SMALL = {
    "image_size": 64,
    "patch_size": 16,
    "embed_dim": 32,
    "depth": 2,
    "num_heads": 2,
    "rel_pos": "decomposed",
    "window_size": 2,
    "global_attn_indexes": [1],
    "neck": "sam",
    "out_chans": 16,
}
NOT_DIVIDED = {"window_size": 3}

RECORDS = (
    Record(
        name="SAM",
        blocks=("vit",),
        presets=("sam_vit_b",),
        count=count,
        small=SMALL,
        public=official_encoder,
        values={
            "windows that divide the grid": {},
            "windows that do not divide the grid": NOT_DIVIDED,
            "grid of 10, windows of 4": {"image_size": 160, "window_size": 4},
            "grid of 10, windows of 7": {"image_size": 80, "patch_size": 8, "window_size": 7},
            "window larger than the grid": {"window_size": 7},
            "window as large as the grid": {"window_size": 4},
            "windows of one token": {"window_size": 1},
            "no global block": {"global_attn_indexes": []},
            "global first, then two windowed": NOT_DIVIDED
            | {"depth": 3, "global_attn_indexes": [0], "image_size": 112},
            "every block global": {"window_size": 0, "global_attn_indexes": []},
            "four heads of 16": NOT_DIVIDED | {"embed_dim": 64, "num_heads": 4},
            "one head": NOT_DIVIDED | {"num_heads": 1},
            "batch of three": NOT_DIVIDED | {"run.batch_size": 3},
            "qkv without bias": NOT_DIVIDED | {"qkv_bias": False},
            "no relative positions": NOT_DIVIDED | {"rel_pos": "none"},
            "no absolute positions": NOT_DIVIDED | {"pos_embed": "none"},
            "image that the patch does not divide": {"image_size": 90},
            "hidden width rounded down": NOT_DIVIDED | {"mlp_ratio": 2.7},
            "one channel in": {"in_chans": 1},
        },
        folded={"eager": NOT_DIVIDED},
        in_full={},
        verified={"sam_vit_b": {}},
        bad={
            "a global block that is not there": (
                {"global_attn_indexes": [2]},
                "8:23: [no-such-block] global_attn_indexes 2 0 1",
            ),
            "heads that do not divide the width": (
                {"num_heads": 3},
                "5:12: [not-divisible] num_heads 3 embed_dim 32 2 4",
            ),
        },
    ),
)
