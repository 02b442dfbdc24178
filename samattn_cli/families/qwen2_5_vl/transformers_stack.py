"""Qwen2.5-VL's vision encoder of transformers, cut into the parts of the plan.

Source: transformers 5.23.0, models/qwen2_5_vl/modeling_qwen2_5_vl.py and vision_utils.py. The model is called with the sizes of
the images on the host, which reads them, and with positions that are on the device already ("position_ids").
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLVisionConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import (
    Qwen2_5_VisionTransformerPretrainedModel,
    Qwen2_5_VLPatchMerger,
    Qwen2_5_VLVisionBlock,
)
from transformers.vision_utils import (
    get_vision_attention_seqlens,
    get_vision_position_ids,
    get_vision_window_index,
)

from ...encoder.model import EncoderConfig
from .words import MERGE

ON_HOST = torch.device("cpu")


class WindowOrder(nn.Module):
    """The model's forward from its patches to its blocks."""

    lets_go = True

    def __init__(self, model: Qwen2_5_VisionTransformerPretrainedModel, config: EncoderConfig) -> None:
        super().__init__()
        self.rotary_pos_emb = model.rotary_pos_emb
        self.in_order = model.permute_input_for_window_attn
        self.order = window_order(config)[0]
        with ON_HOST:
            position_ids = get_vision_position_ids(grids(config), MERGE)
        device = cast("Tensor", model.rotary_pos_emb.inv_freq).device
        self.register_buffer("position_ids", position_ids.to(device), persistent=False)

    def forward(self, entering: list[Tensor]) -> tuple[Tensor, ...]:
        """(T, C) -> the tokens in the order of windows, cosines and sines (T, d)."""
        length = len(entering[0])
        tokens = self.in_order(entering.pop(), self.order, seq_len=length)
        tables = self.rotary_pos_emb(tokens, self.position_ids)
        return tokens, *(self.in_order(table, self.order, seq_len=length) for table in tables)


class Block(nn.Module):
    """A Qwen2_5_VLVisionBlock over the images or their windows, whose `ends` are sums of tokens."""

    def __init__(self, block: Qwen2_5_VLVisionBlock, ends: tuple[int, ...]) -> None:
        super().__init__()
        self.block, self.ends = block, ends

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """(T, C) with positions (T, d) -> (T, C)."""
        ends = torch.tensor(self.ends, device=ON_HOST)
        return cast("Tensor", self.block(x, cu_seqlens=ends, position_embeddings=(cos, sin)))


class Merger(nn.Module):
    """The model's forward after its blocks; it returns what enters the merger too."""

    def __init__(self, merger: Qwen2_5_VLPatchMerger, config: EncoderConfig) -> None:
        super().__init__()
        self.merger, self.order = merger, window_order(config)[0]

    def forward(self, x: Tensor, _cos: Tensor, _sin: Tensor) -> tuple[Tensor, Tensor]:
        """(T, C) -> (T / 4, out_chans), and the tokens."""
        back = torch.argsort(self.order)
        merged = self.merger(x)
        return merged[back, :], x.detach()


def grids(config: EncoderConfig) -> Tensor:
    """(frames, rows, columns) of patches of each image, on the host."""
    return torch.tensor([[1, *config.grid]] * config.run.batch_size, device=ON_HOST)


def window_order(config: EncoderConfig) -> tuple[Tensor, Tensor]:
    """The order of squares of tokens, and the ends of windows, on the host."""
    (stage,) = config.stages
    patch = config.patch_size
    with ON_HOST:
        return get_vision_window_index(grids(config), MERGE, stage.window_size[0] * patch, patch)


def parts(config: EncoderConfig) -> dict[str, nn.Module]:
    """Its modules by the names of the plan."""
    made = settings(config)
    model: Any = Qwen2_5_VisionTransformerPretrainedModel(made)
    of_windows = tuple(window_order(config)[1].tolist())
    with ON_HOST:
        of_images = tuple(get_vision_attention_seqlens(grids(config), made)[0].tolist())
    ends = [of_images if layer.is_global else of_windows for layer in config.layers]
    return {
        "patch_embed": model.patch_embed,
        "pos_embed": WindowOrder(model, config),
        **{f"blocks.{index}": Block(block, ends[index]) for index, block in enumerate(model.blocks)},
        "neck": Merger(model.merger, config),
    }


def settings(config: EncoderConfig) -> Qwen2_5_VLVisionConfig:
    """The Qwen2_5_VLVisionConfig of an encoder that it can run."""
    (stage,) = config.stages
    made = Qwen2_5_VLVisionConfig(
        depth=stage.depth,
        hidden_size=stage.embed_dim,
        intermediate_size=stage.mlp_dim,
        num_heads=stage.num_heads,
        in_channels=config.in_chans,
        patch_size=config.patch_size,
        window_size=stage.window_size[0] * config.patch_size,
        out_hidden_size=config.out_chans,
        fullatt_block_indexes=[layer.index for layer in config.layers if layer.is_global],
    )
    made._attn_implementation = config.run.attention  # noqa: SLF001 - a keyword that no type checker knows
    return made
