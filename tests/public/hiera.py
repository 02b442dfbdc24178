"""SAM 2's image encoders as transformers has them, counted on the meta device: parameters and FLOPs, two a MAC."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import Sam2HieraDetConfig, Sam2VisionConfig, Sam2VisionModel
from transformers.models.sam2.modeling_sam2 import Sam2MultiScaleAttention

from samattn_cli import EncoderConfig
from tests.public.record import Record
from tests.support.weights import packed

TRUNKS = {
    "sam2_hiera_t": {},
    "sam2_hiera_s": {"blocks_per_stage": [1, 2, 11, 2], "global_attention_blocks": [7, 10, 13]},
    "sam2_hiera_b_plus": {
        "hidden_size": 112,
        "embed_dim_per_stage": [112, 224, 448, 896],
        "num_attention_heads_per_stage": [2, 4, 8, 16],
        "blocks_per_stage": [2, 3, 16, 3],
        "global_attention_blocks": [12, 16, 20],
        "window_positional_embedding_background_size": [14, 14],
    },
    "sam2_hiera_l": {
        "hidden_size": 144,
        "embed_dim_per_stage": [144, 288, 576, 1152],
        "num_attention_heads_per_stage": [2, 4, 8, 16],
        "blocks_per_stage": [2, 6, 36, 4],
        "global_attention_blocks": [23, 33, 43],
        "window_size_per_stage": [8, 4, 16, 8],
    },
}
"""What differs from transformers' defaults, which are the smallest model's."""

PRESETS = tuple(TRUNKS)


def model(neck: Mapping[str, int] | None = None, **trunk) -> Sam2VisionModel:
    """The encoder with its neck, in evaluation mode."""
    config = Sam2HieraDetConfig(**trunk)
    widths = config.embed_dim_per_stage[::-1]
    whole = Sam2VisionConfig(backbone_config=config, backbone_channel_list=widths, **(neck or {}))
    whole._attn_implementation = "eager"
    return Sam2VisionModel(whole).eval()


def count(preset: str) -> tuple[int, int]:
    """Parameters, and FLOPs at 1024 less those of a product of queries and keys that transformers computes and drops."""
    with torch.device("meta"):
        encoder = model(**TRUNKS[preset])
        image = torch.empty(1, 3, 1024, 1024)
    dropped: list[int] = []
    for module in encoder.modules():
        if isinstance(module, Sam2MultiScaleAttention):
            module.register_forward_pre_hook(partial(_note, dropped), with_kwargs=True)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        encoder(image)
    return sum(weight.numel() for weight in encoder.parameters()), counter.get_total_flops() - sum(dropped)


def _note(dropped: list[int], module: nn.Module, _args: tuple, kwargs: dict[str, torch.Tensor]) -> None:
    """Its first product is of heads and heads, for each token: (B, M, h, d) @ (B, M, d, h), before the real one."""
    tokens = kwargs["hidden_states"].shape[:-1].numel()
    dropped.append(2 * tokens * module.num_attention_heads * module.dim_out)


def public_encoder(config: EncoderConfig) -> Sam2VisionModel:
    """transformers' encoder of the same shape; where it pools is a number of stages, and that all may: one that does not
    is put back to a block without."""
    made = model(
        neck={"fpn_hidden_size": config.out_chans},
        hidden_size=16,
        embed_dim_per_stage=[stage.embed_dim for stage in config.stages],
        num_attention_heads_per_stage=[stage.num_heads for stage in config.stages],
        blocks_per_stage=[stage.depth for stage in config.stages],
        window_size_per_stage=[stage.window_size[0] for stage in config.stages],
        global_attention_blocks=[i for stage in config.stages for i in stage.global_attn_indexes],
        window_positional_embedding_background_size=list(config.pos_embed_background),
    )
    for layer, block in zip(config.layers, made.backbone.blocks, strict=True):
        if layer.q_stride == 1:
            block.query_stride = block.attn.query_stride = None
    return made


RENAMED = {
    r"^backbone\.": "",
    r"^patch_embed\.projection": "patch_embed.proj",
    r"^pos_embed$": "pos_embed.background",
    r"^pos_embed_window$": "pos_embed.window",
    r"layer_norm(\d)": r"norm\1",
    r"mlp\.proj_in": "mlp.layers.0",
    r"mlp\.proj_out": "mlp.layers.1",
    r"^(neck\.convs\.\d+)": r"\1.conv",
}


def stage(number: int, depth: int, window: int, **more: object) -> dict[str, Any]:
    """The number-th of four stages."""
    width = {"embed_dim": 16 * (number + 1), "num_heads": number + 1}
    pooled = {"window_size": window, "q_stride": 2 if number else 1}
    return {"block": "hiera", "depth": depth} | width | pooled | more


SMALL: dict[str, Any] = {
    "image_size": [64, 96],
    "patch_size": 4,
    "patch_embed": "overlapping",
    "pos_embed": "hiera",
    "pos_embed_background": [3, 5],
    "pos_embed_window": 4,
    "neck": "sam2_fpn",
    "out_chans": 8,
    "stages": [stage(0, 2, 4), stage(1, 2, 6), stage(2, 3, 4, global_attn_indexes=[5]), stage(3, 2, 2)],
    "run": {"attention": "sdpa"},
}
"""Grids 16x24, 8x12, 4x6 and 2x3; blocks 3, 6 and 8 pad."""

VARIANTS: dict[str, dict[str, Any]] = {
    "padding": {},
    "windows larger than the grid": {"stages": [stage(number, 2, 40) for number in range(4)]},
    "windows that are pooled to a token": {"stages": [stage(0, 1, 2), *(stage(n, 2, 2) for n in (1, 2, 3))]},
    "a stage wider but not pooled": {
        "stages": [stage(0, 2, 4), stage(1, 2, 4, q_stride=1), stage(2, 2, 4), stage(3, 2, 2)]
    },
    "stages of one width": {
        "stages": [*(stage(0, depth, 4) for depth in (1, 3, 3)), stage(1, 2, 4)],
    },
    "no neck, one row of windows": {
        "neck": "none",
        "image_size": [32, 96],
        "stages": [stage(0, 2, 8), stage(1, 1, 4)],
    },
}
FIRST, SECOND, THIRD, LAST = SMALL["stages"]
EAGER = {"run.attention": "eager"}

RECORDS = (
    Record(
        name="SAM 2",
        blocks=("hiera",),
        presets=("sam2_hiera_t",),
        larger=("sam2_hiera_b_plus",),
        count=count,
        small=SMALL,
        public=public_encoder,
        weights=lambda _, theirs: packed(theirs, RENAMED),
        outputs=lambda theirs, _, image: theirs(image).fpn_hidden_states,
        spread=0.2,
        values={
            f"{name}, {kernel}": VARIANTS[name] | {"run.attention": kernel, "run.batch_size": 2}
            for name in ("padding", "a stage wider but not pooled")
            for kernel in ("eager", "sdpa")
        },
        folded={"a stream that is tapped makes no twins": VARIANTS["stages of one width"]},
        in_full={
            "flash": {"run.dtype": "bfloat16", "run.batch_size": 2},
            "eager": EAGER | {"run.batch_size": 2},
            "eager, bfloat16": VARIANTS["windows larger than the grid"] | EAGER | {"run.dtype": "bfloat16"},
            "eager, float16": VARIANTS["a stage wider but not pooled"] | EAGER | {"run.dtype": "float16"},
            "autocast, checkpointing": VARIANTS["windows that are pooled to a token"]
            | {"run.autocast": "bfloat16", "run.checkpointing": True},
            "eager, autocast": VARIANTS["no neck, one row of windows"] | EAGER | {"run.autocast": "float16"},
        },
        verified={"sam2_hiera_b_plus": {}},
        bad={
            "pooling that does not divide the window": (
                {"stages": [FIRST | {"window_size": 7}, SECOND, THIRD, LAST]},
                "[not-divisible] q_stride 2 window 7x7 1",
            ),
            "pooling that does not divide the grid": (
                {"stages": [FIRST | {"window_size": 6}, SECOND | {"q_stride": 3}, THIRD, LAST]},
                (
                    "9:174: [not-divisible] q_stride 3 grid 16x24 2 1",
                    "9:258: [not-divisible] q_stride 2 grid 5x8",
                ),
            ),
            "pooling in the first stage": (
                {"stages": [FIRST | {"q_stride": 2}, SECOND, THIRD, LAST]},
                "[pooling-in-first-stage] q_stride 2 1",
            ),
            "pooling without another width": (
                {"stages": [FIRST, SECOND | {"embed_dim": 16}, THIRD, LAST]},
                "[pooling-needs-new-width] q_stride 2 embed_dim 0 16",
            ),
            "another window in the first block": (
                {"stages": [FIRST, SECOND | {"overrides": [{"blocks": [2], "window_size": 3}]}, THIRD, LAST]},
                "[window-of-first-block] block 2 1 0",
            ),
            "pooling of vit": (
                {"stages": [FIRST, SECOND | {"block": "vit", "embed_dim": 16}, THIRD, LAST]},
                "[unused-key] vit q_stride hiera",
            ),
            "vit of another width": (
                {"stages": [FIRST, SECOND | {"block": "vit", "q_stride": 1}, THIRD, LAST]},
                (
                    "[width-changes] stages.1.embed_dim 32 0 16 vit",
                    "[unused-key] vit q_stride hiera",
                ),
            ),
            "a neck of three stages": (
                {"stages": [FIRST, SECOND, THIRD]},
                "[neck-needs-stages] neck sam2_fpn 4 3",
            ),
            "a neck that does not double": (
                {"stages": [FIRST, SECOND, THIRD, LAST | {"q_stride": 1}]},
                "[neck-does-not-fit] neck sam2_fpn 4x6",
            ),
            "heads of two channels": (
                {"stages": [FIRST, SECOND | {"num_heads": 16}, THIRD, LAST]},
                "[kernel-head-width] run.attention 4 2 embed_dim 32 num_heads 16",
            ),
            "positions that do not cover the grid": (
                {"pos_embed_window": [4, 5]},
                "[not-divisible] pos_embed_window 4x5 16x24",
            ),
            "fused": (
                {"run": {"attention": "fused"}},
                "[kernel-not-modelled] fused hiera eager sdpa",
            ),
        },
    ),
)
