"""transformers' SAM 3 vision encoder, with a config of samattn's."""

from __future__ import annotations

import torch
from transformers.models.sam3.configuration_sam3 import Sam3VisionConfig, Sam3ViTConfig
from transformers.models.sam3.modeling_sam3 import Sam3VisionModel

from samattn_cli import EncoderConfig, load_config
from samattn_cli.stack.encoder import image_for
from tests.public.counting import counted

PRESETS = ("sam3_vision",)


def public_encoder(config: EncoderConfig, device: str, attention: str = "eager") -> Sam3VisionModel:
    """Their encoder with its neck, in evaluation mode."""
    (stage,) = config.stages
    backbone = Sam3ViTConfig(
        hidden_size=stage.embed_dim,
        intermediate_size=stage.mlp_dim,
        num_hidden_layers=stage.depth,
        num_attention_heads=stage.num_heads,
        num_channels=config.in_chans,
        image_size=config.image_size[0],
        patch_size=config.patch_size,
        window_size=stage.window_size[0],
        global_attn_indexes=list(stage.global_attn_indexes),
        pretrain_image_size=(config.pretrain_image_size or config.image_size)[0],
    )
    theirs = Sam3VisionConfig(
        backbone_config=backbone, fpn_hidden_size=config.out_chans, attn_implementation=attention
    )
    with torch.device(device):
        return Sam3VisionModel(theirs).eval()


def count(preset: str) -> tuple[int, int]:
    """Parameters and FLOPs of their encoder. Their position encodings of the neck's maps take no products."""
    config = load_config(preset)
    return counted(public_encoder(config, "meta"), image_for(config, "meta"))
