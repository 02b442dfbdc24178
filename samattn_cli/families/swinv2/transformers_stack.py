"""Swin V2 of transformers, cut into the parts of the plan.

Source: transformers 5.23.0, models/swinv2/modeling_swinv2.py.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn
from transformers import Swinv2Config, Swinv2Model
from transformers.models.swinv2.modeling_swinv2 import Swinv2Layer, Swinv2PatchMerging

from ...encoder.keys import Pair
from ...encoder.model import EncoderConfig
from ...encoder.slots import ends_of_stages
from ..swin.transformers_stack import Patches, sizes


class OnGrid(nn.Module):
    """A layer or a merging, on its grid."""

    def __init__(self, module: Swinv2Layer | Swinv2PatchMerging, grid: Pair) -> None:
        super().__init__()
        self.module, self.grid = module, grid

    def forward(self, x: Tensor) -> Tensor:
        """(B, HW, C) -> the same, or (B, HW / 4, C')."""
        out: Tensor | tuple[Tensor, ...] = self.module(x, self.grid)
        return out[0] if isinstance(out, tuple) else out


def parts(config: EncoderConfig) -> dict[str, nn.Module]:
    """Its modules by the names of the plan."""
    model = Swinv2Model(settings(config), add_pooling_layer=False)
    stages = list(model.encoder.layers)
    layers = [layer for stage in stages for layer in stage.blocks]
    ends = [config.layers[index].grid for index in ends_of_stages(config)]
    merging = [cast("Swinv2PatchMerging", stage.downsample) for stage in stages[:-1]]
    return {
        "patch_embed": Patches(model.embeddings),
        **{f"blocks.{i}": OnGrid(layer, config.layers[i].grid) for i, layer in enumerate(layers)},
        **{f"transitions.{n}": OnGrid(each, ends[n - 1]) for n, each in enumerate(merging, 1)},
        "norm": model.layernorm,
    }


def settings(config: EncoderConfig) -> Swinv2Config:
    """The Swinv2Config of an encoder that it can run; in evaluation, dropping paths changes nothing."""
    made = Swinv2Config(**sizes(config), drop_path_rate=0.0)
    made._attn_implementation = config.run.attention  # noqa: SLF001 - a keyword that no type checker knows
    return made
