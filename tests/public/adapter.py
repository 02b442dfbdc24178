"""Parameters and FLOPs of fine-tuned SAM encoders, counted on segment-anything's encoder and what is added to it.

The encoder is segment-anything's own on the meta device, by FlopCounterMode, an image at a time. Medical SAM Adapter's
repository is no package (it takes its arguments from a command line, and einops): what it and LoRA add is by formula,
derived from models/ImageEncoder/vit/adapter_block.py and models/common/adapter.py there, and from SAMed's
sam_lora_image_encoder.py. Norms count no FLOPs, so it changes nothing that windows are cut before norm1.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache

import torch
from torch.utils.flop_counter import FlopCounterMode

from samattn_cli import EncoderConfig, load_config
from samattn_cli.encoder.model import RunConfig, StageConfig
from tests.public.segment_anything_encoder import official_encoder

PRESETS = (
    *(f"med_sam_adapter_{size}{depth}" for size in "blh" for depth in ("", "_3d")),
    "sam_vit_b_lora",
)


def count(preset: str) -> tuple[int, int]:
    """(parameters, FLOPs) of a preset."""
    return count_of(load_config(preset))


def count_of(config: EncoderConfig) -> tuple[int, int]:
    """(parameters, FLOPs) of any such encoder with square sizes."""
    params, flops = _of_sam(replace(config, name="", description="", run=RunConfig(), stages=_plain(config)))
    (stage,) = config.stages
    added = _lora if stage.block == "sam_lora" else _adapters
    for index in range(stage.depth):
        padded, tokens = _tokens(config, index)
        more_params, more_flops = added(stage, padded, tokens)
        params, flops = params + more_params, flops + more_flops
    return params, flops * config.run.batch_size


def _plain(config: EncoderConfig) -> tuple[StageConfig, ...]:
    """The stages without what is added, on which nothing of SAM's depends."""
    plain = StageConfig(embed_dim=1, depth=1, num_heads=1)
    keys = ("block", "adapter_ratio", "depth_slices", "lora_rank")
    return tuple(replace(stage, **{key: getattr(plain, key) for key in keys}) for stage in config.stages)


@lru_cache
def _of_sam(config: EncoderConfig) -> tuple[int, int]:
    encoder = official_encoder(config, "meta")
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        encoder(torch.empty(1, config.in_chans, *config.image_size))
    return sum(weight.numel() for weight in encoder.parameters()), counter.get_total_flops()


def _tokens(config: EncoderConfig, index: int) -> tuple[int, int]:
    """Tokens of a block's attention, padding included, and of its MLP."""
    (stage,), side = config.stages, config.image_size[0] // config.patch_size
    window = side if index in stage.global_attn_indexes else stage.window_size[0] or side
    return (math.ceil(side / window) * window) ** 2, side**2


def _adapters(stage: StageConfig, padded: int, tokens: int) -> tuple[int, int]:
    """Three adapters, all there always; those of attention and MLP are run, that of depth in 3-D alone."""
    C, slices = stage.embed_dim, stage.depth_slices
    hidden = int(C * stage.adapter_ratio)
    params = 3 * (2 * C * hidden + hidden + C)
    one = 4 * C * hidden  # a token through an adapter: two products
    flops = one * (padded + tokens)
    if slices:
        rows, columns = _closest_numbers(slices)
        positions = 2 * C * (rows + columns) if stage.rel_pos == "decomposed" else 0
        # qkv and proj, both products of attention, relative positions, the adapter
        flops += padded * (8 * C**2 + 4 * slices * C + positions + one)
    return params, flops


def _closest_numbers(target: int) -> tuple[int, int]:
    """The two factors of a depth that their code looks for: neighbours at first, then further apart."""
    low = math.isqrt(target)
    high = low + 1
    while low * high != target:
        if low * high < target:
            high += 1
        else:
            low -= 1
    return low, high


def _lora(stage: StageConfig, padded: int, _tokens: int) -> tuple[int, int]:
    """A and B for queries and for values."""
    params = 4 * stage.embed_dim * stage.lora_rank
    return params, 2 * params * padded
