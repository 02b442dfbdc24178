"""SAM's vision encoder of transformers, cut into the parts of the plan.

Source: transformers 5.23.0, models/sam/modeling_sam.py.
"""

from __future__ import annotations

from torch import nn
from transformers import SamVisionConfig, SamVisionModel

from ...encoder.model import EncoderConfig


def parts(config: EncoderConfig) -> dict[str, nn.Module | nn.Parameter | None]:
    """Its modules by the names of the plan; the position embedding is a weight."""
    encoder = SamVisionModel(settings(config)).vision_encoder
    blocks = {f"blocks.{index}": layer for index, layer in enumerate(encoder.layers)}
    return {
        "patch_embed": encoder.patch_embed,
        "pos_embed": encoder.pos_embed,
        **blocks,
        "neck": encoder.neck,
    }


def settings(config: EncoderConfig) -> SamVisionConfig:
    """The SamVisionConfig of an encoder that it can run."""
    stage = config.stages[0]
    made = SamVisionConfig(
        image_size=config.image_size[0],
        patch_size=config.patch_size,
        num_channels=config.in_chans,
        hidden_size=stage.embed_dim,
        num_hidden_layers=stage.depth,
        num_attention_heads=stage.num_heads,
        mlp_dim=stage.mlp_dim,
        qkv_bias=stage.qkv_bias,
        use_abs_pos=config.pos_embed == "learned",
        use_rel_pos=stage.rel_pos == "decomposed",
        window_size=stage.window_size[0],
        global_attn_indexes=list(stage.global_attn_indexes),
        output_channels=config.out_chans,
    )
    made._attn_implementation = config.run.attention  # noqa: SLF001 - a keyword that no type checker knows
    return made
