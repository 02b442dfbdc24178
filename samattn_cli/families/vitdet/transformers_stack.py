"""ViTDet of transformers, cut into the parts of the plan.

Source: transformers 5.23.0, models/vitdet/modeling_vitdet.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from torch import Tensor, nn
from transformers import VitDetConfig, VitDetModel
from transformers.models.vitdet.modeling_vitdet import VitDetEmbeddings, VitDetLayer

from ...encoder.model import EncoderConfig


class Patches(nn.Module):
    """The convolution of VitDetEmbeddings."""

    def __init__(self, embeddings: VitDetEmbeddings) -> None:
        super().__init__()
        self.projection = embeddings.projection

    def forward(self, image: Tensor) -> Tensor:
        """(B, in_chans, height, width) -> (B, H, W, C)."""
        return cast("Tensor", self.projection(image)).permute(0, 2, 3, 1)


class Positions(nn.Module):
    """What VitDetEmbeddings adds to its patches."""

    def __init__(self, embeddings: VitDetEmbeddings) -> None:
        super().__init__()
        self.position_embeddings = embeddings.position_embeddings
        self.of_grid: Callable[..., Tensor] = embeddings.get_absolute_positions

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> the same."""
        return x + self.of_grid(self.position_embeddings, True, x.shape[1], x.shape[2])


class Layer(nn.Module):
    """A VitDetLayer, whose maps have their channels first."""

    def __init__(self, layer: VitDetLayer) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> the same."""
        return cast("Tensor", self.layer(x.permute(0, 3, 1, 2))[0]).permute(0, 2, 3, 1)


def parts(config: EncoderConfig) -> dict[str, nn.Module]:
    """Its modules by the names of the plan."""
    model = VitDetModel(settings(config))
    return {
        "patch_embed": Patches(model.embeddings),
        "pos_embed": Positions(model.embeddings),
        **{
            f"blocks.{index}": Layer(cast("VitDetLayer", layer))
            for index, layer in enumerate(model.encoder.layer)
        },
    }


def settings(config: EncoderConfig) -> VitDetConfig:
    """The VitDetConfig of an encoder that it can run; its image is the one that tables of relative positions are for."""
    stage, patch = config.stages[0], config.patch_size
    return VitDetConfig(
        image_size=[side * patch for side in stage.rel_pos_grid or config.grid],
        pretrain_image_size=config.pretrain_grid[0] * patch,
        patch_size=patch,
        num_channels=config.in_chans,
        hidden_size=stage.embed_dim,
        num_hidden_layers=stage.depth,
        num_attention_heads=stage.num_heads,
        mlp_ratio=stage.mlp_dim // stage.embed_dim,
        qkv_bias=stage.qkv_bias,
        use_absolute_position_embeddings=config.pos_embed == "pretrained",
        use_relative_position_embeddings=stage.rel_pos == "decomposed",
        window_size=stage.window_size[0],
        window_block_indices=[layer.index for layer in config.layers if not layer.is_global],
        residual_block_indices=list(stage.residual_block_indexes),
    )
