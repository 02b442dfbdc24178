"""Florence-2's vision encoder of transformers, cut into the parts of the plan.

Source: transformers 5.23.0, models/florence2/modeling_florence2.py.
"""

from __future__ import annotations

from torch import nn
from transformers import Florence2VisionConfig
from transformers.models.florence2.modeling_florence2 import Florence2VisionBackbone

from ...encoder.model import EncoderConfig
from .words import heads_of


def parts(config: EncoderConfig) -> dict[str, nn.Module]:
    """Its modules by the names of the plan; each layer of it is two blocks."""
    model = Florence2VisionBackbone(settings(config))
    blocks = [
        half
        for stage in model.blocks
        for layer in stage
        for half in (layer.spatial_block, layer.channel_block)
    ]
    first, *others = model.convs
    return {
        "patch_embed": first,
        **{f"blocks.{index}": block for index, block in enumerate(blocks)},
        **{f"transitions.{number}": conv for number, conv in enumerate(others, 1)},
    }


def settings(config: EncoderConfig) -> Florence2VisionConfig:
    """The Florence2VisionConfig of an encoder that it can run; in evaluation, dropping paths changes nothing."""
    stages, patch = config.stages, config.patch_size
    first, *others = stages
    numbers = range(len(stages))
    made = Florence2VisionConfig(
        in_channels=config.in_chans,
        depths=[stage.depth // 2 for stage in stages],
        patch_size=[2 * patch - 1, *(3 for _ in others)],
        patch_stride=[patch, *(2 for _ in others)],
        patch_padding=[patch - 1, *(1 for _ in others)],
        patch_prenorm=[False, *(True for _ in others)],
        embed_dim=[stage.embed_dim for stage in stages],
        num_heads=[heads_of(config, number, channel=False) for number in numbers],
        num_groups=[heads_of(config, number, channel=True) for number in numbers],
        window_size=first.window_size[0],
        drop_path_rate=0.0,
        mlp_ratio=first.mlp_ratio,
        qkv_bias=first.qkv_bias,
    )
    made._attn_implementation = config.run.attention  # noqa: SLF001 - a keyword that no type checker knows
    return made
