"""SAM 2's image encoders as transformers has them, counted on the meta device: parameters and FLOPs, two a MAC."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import Sam2HieraDetConfig, Sam2VisionConfig, Sam2VisionModel
from transformers.models.sam2.modeling_sam2 import Sam2MultiScaleAttention

TRUNKS = {
    "sam2_hiera_t": {},
    "sam2_hiera_s": {"blocks_per_stage": [1, 2, 11, 2], "global_attention_blocks": [7, 10, 13]},
    "sam2_hiera_b_plus": {
        "hidden_size": 112,
        "embed_dim_per_stage": [112, 224, 448, 896],
        "num_attention_heads_per_stage": [2, 4, 8, 16],
        "blocks_per_stage": [2, 3, 16, 3],
        "global_attention_blocks": [12, 16, 20],
        "window_positional_embedding_background_size": [14, 14],
    },
    "sam2_hiera_l": {
        "hidden_size": 144,
        "embed_dim_per_stage": [144, 288, 576, 1152],
        "num_attention_heads_per_stage": [2, 4, 8, 16],
        "blocks_per_stage": [2, 6, 36, 4],
        "global_attention_blocks": [23, 33, 43],
        "window_size_per_stage": [8, 4, 16, 8],
    },
}
"""What differs from transformers' defaults, which are the smallest model's."""

PRESETS = tuple(TRUNKS)


def model(neck: Mapping[str, int] | None = None, **trunk) -> Sam2VisionModel:
    """The encoder with its neck, in evaluation mode."""
    config = Sam2HieraDetConfig(**trunk)
    widths = config.embed_dim_per_stage[::-1]
    whole = Sam2VisionConfig(backbone_config=config, backbone_channel_list=widths, **(neck or {}))
    whole._attn_implementation = "eager"
    return Sam2VisionModel(whole).eval()


def count(preset: str) -> tuple[int, int]:
    """Parameters, and FLOPs at 1024 less those of a product of queries and keys that transformers computes and drops."""
    with torch.device("meta"):
        encoder = model(**TRUNKS[preset])
        image = torch.empty(1, 3, 1024, 1024)
    dropped: list[int] = []
    for module in encoder.modules():
        if isinstance(module, Sam2MultiScaleAttention):
            module.register_forward_pre_hook(partial(_note, dropped), with_kwargs=True)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        encoder(image)
    return sum(weight.numel() for weight in encoder.parameters()), counter.get_total_flops() - sum(dropped)


def _note(dropped: list[int], module: nn.Module, _args: tuple, kwargs: dict[str, torch.Tensor]) -> None:
    """Its first product is of heads and heads, for each token: (B, M, h, d) @ (B, M, d, h), before the real one."""
    tokens = kwargs["hidden_states"].shape[:-1].numel()
    dropped.append(2 * tokens * module.num_attention_heads * module.dim_out)
