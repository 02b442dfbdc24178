"""ViT and MAE as transformers has them: ViTModel without its pooler, ViTMAEModel, ViTMAEForPreTraining.

Their separate projections of queries, keys and values take what one takes. Nothing is corrected.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import ViTConfig, ViTMAEConfig, ViTMAEForPreTraining, ViTMAEModel, ViTModel

from samattn_cli import EncoderConfig, load_config
from tests.public.counting import counted
from tests.support.weights import packed

SIZES = ("b", "l", "h")
ENCODERS = tuple(f"{kind}_{size}" for kind in ("vit", "mae") for size in SIZES)
PRETRAINING = tuple(f"mae_{size}_pretrain" for size in SIZES)
PRESETS = ENCODERS + PRETRAINING
NORM_EPS = 1e-6
"""timm's and MAE's; transformers' default is another."""

RENAMED = {
    r"patch_embeddings\.projection": "proj",
    r"layernorm_before": "norm1",
    r"layernorm_after": "norm2",
    r"attention\.o_proj": "attn.proj",
    r"^(vit\.)?embeddings\.proj": "patch_embed.proj",
    r"^(vit\.)?embeddings\.position_embeddings": "pos_embed.pos_embed",
    r"^(vit\.)?embeddings\.cls_token": "pos_embed.cls_token",
    r"^(vit\.)?layers": "blocks",
    r"^vit\.layernorm": "transitions.1.norm",
    r"^layernorm": "norm",
    r"^decoder\.decoder_(norm|pred)": r"neck.decoder_\1",
    r"^decoder\.(mask_token|decoder_pos_embed|decoder_embed)": r"transitions.1.\1",
}


def official(config: EncoderConfig) -> nn.Module:
    """transformers' model of a config of this family."""
    stage, *decoder = config.stages
    settings = {
        "image_size": config.image_size,
        "patch_size": config.patch_size,
        "num_channels": config.in_chans,
        "hidden_size": stage.embed_dim,
        "num_hidden_layers": stage.depth,
        "num_attention_heads": stage.num_heads,
        "intermediate_size": stage.mlp_dim,
        "qkv_bias": stage.qkv_bias,
        "layer_norm_eps": NORM_EPS,
    }
    if config.pos_embed == "class_token":
        return ViTModel(ViTConfig(**settings), add_pooling_layer=False).eval()
    settings["mask_ratio"] = config.mask_ratio
    for last in decoder:
        settings |= {
            "decoder_hidden_size": last.embed_dim,
            "decoder_num_hidden_layers": last.depth,
            "decoder_num_attention_heads": last.num_heads,
            "decoder_intermediate_size": last.mlp_dim,
        }
    made = ViTMAEForPreTraining if decoder else ViTMAEModel
    return made(ViTMAEConfig(**settings)).eval()


def renamed(weights: dict[str, Tensor], blocks: int) -> dict[str, Tensor]:
    """transformers' weights by samattn's names; the decoder's layers are blocks behind the `blocks` of the encoder."""
    behind = {r"^decoder\.decoder_layers\.(\d+)": lambda found: f"blocks.{int(found[1]) + blocks}"}
    return packed(weights, {r"attention\.q_proj": "attn.qkv", **behind, **RENAMED})


def count(preset: str) -> tuple[int, int]:
    """Parameters and FLOPs of their model."""
    config = load_config(preset)
    with torch.device("meta"):
        return counted(official(config), torch.empty(config.input_shape))
