"""DaViT of timm, cut into the parts of the plan.

Source: timm 1.0.31, models/davit.py.
"""

from __future__ import annotations

from timm.models.davit import DaVit, SpatialBlock
from torch import nn

from ...encoder.model import EncoderConfig


def parts(config: EncoderConfig) -> dict[str, nn.Module]:
    """Its modules by the names of the plan; each layer of it is two blocks."""
    encoder = model(config)
    blocks = [block for stage in encoder.stages for layer in stage.blocks for block in layer]
    return {
        "patch_embed": encoder.stem,
        **{f"blocks.{index}": block for index, block in enumerate(blocks)},
        **{
            f"transitions.{number}": encoder.stages[number].downsample
            for number in range(1, len(encoder.stages))
        },
    }


def model(config: EncoderConfig) -> DaVit:
    """The DaVit of an encoder that it can run, without a classifier."""
    first, stages = config.stages[0], config.stages
    made = DaVit(
        in_chans=config.in_chans,
        num_classes=0,
        depths=tuple(stage.depth // 2 for stage in stages),
        embed_dims=tuple(stage.embed_dim for stage in stages),
        num_heads=tuple(stage.num_heads for stage in stages),
        window_size=first.window_size[0],
        mlp_ratio=first.mlp_ratio,
        qkv_bias=first.qkv_bias,
        down_kernel_size=3 if first.block == "florence2" else 2,
        channel_attn_v2=first.block == "florence2",
    )
    for module in made.modules():
        if isinstance(module, SpatialBlock):
            module.attn.fused_attn = config.run.attention == "sdpa"
    return made
