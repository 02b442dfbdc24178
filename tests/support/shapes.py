"""Presets of which no two have the same shape: what is shown of a formula needs no other size of the same encoder."""

from __future__ import annotations

from samattn_cli import EncoderConfig, load_config
from samattn_cli.encoder.model import StageConfig
from samattn_cli.encoder.presets import presets


def _of_stage(stage: StageConfig) -> tuple[object, ...]:
    """All but widths, heads and depths."""
    placed = (stage.window_size, stage.shift_size, bool(stage.global_attn_indexes), stage.q_stride)
    tables = (stage.rel_pos, stage.rel_pos_grid, stage.qkv_bias)
    return (stage.block, stage.transition, *placed, *tables, stage.depth_slices, stage.lora_rank)


def _of_encoder(config: EncoderConfig) -> tuple[object, ...]:
    ends = (config.patch_embed, config.pos_embed, config.neck, config.norm, config.pre_norm)
    return (*ends, config.patch_size, config.mask_ratio, *map(_of_stage, config.stages))


def _work(name: str) -> int:
    return sum(stage.depth * stage.embed_dim**2 for stage in load_config(name).stages)


ONE_OF_EACH_SHAPE = tuple(
    {_of_encoder(load_config(name)): name for name in sorted(presets(), key=_work, reverse=True)}.values()
)
"""The smallest preset of each."""
