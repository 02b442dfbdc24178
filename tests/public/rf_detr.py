"""RF-DETR's encoder as transformers has it: RfDetrDinov2Backbone, and RfDetrConvEncoder with the projector. Nothing is corrected."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import RfDetrConfig, RfDetrDinov2Backbone, RfDetrDinov2Config
from transformers.models.rf_detr.modeling_rf_detr import RfDetrConvEncoder

from samattn_cli import EncoderConfig, load_config
from tests.public.counting import counted
from tests.public.record import Record

PRESETS = tuple(f"rf_detr_{size}" for size in ("nano", "small", "medium", "base", "large"))

RENAMED = {
    r"^(backbone\.)?embeddings\.patch_embeddings\.projection": "patch_embed.proj",
    r"^(backbone\.)?embeddings": "pos_embed",
    r"^(backbone\.)?encoder\.layer": "blocks",
    r"\.attention\.": ".attn.",
    r"^(backbone\.)?layernorm": "neck.layernorm",
    r"^projector": "neck",
}


def settings(config: EncoderConfig) -> RfDetrDinov2Config:
    """The config of the backbone; where it attends follows from what it returns, unless the config says otherwise."""
    stage = config.stages[0]
    made = RfDetrDinov2Config(
        image_size=config.pretrain_grid[0] * config.patch_size,
        patch_size=config.patch_size,
        num_channels=config.in_chans,
        hidden_size=stage.embed_dim,
        num_hidden_layers=stage.depth,
        num_attention_heads=stage.num_heads,
        mlp_ratio=int(stage.mlp_ratio),
        qkv_bias=stage.qkv_bias,
        num_windows=(stage.num_windows_side or (1, 1))[0],
        out_features=[f"stage{index + 1}" for index in config.out_indices or (stage.depth - 1,)],
    )
    if config.name not in PRESETS:
        made.window_block_indexes = sorted({*range(stage.depth)} - {*stage.global_attn_indexes})
    return made


class Encoder(nn.Module):
    """RfDetrConvEncoder without the mask of padding, which costs nothing that is counted."""

    def __init__(self, config: RfDetrConfig) -> None:
        super().__init__()
        inside = RfDetrConvEncoder(config)
        self.backbone, self.projector = inside.backbone, inside.projector

    def forward(self, image: Tensor) -> Any:
        """(B, in_chans, height, width) -> (B, out_chans, H, W)."""
        return RfDetrConvEncoder.forward(self, image, image[:, 0])[0]


def official(config: EncoderConfig) -> nn.Module:
    """transformers' model of a config of this family."""
    backbone = settings(config)
    if config.neck == "rf_detr_maps":
        return RfDetrDinov2Backbone(backbone).eval()
    whole = RfDetrConfig(backbone_config=backbone, d_model=config.out_chans)
    backbone._attn_implementation = config.run.attention
    return Encoder(whole).eval()


def count(preset: str) -> tuple[int, int]:
    """Parameters and FLOPs of their model."""
    config = load_config(preset)
    with torch.device("meta"):
        return counted(official(config), torch.empty(config.input_shape))


def renamed(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Their weights by samattn's names."""
    return {called(name, RENAMED): weight for name, weight in weights.items()}


def called(name: str, pairs: Mapping[str, str]) -> str:
    """A name after all replacements of patterns in it, one after the other."""
    for theirs, ours in pairs.items():
        name = re.sub(theirs, ours, name)
    return name


def _weights(_: EncoderConfig, theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    return renamed(theirs)


def _outputs(theirs: nn.Module, config: EncoderConfig, image: Tensor) -> Sequence[Tensor]:
    made = theirs(image)
    return made.feature_maps if config.neck == "rf_detr_maps" else (made,)


SMALL = {
    "image_size": 64,
    "patch_size": 8,
    "block": "rf_detr",
    "embed_dim": 24,
    "depth": 3,
    "num_heads": 3,
    "num_windows_side": 2,
    "global_attn_indexes": [1],
    "pos_embed": "rf_detr",
    "pretrain_image_size": 40,
    "neck": "rf_detr",
    "out_indices": [0, 2],
    "out_chans": 16,
}

RECORDS = (
    Record(
        name="RF-DETR",
        blocks=("rf_detr",),
        presets=("rf_detr_base",),
        larger=("rf_detr_large",),
        count=count,
        small=SMALL,
        public=official,
        weights=_weights,
        outputs=_outputs,
        values={
            "two images": {"run.batch_size": 2, "run.attention": "sdpa"},
            "no windows, maps alone": {"num_windows_side": 1, "neck": "rf_detr_maps"},
        },
        folded={
            "eager, two images": {"run.batch_size": 2},
        },
        in_full={
            "checkpointed sdpa in autocast": {
                "run.autocast": "bfloat16",
                "run.attention": "sdpa",
                "run.checkpointing": True,
            },
            "windows of one token": {"image_size": 16, "qkv_bias": False},
            "no windows": {"num_windows_side": 1, "run.batch_size": 2},
            "2x4 windows, bfloat16": {
                "num_windows_side": [2, 4],
                "image_size": [32, 64],
                "run.dtype": "bfloat16",
            },
        },
        verified={"rf_detr_large": {}},
        bad={
            "windows do not divide": (
                {"image_size": 72},
                "[not-divisible] num_windows_side 2 9x9 64 80",
            ),
            "windows do not divide, all global": (
                {"image_size": 72, "global_attn_indexes": [0, 1, 2]},
                "[not-divisible] num_windows_side 2 9x9 64 80",
            ),
            "windows of a size": (
                {"num_windows_side": None, "window_size": 4},
                "[number-of-windows-only] rf_detr num_windows_side window_size",
            ),
            "other windows in some blocks": (
                {"overrides": [{"blocks": [0], "num_windows_side": 4}]},
                "[windows-differ] num_windows_side 4 2 global_attn_indexes",
            ),
            "positions that are no square": (
                {"pretrain_image_size": [40, 48]},
                "[not-square] pos_embed rf_detr pretrain_image_size",
            ),
            "an output that there is not": ({"out_indices": [0, 3]}, "[no-such-block] out_indices 3 0 2"),
            "a norm before the neck": ({"norm": True}, "[norm-before-norm] neck rf_detr norm"),
        },
    ),
)
