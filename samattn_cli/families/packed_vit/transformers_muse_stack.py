"""Muse Glimmer's vision encoder of transformers, cut into the parts of the plan.

Source: transformers 5.23.0, models/muse_glimmer/modeling_muse_glimmer.py and vision_utils.py. The model is called with the sizes
of images on the host, which reads them, and with positions and what interpolates the learned ones, which are on the device
already ("position_ids", "interp_indices", "interp_weights").
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers.models.muse_glimmer.configuration_muse_glimmer import MuseGlimmerVisionConfig
from transformers.models.muse_glimmer.modeling_muse_glimmer import (
    MuseGlimmerVisionModel,
    MuseGlimmerVisionPatchEmbedder,
)
from transformers.vision_utils import (
    get_vision_cu_seqlens,
    get_vision_interpolation_indices_and_weights,
    get_vision_position_ids,
    get_vision_window_index,
)

from ...encoder.model import EncoderConfig
from .transformers_sizes_stack import ACTIVATIONS, ON_HOST, grids


def parts(config: EncoderConfig) -> dict[str, nn.Module]:
    """Its modules by the names of the plan."""
    model = MuseGlimmerVisionModel(settings(config))
    of_windows, of_images = window_order(config)[1], get_vision_cu_seqlens(grids(config))
    ends = [of_images if layer.is_global else of_windows for layer in config.layers]
    return {
        "patch_embed": model.patch_embedder.patch_embedding,
        "pos_embed": OrderedPositions(model, config),
        **{f"blocks.{index}": Rotated(block, ends[index]) for index, block in enumerate(model.layers)},
        "neck": Shuffle(model, config),
    }


def settings(config: EncoderConfig) -> MuseGlimmerVisionConfig:
    """The MuseGlimmerVisionConfig of an encoder that it can run."""
    (stage,) = config.stages
    side = config.pretrain_grid[0]
    made = MuseGlimmerVisionConfig(
        patch_size=config.patch_size,
        pos_emb_height=side,
        pos_emb_width=side,
        max_position_embeddings=side**2,
        num_attention_heads=stage.num_heads,
        num_hidden_layers=stage.depth,
        hidden_size=stage.embed_dim,
        intermediate_size=stage.mlp_dim,
        hidden_act=ACTIVATIONS[stage.mlp],
        layer_types=["full_attention" if layer.is_global else "window_attention" for layer in config.layers],
    )
    made._attn_implementation = config.run.attention  # noqa: SLF001 - a keyword that no type checker knows
    return made


class OrderedPositions(nn.Module):
    """MuseGlimmerVisionPatchEmbedder from its positions on, then the model's forward up to its blocks."""

    lets_go = True
    shares: Tensor

    def __init__(self, model: MuseGlimmerVisionModel, config: EncoderConfig) -> None:
        super().__init__()
        embedder, grid = model.patch_embedder, grids(config)
        self.position_embedding, self.ln_pre = embedder.position_embedding_table, model.ln_pre
        self.rotary_emb = model.rotary_emb
        self.order = window_order(config)[0]
        device = embedder.position_embedding_table.weight.device
        with ON_HOST:
            taps, shares = interpolation(embedder, grid)
            position_ids = get_vision_position_ids(grid, spatial_merge_size=1)
        for name, each in (("taps", taps), ("shares", shares), ("position_ids", position_ids)):
            self.register_buffer(name, each.to(device), persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> OrderedPositions:
        """The shares stay in float32, whatever the type of the model is."""
        shares = self.shares
        super()._apply(fn, recurse)
        self.shares = shares.to(self.shares.device)
        return self

    def forward(self, entering: list[Tensor]) -> tuple[Tensor, ...]:
        """(T, C) -> the tokens in the order of windows, cosines and sines (T, d), what entered the norm, positions."""
        embeds = self._placed(entering)
        x = self.ln_pre(embeds)
        x = x[self.order, :]
        position_ids = cast("Tensor", self.position_ids).flip(-1) + 1
        position_ids = position_ids[self.order, :]
        cos, sin = self.rotary_emb(x, position_ids)
        return x, cos, sin, embeds, position_ids

    def _placed(self, entering: list[Tensor]) -> Tensor:
        pos_embeds = (self.position_embedding(self.taps) * self.shares[:, :, None]).sum(1)
        embeddings = entering.pop()
        return embeddings + pos_embeds.to(embeddings.dtype)


def interpolation(embedder: MuseGlimmerVisionPatchEmbedder, grid: Tensor) -> tuple[Tensor, Tensor]:
    """The taps of the positions, and their shares: (T, 4) each."""
    return get_vision_interpolation_indices_and_weights(
        grid,
        num_grid_per_side=embedder.num_grid_per_side,
        mode=embedder.interpolation_mode,
        align_corners=embedder.interpolation_align_corners,
        padding=embedder.interpolation_padding,
    )


def window_order(config: EncoderConfig) -> tuple[Tensor, Tensor]:
    """The order of tokens, and the ends of windows, on the host."""
    with ON_HOST:
        return get_vision_window_index(
            grids(config), spatial_merge_size=1, window_size=config.pretrain_grid[0], patch_size=1
        )


class Rotated(nn.Module):
    """A MuseGlimmerVisionEncoderLayer over the images or their windows, whose `ends` are sums of tokens."""

    def __init__(self, block: nn.Module, ends: Tensor) -> None:
        super().__init__()
        self.block, self.ends = block, ends

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, _embeds: Tensor, _ids: Tensor) -> Tensor:
        """(T, C) with positions (T, d) -> (T, C)."""
        return cast("Tensor", self.block(x, cu_seqlens=self.ends, position_embeddings=(cos, sin)))


class Shuffle(nn.Module):
    """The model's forward after its blocks."""

    lets_go = True

    def __init__(self, model: MuseGlimmerVisionModel, config: EncoderConfig) -> None:
        super().__init__()
        self.ln_post, self.merge_size = model.ln_post, model.merge_size
        self.back, self.grids = torch.argsort(window_order(config)[0]), grids(config)

    def forward(self, entering: list[Tensor], *_taps: Tensor) -> Tensor:
        """(T, C) -> (T / 4, 4 * C)."""
        x = entering.pop()
        x = x[self.back, :]
        x = self.ln_post(x)
        model: Any = MuseGlimmerVisionModel
        with ON_HOST:
            return cast("Tensor", model.pixel_shuffle(self, x, self.grids))
