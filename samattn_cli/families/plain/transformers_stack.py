"""ViT of transformers, cut into the parts of the plan.

Source: transformers 5.23.0, models/vit/modeling_vit.py.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import ViTConfig, ViTModel

from ...encoder.model import EncoderConfig


class Positions(nn.Module):
    """ViTEmbeddings without its patches: a class token in front, then its positions."""

    def __init__(self, cls_token: nn.Parameter, position_embeddings: nn.Parameter) -> None:
        super().__init__()
        self.cls_token, self.position_embeddings = cls_token, position_embeddings

    def forward(self, patches: Tensor) -> Tensor:
        """(B, HW, C) -> (B, 1 + HW, C)."""
        tokens = torch.cat((self.cls_token.expand(patches.shape[0], -1, -1), patches), dim=1)
        return tokens + self.position_embeddings


def parts(config: EncoderConfig) -> dict[str, nn.Module]:
    """Its modules by the names of the plan."""
    model = ViTModel(settings(config), add_pooling_layer=False)
    return {
        "patch_embed": model.embeddings.patch_embeddings,
        "pos_embed": Positions(model.embeddings.cls_token, model.embeddings.position_embeddings),
        **{f"blocks.{index}": layer for index, layer in enumerate(model.layers)},
        "norm": model.layernorm,
    }


def settings(config: EncoderConfig) -> ViTConfig:
    """The ViTConfig of an encoder that it can run."""
    stage = config.stages[0]
    made = ViTConfig(
        image_size=config.image_size,
        patch_size=config.patch_size,
        num_channels=config.in_chans,
        hidden_size=stage.embed_dim,
        num_hidden_layers=stage.depth,
        num_attention_heads=stage.num_heads,
        intermediate_size=stage.mlp_dim,
        qkv_bias=stage.qkv_bias,
    )
    made._attn_implementation = config.run.attention  # noqa: SLF001 - a keyword that no type checker knows
    return made
