"""transformers' vision encoder of Qwen2.5-VL, with a config of samattn's."""

from __future__ import annotations

import torch
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLVisionConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VisionTransformerPretrainedModel
from transformers.vision_utils import get_vision_position_ids

from samattn_cli import EncoderConfig, load_config
from samattn_cli.families.qwen2_5_vl.words import MERGE
from samattn_cli.stack.encoder import image_for
from tests.public.counting import counted
from tests.public.record import Record

PRESETS = ("qwen2_5_vl_vision",)


def public_encoder(
    config: EncoderConfig, device: str, attention: str = "eager"
) -> Qwen2_5_VisionTransformerPretrainedModel:
    """Their encoder with its merger, in evaluation mode."""
    (stage,) = config.stages
    theirs = Qwen2_5_VLVisionConfig(
        depth=stage.depth,
        hidden_size=stage.embed_dim,
        intermediate_size=stage.mlp_dim,
        num_heads=stage.num_heads,
        in_channels=config.in_chans,
        patch_size=config.patch_size,
        window_size=stage.window_size[0] * config.patch_size,
        out_hidden_size=config.out_chans,
        fullatt_block_indexes=list(stage.global_attn_indexes),
    )
    theirs._attn_implementation = attention
    with torch.device(device):
        return Qwen2_5_VisionTransformerPretrainedModel(theirs).eval()


def grids_of(config: EncoderConfig) -> torch.Tensor:
    """(frames, rows, columns) of patches of each image: on the host, where their code reads it."""
    return torch.tensor([[1, *config.grid]] * config.run.batch_size)


def count(preset: str) -> tuple[int, int]:
    """Parameters and FLOPs of their encoder."""
    config = load_config(preset)
    grids = grids_of(config)
    positions = get_vision_position_ids(grids, MERGE).to("meta")  # else they would be where the grids are
    return counted(
        public_encoder(config, "meta"), image_for(config, "meta"), grid_thw=grids, position_ids=positions
    )


SMALL = {
    "image_size": [72, 56],
    "patch_size": 4,
    "patch_embed": "qwen2_5_vl",
    "pos_embed": "window_order",
    "block": "qwen2_5_vl",
    "embed_dim": 16,
    "depth": 5,
    "num_heads": 2,
    "mlp_ratio": 2.625,
    "window_size": 8,
    "global_attn_indexes": [2, 4],
    "neck": "patch_merger",
    "out_chans": 12,
}
VARIANTS = {
    "smaller windows at both ends": {},
    "windows that divide the grid": {"image_size": 64},
    "a window larger than the image": {"image_size": [24, 8]},
    "wide, a batch of three, one channel, heads of four channels": {
        "image_size": [16, 104],
        "in_chans": 1,
        "num_heads": 4,
        "run.batch_size": 3,
    },
}

RECORDS = (
    Record(
        name="Qwen2.5-VL",
        blocks=("qwen2_5_vl",),
        presets=(),
        larger=PRESETS,  # five seconds: its windows are run one by one
        count=count,
        small=SMALL,
        public=lambda config: public_encoder(config, "cpu", config.run.attention),
        weights=lambda _, theirs: {name.replace("merger.", "neck."): theirs[name] for name in theirs},
        outputs=lambda theirs, config, image: (theirs(image, grid_thw=grids_of(config)).pooler_output,),
        values=VARIANTS | {"sdpa": {"run.attention": "sdpa"}},
        folded={
            "keys and values of groups, in training": {
                "num_heads": 4,
                "num_kv_heads": 2,
                "run.mode": "training",
            },
            "sdpa in bfloat16, checkpointed": {
                "run.attention": "sdpa",
                "run.dtype": "bfloat16",
                "run.checkpointing": True,
            },
        },
        in_full=VARIANTS
        | {
            "float16": {"run.dtype": "float16"},
            "bfloat16": {"run.dtype": "bfloat16"},
            "autocast": {"run.autocast": "bfloat16"},
            "keys and values of one group, sdpa": {"num_kv_heads": 1, "run.attention": "sdpa"},
            "autocast, checkpointed": {"run.autocast": "float16", "run.checkpointing": True},
            "sdpa, two images": {"run.attention": "sdpa", "run.batch_size": 2},
            "no neck, so that the last block lets go of the positions": {
                "depth": 4,
                "global_attn_indexes": [2],
                "neck": "none",
            },
        },
        verified={"qwen2_5_vl_vision": {"image_size": [364, 476]}},
        bad={
            "groups of several sizes": ({"num_kv_heads": 3}, "[not-divisible] num_kv_heads 3 num_heads 2"),
            "half a merged token": (
                {"image_size": [72, 60]},
                "1:13: [not-divisible] image_size 72 60 8 2 4 56 64",
            ),
            "one patch": (
                {"image_size": 4},
                "1:13: [not-divisible] image_size 4 8 2",
            ),
            "an image of too many windows": (
                {"image_size": 16384},
                "1:13: [too-many-windows] image_size 16384 262,144 4,096",
            ),
            "a batch of too many windows": (
                {"run": {"batch_size": 6000}},
                "14:19: [too-many-windows] image_size 72 56 36,000 4,096",
            ),
            "half a merged token in a window": (
                {"window_size": 7},
                "10:14: [window-not-even] window_size 7",
            ),
            "windows of two sizes": (
                {"overrides": [{"blocks": [3], "window_size": 4}]},
                "14:40: [window-differs] window_size 4 8",
            ),
            "heads of two sizes": (
                {"overrides": [{"blocks": [3], "num_heads": 4}]},
                "14:38: [heads-differ] num_heads 4 8",
            ),
            "heads of all blocks that are not those of the stage": (
                {"overrides": [{"blocks": [0, 1, 2, 3], "num_heads": 4}]},
                "14:47: [heads-differ] num_heads 4 8",
            ),
            "heads of two channels": (
                {"num_heads": 8},
                "8:12: [rotary-head-width] num_heads 8 2 4",
            ),
            "shift": (
                {"shift_size": 4},
                "14:13: [unused-key] qwen2_5_vl shift_size",
            ),
            "fused": (
                {"run": {"attention": "fused"}},
                "14:18: [kernel-not-modelled] run.attention qwen2_5_vl",
            ),
            "no positions": (
                {"pos_embed": "none"},
                (
                    "5:8: [needs-pos-embed] block qwen2_5_vl pos_embed window_order",
                    "12:7: [needs-pos-embed] neck patch_merger pos_embed window_order",
                ),
            ),
            "patches on a grid": (
                {"patch_embed": "patch"},
                "4:12: [layout-mismatch] pos_embed window_order patch_embed",
            ),
            "a neck of a grid": (
                {"neck": "sam"},
                "12:7: [layout-mismatch] neck qwen2_5_vl",
            ),
            "relative positions": (
                {"rel_pos": "decomposed"},
                "14:10: [unused-key] qwen2_5_vl rel_pos sam_adapter sam_lora",
            ),
            "another's block": (
                {"block": "vit"},
                "5:8: [layout-mismatch] block pos_embed window_order",
            ),
        },
    ),
)
