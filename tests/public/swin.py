"""transformers' Swin and Swin V2, counted: what `counts.py` sets beside samattn's figures."""

from __future__ import annotations

from typing import Any

import torch
from transformers import SwinConfig, SwinModel, Swinv2Config, Swinv2Model

from samattn_cli import EncoderConfig, load_config
from samattn_cli.stack.encoder import image_for
from tests.public.counting import counted

V1 = ("swin_t", "swin_s", "swin_b", "swin_l", "swin_t_384", "swin_s_384", "swin_b_384", "swin_l_384")
PRESETS = (*V1, "swinv2_t", "swinv2_s", "swinv2_b", "swinv2_l")


def count(preset: str) -> tuple[int, int]:
    """Parameters and FLOPs of their encoder, without its pooling of tokens."""
    config = load_config(preset)
    with torch.device("meta"):
        return counted(public_encoder(config), image_for(config, "meta"))


def public_encoder(config: EncoderConfig) -> SwinModel | Swinv2Model:
    """Their encoder, which has one window for all stages."""
    first = config.stages[0]
    kind, settings = (SwinModel, SwinConfig) if first.block == "swin" else (Swinv2Model, Swinv2Config)
    return kind(settings(**_sizes(config), attn_implementation="eager"), add_pooling_layer=False).eval()


def _sizes(config: EncoderConfig) -> dict[str, Any]:
    first, stages = config.stages[0], config.stages
    return {
        "image_size": config.image_size,
        "patch_size": config.patch_size,
        "embed_dim": first.embed_dim,
        "depths": [stage.depth for stage in stages],
        "num_heads": [stage.num_heads for stage in stages],
        "window_size": first.window_size[0],
        "mlp_ratio": first.mlp_ratio,
        "qkv_bias": first.qkv_bias,
    }
