"""Hiera as transformers has it, counted on the meta device: parameters and FLOPs, two a MAC."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import HieraConfig, HieraForImageClassification, HieraModel

from samattn_cli import EncoderConfig
from tests.public.record import Record

SIZES: dict[str, dict[str, Any]] = {
    "hiera_t": {"depths": [1, 2, 7, 2]},
    "hiera_s": {"depths": [1, 2, 11, 2]},
    "hiera_b": {},
    "hiera_b_plus": {"embed_dim": 112, "num_heads": [2, 4, 8, 16]},
    "hiera_l": {"embed_dim": 144, "num_heads": [2, 4, 8, 16], "depths": [2, 6, 36, 4]},
    "hiera_h": {"embed_dim": 256, "num_heads": [4, 8, 16, 32], "depths": [2, 6, 36, 4]},
}
"""What differs from transformers' defaults, which are the base model's."""

PRESETS = tuple(SIZES)
LABELS = 1000


def count(preset: str) -> tuple[int, int]:
    """Parameters and FLOPs of the classifier at 224."""
    with torch.device("meta"):
        model = HieraForImageClassification(HieraConfig(**SIZES[preset], num_labels=LABELS)).eval()
        image = torch.empty(1, 3, 224, 224)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(image)
    return sum(weight.numel() for weight in model.parameters()), counter.get_total_flops()


def settings(config: EncoderConfig) -> HieraConfig:
    """transformers' config of the same shape."""
    stages = config.stages
    return HieraConfig(
        image_size=list(config.image_size),
        embed_dim=stages[0].embed_dim,
        embed_dim_multiplier=stages[-1].embed_dim / stages[-2].embed_dim,
        depths=[stage.depth for stage in stages],
        num_heads=[stage.num_heads for stage in stages],
        num_query_pool=sum(stage.q_stride > 1 for stage in stages),
        masked_unit_size=[2 ** (len(stages) - 1)] * 2,
        masked_unit_attention=[not stage.placement.is_global for stage in stages],
        num_labels=config.out_chans,
    )


def public_encoder(config: EncoderConfig) -> nn.Module:
    """transformers' model of the same shape, in evaluation mode."""
    if config.neck == "hiera_classifier":
        return HieraForImageClassification(settings(config)).eval()
    return HieraModel(settings(config), add_pooling_layer=config.neck != "none").eval()


def outputs(model: nn.Module, config: EncoderConfig, image: Tensor) -> tuple[Tensor]:
    """The classes, the pooled tokens, or the tokens."""
    made = model(image)
    return (made.logits if config.neck == "hiera_classifier" else made[config.neck != "none"],)


RENAMED = {
    r"^hiera\.": "",
    r"^embeddings\.patch_embeddings\.projection": "patch_embed.proj",
    r"^embeddings\.position_embeddings": "pos_embed.pos_embed",
    r"layernorm_before": "norm1",
    r"layernorm_after": "norm2",
    r"^pooler\.layernorm": "neck.norm",
    r"^classifier": "neck.head",
}


def weights(config: EncoderConfig, theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """By samattn's names: blocks are numbered over all stages."""
    depths = [stage.depth for stage in config.stages]

    def block(match: re.Match[str]) -> str:
        return f"blocks.{sum(depths[: int(match[1])]) + int(match[2])}."

    made = {}
    for theirs_name, weight in theirs.items():
        name = theirs_name
        for pattern, ours in RENAMED.items():
            name = re.sub(pattern, ours, name)
        made[re.sub(r"^encoder\.stages\.(\d+)\.layers\.(\d+)\.", block, name)] = weight
    return made


def stage(number: int, depth: int, window: int, **more: object) -> dict[str, Any]:
    """The number-th stage."""
    width = {"embed_dim": 16 << number, "num_heads": 1 << number}
    pooled = {"window_size": window, **({"q_stride": 2} if number else {})}
    return {"block": "mask_unit", "depth": depth} | width | pooled | more


SMALL: dict[str, Any] = {
    "image_size": [32, 48],
    "patch_size": 4,
    "patch_embed": "overlapping",
    "pos_embed": "mask_units",
    "neck": "hiera_classifier",
    "out_chans": 8,
    "stages": [stage(0, 2, 4), stage(1, 2, 2), stage(2, 2, 0)],
    "run": {"attention": "sdpa"},
}
"""Grids 8x12, 4x6 and 2x3; mask units of 4x4."""
FIRST, SECOND, LAST = SMALL["stages"]
EAGER = {"run.attention": "eager"}
ALL_UNITS = {"stages": [FIRST, SECOND, LAST | {"window_size": 1}]}
NOT_POOLED = {"stages": [FIRST, SECOND | {"window_size": 0}, LAST | {"q_stride": 1}]}
NOT_POOLED_UNITS = {"stages": [FIRST, SECOND, LAST | {"q_stride": 1, "window_size": 2}]}
"""transformers would have mask units of one token in the last stage, as if it pooled."""

RECORDS = (
    Record(
        name="Hiera",
        blocks=("mask_unit",),
        presets=("hiera_t",),
        larger=("hiera_b_plus",),
        count=count,
        small=SMALL,
        public=public_encoder,
        weights=weights,
        outputs=outputs,
        values={
            "classes, sdpa": {"run.batch_size": 2},
            "tokens, eager, all in mask units": EAGER | ALL_UNITS | {"neck": "none"},
            "the mean, a stage that does not pool": NOT_POOLED | {"neck": "hiera_pool"},
        },
        folded={"batch 2": {"run.batch_size": 2}},
        in_full={
            "bfloat16": {"run.dtype": "bfloat16", "run.batch_size": 2},
            "eager, float16": EAGER | NOT_POOLED_UNITS | {"run.dtype": "float16"},
            "autocast, checkpointing": ALL_UNITS | {"run.autocast": "bfloat16", "run.checkpointing": True},
            "eager, autocast, windowed positions": EAGER
            | {"run.autocast": "float16", "pos_embed": "mask_units_window", "pos_embed_window": 4},
        },
        verified={"hiera_b_plus": {}},
        bad={
            "an image that mask units do not divide": (
                {"image_size": [32, 50]},
                "1:13: [not-divisible] image_size 32, 50 4x4 16 32, 48 32, 64",
            ),
            "a window that is not a mask unit": (
                {"stages": [FIRST, SECOND | {"window_size": 4}, LAST]},
                "[not-a-mask-unit] 4x4 1 window_size 2 0",
            ),
            "two strides": (
                {"image_size": 64, "stages": [FIRST, SECOND, LAST | {"q_stride": 4}]},
                "[one-stride] q_stride 4 2",
            ),
            "a window of positions that is not a mask unit": (
                {"pos_embed": "mask_units_window", "pos_embed_window": 8},
                "[not-a-mask-unit] pos_embed_window 8x8 4",
            ),
            "positions that leave the grid": (
                {"pos_embed": "learned"},
                "[layout-mismatch] mask_unit learned mask_units mask_units_window",
            ),
        },
    ),
)
