"""TinyViT of timm, cut into the parts of the plan.

Source: timm 1.0.31, models/tiny_vit.py.
"""

from __future__ import annotations

from functools import partial

import torch
from timm.models.tiny_vit import Attention, TinyVit
from torch import Tensor, nn

from ...encoder.model import EncoderConfig


class Images(nn.Module):
    """A module of images (B, C, H, W), for the tokens (B, H, W, C) of the plan."""

    def __init__(self, module: nn.Module, *, takes: bool = True) -> None:
        super().__init__()
        self.module = module
        self.takes = takes

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C), or an image, -> (B, H', W', C')."""
        out: Tensor = self.module(x.permute(0, 3, 1, 2) if self.takes else x)
        return out.permute(0, 2, 3, 1)


def parts(config: EncoderConfig) -> dict[str, nn.Module]:
    """Its modules by the names of the plan."""
    encoder = model(config)
    first, *rest = encoder.stages
    blocks = [*map(Images, first.blocks), *(block for stage in rest for block in stage.blocks)]
    return {
        "patch_embed": Images(encoder.patch_embed, takes=False),
        **{f"blocks.{index}": block for index, block in enumerate(blocks)},
        **{f"transitions.{number}": Images(stage.downsample) for number, stage in enumerate(rest, 1)},
    }


def model(config: EncoderConfig) -> TinyVit:
    """The TinyVit of an encoder that it can run, without a classifier."""
    stages = config.stages
    made = TinyVit(
        in_chans=config.in_chans,
        num_classes=0,
        embed_dims=tuple(stage.embed_dim for stage in stages),
        depths=tuple(stage.depth for stage in stages),
        num_heads=tuple(stage.num_heads for stage in stages),
        window_sizes=tuple(stage.window_size[0] for stage in stages),
        mlp_ratio=stages[-1].mlp_ratio,
        mbconv_expand_ratio=stages[0].mlp_ratio,
        drop_path_rate=0.0,
    )
    for module in made.modules():
        if isinstance(module, Attention):
            module.fused_attn = config.run.attention == "sdpa"
            if module.attention_biases.is_meta:
                _cache(module)
    return made


def _cache(attention: Attention) -> None:
    """The biases as its cache has them from the second forward on."""
    with torch.no_grad():
        made = attention.attention_biases[:, attention.attention_bias_idxs]
    attention.register_buffer("cached_biases", made, persistent=False)
    attention.get_attention_biases = partial(_biases, attention, attention.get_attention_biases)


def _biases(attention: Attention, make: partial[Tensor], device: torch.device) -> Tensor:
    if attention.training:
        return make(device)
    cached: Tensor = attention.cached_biases
    return cached
