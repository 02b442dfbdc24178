"""Swin of transformers, cut into the parts of the plan.

Source: transformers 5.23.0, models/swin/modeling_swin.py. A SwinLayer forgets its shift for good once it has seen a grid
that is not larger than its window: make its modules anew for each image size.
"""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn
from transformers import SwinConfig, SwinModel
from transformers.models.swin.modeling_swin import SwinEmbeddings, SwinLayer, SwinPatchMerging, SwinStage
from transformers.models.swinv2.modeling_swinv2 import Swinv2Embeddings

from ...encoder.keys import Pair
from ...encoder.model import EncoderConfig
from ...encoder.registry import NONE
from ...encoder.slots import ends_of_stages
from .words import ENDING


class Patches(nn.Module):
    """SwinEmbeddings, or those of Swin V2, without positions."""

    def __init__(self, embeddings: SwinEmbeddings | Swinv2Embeddings) -> None:
        super().__init__()
        self.patch_embeddings, self.norm = embeddings.patch_embeddings, embeddings.norm

    def forward(self, image: Tensor) -> Tensor:
        """(B, in_chans, height, width) -> (B, HW, C)."""
        tokens: Tensor = self.patch_embeddings(image)[0]
        return cast("Tensor", self.norm(tokens))


class Positions(nn.Module):
    """The positions of SwinEmbeddings."""

    def __init__(self, embeddings: SwinEmbeddings) -> None:
        super().__init__()
        self.position_embeddings = cast("nn.Parameter", embeddings.position_embeddings)

    def forward(self, x: Tensor) -> Tensor:
        """(B, HW, C) -> (B, HW, C)."""
        return x + self.position_embeddings


class Layer(nn.Module):
    """A SwinLayer on its grid; it returns eager probabilities too."""

    def __init__(self, layer: SwinLayer, grid: Pair, kernel: str) -> None:
        super().__init__()
        self.layer, self.grid, self.kernel = layer, grid, kernel

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """(B, HW, C) -> (B, HW, C)."""
        tokens, probabilities = self.layer(x, self.grid)
        return tokens if self.kernel == "sdpa" else (tokens, probabilities)


class Merging(nn.Module):
    """The end of a stage: the merging, and a copy of its result that the stage returns."""

    def __init__(self, stage: SwinStage, grid: Pair) -> None:
        super().__init__()
        self.downsample, self.grid = cast("SwinPatchMerging", stage.downsample), grid
        self.copy = stage.get_reshaped_hidden_states

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, HW, C) -> (B, HW / 4, C') twice, and (B, C', H / 2, W / 2)."""
        out = self.downsample(x, self.grid)
        return out, out, self.copy(out, x, *self.grid, False)


class LastStage(nn.Module):
    """The end of the last stage: such a copy."""

    def __init__(self, stage: SwinStage, grid: Pair) -> None:
        super().__init__()
        self.grid = grid
        self.copy = stage.get_reshaped_hidden_states

    def forward(self, x: Tensor) -> Tensor:
        """`x`: (B, HW, C)."""
        self.copy(x, x, *self.grid, False)
        return x


def parts(config: EncoderConfig) -> dict[str, nn.Module]:
    """Its modules by the names of the plan."""
    model = SwinModel(settings(config), add_pooling_layer=False)
    stages, kernel = list(model.encoder.layers), config.run.attention
    layers = [layer for stage in stages for layer in stage.blocks]
    grids = [config.layers[index].grid for index in ends_of_stages(config)]
    ends = list(zip(stages, grids, strict=True))
    return {
        "patch_embed": Patches(model.embeddings),
        **({"pos_embed": Positions(model.embeddings)} if config.pos_embed != NONE else {}),
        **{f"blocks.{i}": Layer(layer, config.layers[i].grid, kernel) for i, layer in enumerate(layers)},
        **{f"transitions.{n}": Merging(*end) for n, end in enumerate(ends[:-1], 1)},
        ENDING: LastStage(*ends[-1]),
        "norm": model.layernorm,
    }


def settings(config: EncoderConfig) -> SwinConfig:
    """The SwinConfig of an encoder that it can run; in evaluation, dropping paths changes nothing."""
    made = SwinConfig(
        **sizes(config), use_absolute_embeddings=config.pos_embed == "learned", drop_path_rate=0.0
    )
    made._attn_implementation = config.run.attention  # noqa: SLF001 - a keyword that no type checker knows
    return made


def sizes(config: EncoderConfig) -> dict[str, Any]:
    """The entries of a SwinConfig that a Swinv2Config has too."""
    first, stages = config.stages[0], config.stages
    return {
        "image_size": config.image_size,
        "patch_size": config.patch_size,
        "num_channels": config.in_chans,
        "embed_dim": first.embed_dim,
        "depths": [stage.depth for stage in stages],
        "num_heads": [stage.num_heads for stage in stages],
        "window_size": first.window_size[0],
        "mlp_ratio": first.mlp_ratio,
        "qkv_bias": first.qkv_bias,
    }
