"""SAM 3's vision encoder of transformers, cut into the parts of the plan.

Source: transformers 5.23.0, models/sam3/modeling_sam3.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import Sam3VisionConfig, Sam3VisionModel
from transformers.models.sam3.configuration_sam3 import Sam3ViTConfig
from transformers.models.sam3.modeling_sam3 import (
    Sam3SinePositionEmbedding,
    Sam3VisionNeck,
    Sam3ViTEmbeddings,
    Sam3ViTModel,
)

from ...encoder.model import EncoderConfig
from ...stack.autocast import autocast_of
from .words import scaled_grids


class Patches(nn.Module):
    """The convolution of Sam3ViTPatchEmbeddings."""

    def __init__(self, embeddings: Sam3ViTEmbeddings) -> None:
        super().__init__()
        self.projection = embeddings.patch_embeddings.projection

    def forward(self, image: Tensor) -> Tensor:
        """(B, in_chans, height, width) -> (B, H, W, C)."""
        return cast("Tensor", self.projection(image)).permute(0, 2, 3, 1)


class Positions(nn.Module):
    """What Sam3ViTEmbeddings adds to its patches."""

    def __init__(self, embeddings: Sam3ViTEmbeddings) -> None:
        super().__init__()
        self.position_embeddings = embeddings.position_embeddings
        self.tiled: Callable[..., Tensor] = embeddings._tile_position_embeddings  # noqa: SLF001

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> the same."""
        tokens, grid = x.flatten(1, 2), x.shape[1:3]
        positions = self.tiled(self.position_embeddings, *grid)
        tokens = tokens + positions
        return tokens.view(len(tokens), *grid, -1)


class Cached(nn.Module):
    """The positions of the neck's maps as its cache has them from the second forward on; `to` leaves them as they are."""

    def __init__(self, encoding: Sam3SinePositionEmbedding, config: EncoderConfig) -> None:
        super().__init__()
        self.dtype: torch.dtype = getattr(torch, config.run.product_dtype)
        with autocast_of(config.run):  # which computes powers in float32
            for number, shape in enumerate(_maps(config)):
                made = encoding(torch.Size(shape), torch.device("meta"), self.dtype)
                self.register_buffer(f"map{number}", made, persistent=False)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Cached:  # noqa: ARG002
        return self

    def forward(self, shape: torch.Size, _device: torch.device, dtype: torch.dtype) -> Tensor:
        """The positions of a map."""
        (found,) = (each for each in self.buffers() if each.shape == shape and dtype == self.dtype)
        return found


class Neck(nn.Module):
    """Sam3VisionNeck, and the tokens that enter it, which the model returns too."""

    def __init__(self, neck: Sam3VisionNeck, config: EncoderConfig) -> None:
        super().__init__()
        self.neck = neck
        if all(weight.is_meta for weight in neck.parameters()):
            neck.add_module("position_encoding", Cached(neck.position_encoding, config))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, H, W, C) -> four of (B, out_chans, H', W'), then the tokens."""
        maps, _positions = self.neck(x.permute(0, 3, 1, 2))
        return *maps, x.detach()


def _maps(config: EncoderConfig) -> Iterator[tuple[int, ...]]:
    for grid in scaled_grids(config.grid):
        yield config.run.batch_size, config.out_chans, *grid


def parts(config: EncoderConfig) -> dict[str, nn.Module]:
    """Its modules by the names of the plan."""
    if config.neck == "none":
        return _of_backbone(Sam3ViTModel(backbone(config)))
    made = Sam3VisionConfig(backbone_config=backbone(config), fpn_hidden_size=config.out_chans)
    made._attn_implementation = config.run.attention  # noqa: SLF001 - a keyword that no type checker knows
    model: Any = Sam3VisionModel(made)
    return {**_of_backbone(model.backbone), "neck": Neck(model.neck, config)}


def _of_backbone(model: Sam3ViTModel) -> dict[str, nn.Module]:
    return {
        "patch_embed": Patches(model.embeddings),
        "pos_embed": Positions(model.embeddings),
        "pre_norm": model.layer_norm,
        **{f"blocks.{index}": layer for index, layer in enumerate(model.layers)},
    }


def backbone(config: EncoderConfig) -> Sam3ViTConfig:
    """The Sam3ViTConfig of an encoder that it can run."""
    stage = config.stages[0]
    made = Sam3ViTConfig(
        hidden_size=stage.embed_dim,
        intermediate_size=stage.mlp_dim,
        num_hidden_layers=stage.depth,
        num_attention_heads=stage.num_heads,
        num_channels=config.in_chans,
        image_size=list(config.image_size),
        patch_size=config.patch_size,
        window_size=stage.window_size[0],
        global_attn_indexes=[layer.index for layer in config.layers if layer.is_global],
        pretrain_image_size=config.pretrain_grid[0] * config.patch_size,
    )
    made._attn_implementation = config.run.attention  # noqa: SLF001 - a keyword that no type checker knows
    return made
