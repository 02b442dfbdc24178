"""LW-DETR's encoder as transformers has it: LwDetrViTBackbone, and LwDetrConvEncoder with the projector. Nothing is corrected.

Its separate projections of queries, keys and values take what one takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import LwDetrConfig, LwDetrViTBackbone, LwDetrViTConfig
from transformers.models.lw_detr.modeling_lw_detr import LwDetrConvEncoder

from samattn_cli import EncoderConfig, load_config
from tests.public.counting import counted
from tests.public.record import Record
from tests.public.rf_detr import called

PRESETS = tuple(f"lw_detr_{size}" for size in ("tiny", "small", "medium", "large", "xlarge"))

RENAMED = {
    r"^(backbone\.)?embeddings\.projection": "patch_embed.proj",
    r"^(backbone\.)?embeddings\.position_embeddings": "pos_embed.pos_embed",
    r"^(backbone\.)?encoder\.layer": "blocks",
    r"\.attention\.o_proj": ".attn.proj",
    r"\.intermediate\.": ".mlp.",
    r"layernorm_before": "norm1",
    r"layernorm_after": "norm2",
    r"^projector": "neck",
}


def settings(config: EncoderConfig) -> LwDetrViTConfig:
    """The config of the backbone, whose num_windows counts all windows."""
    stage = config.stages[0]
    side = (stage.num_windows_side or (1, 1))[0]
    return LwDetrViTConfig(
        image_size=side**4,  # which nothing but a check of num_windows reads
        pretrain_image_size=config.pretrain_grid[0] * config.patch_size,
        patch_size=config.patch_size,
        num_channels=config.in_chans,
        hidden_size=stage.embed_dim,
        num_hidden_layers=stage.depth,
        num_attention_heads=stage.num_heads,
        mlp_ratio=int(stage.mlp_ratio),
        qkv_bias=stage.qkv_bias,
        num_windows=side**2,
        window_block_indices=sorted({*range(stage.depth)} - {*stage.global_attn_indexes}),
        out_features=[f"stage{index + 1}" for index in config.out_indices or (stage.depth - 1,)],
    )


class Encoder(nn.Module):
    """LwDetrConvEncoder without the masks of padding, which cost nothing that is counted."""

    def __init__(self, config: LwDetrConfig) -> None:
        super().__init__()
        inside = LwDetrConvEncoder(config)
        self.backbone, self.projector = inside.backbone, inside.projector

    def forward(self, image: Tensor) -> Any:
        """(B, in_chans, height, width) -> (B, out_chans, ...), one for each scale."""
        return tuple(made for made, _ in LwDetrConvEncoder.forward(self, image, image[:, 0]))


def official(config: EncoderConfig) -> nn.Module:
    """transformers' model of a config of this family."""
    backbone = settings(config)
    if config.neck == "lw_detr_maps":
        model: nn.Module = LwDetrViTBackbone(backbone)
    else:
        scales = list(config.neck_scales)
        whole = LwDetrConfig(
            backbone_config=backbone, d_model=config.out_chans, projector_scale_factors=scales
        )
        backbone._attn_implementation = config.run.attention
        model = Encoder(whole)
    place = next(weight for name, weight in model.named_parameters() if "projection" in name)
    return model.to(place.device).eval()  # gammas are made on the CPU, whatever the default device is


def count(preset: str) -> tuple[int, int]:
    """Parameters and FLOPs of their model."""
    config = load_config(preset)
    with torch.device("meta"):
        return counted(official(config), torch.empty(config.input_shape))


def renamed(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Their weights by samattn's names, with queries, keys and values in one projection and without biases of keys."""
    made = {called(name, RENAMED): weight for name, weight in weights.items()}
    for name in [name for name in made if name.endswith(".attention.q_proj.weight")]:
        block = name.removesuffix("attention.q_proj.weight")
        parts = [made.pop(f"{block}attention.{each}_proj.weight") for each in "qkv"]
        made[f"{block}attn.qkv.weight"] = torch.cat(parts)
        for each in "qv":
            if (bias := made.pop(f"{block}attention.{each}_proj.bias", None)) is not None:
                made[f"{block}attn.{each}_bias"] = bias
    return made


def _weights(_: EncoderConfig, theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    return renamed(theirs)


def _outputs(theirs: nn.Module, config: EncoderConfig, image: Tensor) -> Sequence[Tensor]:
    made = theirs(image)
    return made.feature_maps if config.neck == "lw_detr_maps" else made


SMALL = {
    "image_size": 64,
    "patch_size": 8,
    "block": "lw_detr",
    "embed_dim": 24,
    "depth": 3,
    "num_heads": 3,
    "num_windows_side": 2,
    "global_attn_indexes": [1],
    "pos_embed": "lw_detr",
    "pretrain_image_size": 40,
    "neck": "lw_detr",
    "neck_scales": [2.0, 0.5],
    "out_indices": [0, 2],
    "out_chans": 16,
}

RECORDS = (
    Record(
        name="LW-DETR",
        blocks=("lw_detr",),
        presets=("lw_detr_tiny", "lw_detr_large"),
        larger=("lw_detr_xlarge",),
        count=count,
        small=SMALL,
        public=official,
        weights=_weights,
        outputs=_outputs,
        values={
            "two images, scales": {"run.batch_size": 2, "run.attention": "sdpa"},
            "no windows, maps alone": {"num_windows_side": 1, "neck": "lw_detr_maps"},
        },
        folded={"eager, two images": {"run.batch_size": 2}},
        in_full={
            "checkpointed sdpa in autocast": {
                "run.autocast": "bfloat16",
                "run.attention": "sdpa",
                "run.checkpointing": True,
            },
            "windows of one token": {"image_size": 16, "qkv_bias": False, "neck": "lw_detr_maps"},
            "no windows": {"num_windows_side": 1},
            "wide, bfloat16": {
                "embed_dim": 520,
                "num_heads": 8,
                "run.dtype": "bfloat16",
                "neck_scales": [2.0, 1.0],
            },
        },
        verified={"lw_detr_xlarge": {}},
        bad={
            "windows do not divide": ({"image_size": 72}, "[not-divisible] num_windows_side 2 9x9 64 80"),
            "a scale that there is not": ({"neck_scales": [4.0]}, "[unknown-scale] neck_scales 4 2 1 0.5"),
            "scales of another neck": (
                {"neck": "lw_detr_maps", "out_chans": None},
                "[unused-key] neck lw_detr_maps neck_scales lw_detr",
            ),
        },
    ),
)
