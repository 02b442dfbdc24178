"""Swin of timm, cut into the parts of the plan.

Source: timm 1.0.31, models/swin_transformer.py.
"""

from __future__ import annotations

from typing import Any

from timm.models.swin_transformer import SwinTransformer
from torch import nn

from ...encoder.model import EncoderConfig


def parts(config: EncoderConfig) -> dict[str, nn.Module]:
    """Its modules by the names of the plan."""
    return parts_of(model(config))


def parts_of(encoder: Any) -> dict[str, nn.Module]:
    """The modules of a SwinTransformer, or of a SwinTransformerV2."""
    blocks = [block for stage in encoder.layers for block in stage.blocks]
    return {
        "patch_embed": encoder.patch_embed,
        **{f"blocks.{index}": block for index, block in enumerate(blocks)},
        **{
            f"transitions.{number}": encoder.layers[number].downsample
            for number in range(1, len(encoder.layers))
        },
        "norm": encoder.norm,
    }


def model(config: EncoderConfig) -> SwinTransformer:
    """The SwinTransformer of an encoder that it can run, without a classifier."""
    made = SwinTransformer(**sizes(config))
    for stage in made.layers:
        for block in stage.blocks:
            block.attn.fused_attn = config.run.attention == "sdpa"
    return made


def sizes(config: EncoderConfig) -> dict[str, Any]:
    """The arguments of a SwinTransformer that a SwinTransformerV2 has too."""
    first, stages = config.stages[0], config.stages
    return {
        "img_size": config.image_size,
        "patch_size": config.patch_size,
        "in_chans": config.in_chans,
        "num_classes": 0,
        "embed_dim": first.embed_dim,
        "depths": tuple(stage.depth for stage in stages),
        "num_heads": tuple(stage.num_heads for stage in stages),
        "window_size": first.window_size[0],
        "mlp_ratio": first.mlp_dim / first.embed_dim,
        "qkv_bias": first.qkv_bias,
        "drop_path_rate": 0.0,
    }
