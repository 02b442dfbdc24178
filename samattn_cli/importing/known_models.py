"""Whether a checkpoint is of a published model. A part of one reads as a smaller model: nothing in a file says so."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ..encoder.model import EncoderConfig
from .from_presets import published

KIN = ("vit", "sam_adapter", "sam_lora")
"""Blocks of one family: adapters and LoRA are put into any of SAM's models."""
NORM_OF_THE_MEAN = "fc_norm.weight"
"""What takes the place of the encoder's own norm where the mean of the tokens is classified."""

Traits = dict[str, Any]


def unlike(config: EncoderConfig, beside: Collection[str] = ()) -> str:
    """In what an encoder differs from the nearest published model, in a sentence; "" if it does not.

    Args:
        config: the encoder as it was read.
        beside: the names of the checkpoint's weights that are not of its encoder.
    """
    blocks = KIN if config.stages[0].block in KIN else (config.stages[0].block,)
    near = [other for block in blocks for other in published(block)]
    if not near:
        return ""
    own = _traits(config)
    if NORM_OF_THE_MEAN in beside:
        del own["norm"]
    nearest = min(near, key=lambda other: _apart(config, own, other))
    traits = _traits(nearest)
    said = [
        f"{key} {_shown(traits[key])} and not {_shown(own[key])}" for key in own if own[key] != traits[key]
    ]
    if not said:
        return ""
    return (
        "No published model that samattn knows is like it. "
        f"The nearest, {nearest.name}, has {'; '.join(said)}. Is the checkpoint complete?"
    )


def _traits(config: EncoderConfig) -> Traits:
    """What an incomplete checkpoint gets wrong, by the keys of a config."""
    stages = config.stages
    return {
        "embed_dim": [stage.embed_dim for stage in stages],
        "depth": [stage.depth for stage in stages],
        "global_attn_indexes": _global(config),
        "qkv_bias": all(stage.qkv_bias for stage in stages),
        "patch_embed": config.patch_embed,
        "norm": config.norm,
        "neck": config.neck,
    }


def _global(config: EncoderConfig) -> list[int] | str:
    """The blocks that are global whatever the image's size: a window that covers the grid is a window all the same."""
    if all(stage.placement.is_global for stage in config.stages):
        return "all"
    return [index for stage in config.stages for index in stage.global_attn_indexes]


def _apart(config: EncoderConfig, own: Traits, other: EncoderConfig) -> tuple[int, ...]:
    """In how many ways they differ; then whether in what no missing weight changes, and by how much in width and depth."""
    traits = _traits(other)
    kinds = ((made.pos_embed, made.stages[0].block) for made in (config, other))
    (wide, deep), (wide_there, deep_there) = map(_size, (config, other))
    ways = sum(own[key] != traits[key] for key in own)
    return ways, next(kinds) != next(kinds), abs(wide - wide_there) + abs(deep - deep_there)


def _size(config: EncoderConfig) -> tuple[int, int]:
    return sum(stage.embed_dim for stage in config.stages), sum(stage.depth for stage in config.stages)


def _shown(value: Any) -> str:
    """A list of one number as the number."""
    if isinstance(value, list):
        return str(value[0]) if len(value) == 1 else str(value)
    return str(value).lower()
