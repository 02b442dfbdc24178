"""Video Swin's own encoder, counted for `counts.py`."""

from __future__ import annotations

import re
from itertools import accumulate

import torch
from torch import Tensor

from samattn_cli import EncoderConfig, load_config
from samattn_cli.stack.encoder import image_for
from tests.public.counting import counted
from tests.public.record import Record
from tests.public.swin import encoder
from tests.public.video_swin_encoder import SwinTransformer3D

PRESETS = ("swin3d_t", "swin3d_s", "swin3d_b", "swin3d_l")


def count(preset: str) -> tuple[int, int]:
    """Parameters and FLOPs."""
    config = load_config(preset)
    with torch.device("meta"):
        return counted(public_encoder(config), image_for(config, "meta"))


def public_encoder(config: EncoderConfig) -> SwinTransformer3D:
    """Their encoder, which has one window for all stages."""
    first, stages = config.stages[0], config.stages
    return SwinTransformer3D(
        config.patch,
        config.in_chans,
        first.embed_dim,
        tuple(stage.depth for stage in stages),
        tuple(stage.num_heads for stage in stages),
        first.window_size,
        first.mlp_ratio,
        qkv_bias=first.qkv_bias,
    ).eval()


def renamed(config: EncoderConfig, theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Their weights by Microsoft's names: blocks in one row, and the merging in front of the stage that it leads to."""
    firsts = [0, *accumulate(stage.depth for stage in config.stages)]
    names = (
        (r"^layers\.(\d+)\.blocks\.(\d+)", lambda found: f"blocks.{firsts[int(found[1])] + int(found[2])}"),
        (r"^layers\.(\d+)\.downsample", lambda found: f"transitions.{int(found[1]) + 1}"),
    )
    for pattern, ours in names:
        theirs = {re.sub(pattern, ours, name): weight for name, weight in theirs.items()}
    return theirs


VIDEO = encoder(image=(6, 20, 28), windows=((2, 3, 3), (2, 3, 3))) | {"patch_size": [2, 4, 4]}
"""Grids of 3x5x7 and 3x3x4 tokens: all axes are padded, and the second stage is shifted along two of them."""
SDPA = {"run.attention": "sdpa"}
RECORDS = (
    Record(
        name="video_swin",
        blocks=("swin",),
        count=count,
        public=public_encoder,
        small=VIDEO,
        weights=renamed,
        spread=0.2,
        presets=("swin3d_t",),
        larger=("swin3d_s", "swin3d_b", "swin3d_l"),
        values={
            "padded, odd, shifted along some axes": {"run.batch_size": 2},
            "frames and pixels that fill no patch": {"image_size": [5, 19, 26]} | SDPA,
            "a window larger than the grid": {"image_size": [2, 8, 8]},
        },
        folded={
            "sdpa, padded images, a window larger than the grid": {"image_size": [3, 11, 14]} | SDPA,
            "norms of the stages": {"neck": "stage_norms", "norm": False, "run.checkpointing": True},
        },
        in_full={
            "two videos in autocast": {"run.batch_size": 2, "run.autocast": "bfloat16"},
            "sdpa": {"run.batch_size": 2} | SDPA,
        },
        verified={"swin3d_t": {}},
        bad={
            "positions of images": (
                {"pos_embed": "learned"},
                "4:12: [axes-differ] pos_embed learned 6x20x28 3",
            ),
            "a window of two sides": (
                {"stages.1.window_size": [2, 3]},
                "6:172: [axes-differ] window_size 2 3",
            ),
        },
    ),
)
