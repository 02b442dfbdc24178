"""Published models, read off the presets: for what the shapes of weights do not show, and to detect partial checkpoints.

A part of a checkpoint reads as a smaller model, and nothing in the file shows that it is a part. So a checkpoint is compared
with the nearest published model.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from ..encoder.model import EncoderConfig
from ..encoder.presets import presets
from ..encoder.registry import NONE
from ..errors import Message
from ..files.load import load_config

NOT_PUBLISHED = ("custom_encoder", "sam_vit_h_all_global", "sam_vit_h_all_windowed")
"""Presets that are not of a published model."""
SAM_BLOCKS = ("vit", "sam_adapter", "sam_lora")
"""Blocks of one family: adapters and LoRA can be added to each of SAM's models."""
NORM_OF_THE_MEAN = "fc_norm.weight"
"""It replaces the encoder's own norm in models that classify the mean of the tokens."""

HEADS = ("hiera_pool", "hiera_classifier")
"""Necks that only classify: a checkpoint may be complete without them."""

Traits = dict[str, Any]


def published_models(block: str) -> Iterator[EncoderConfig]:
    """The presets of published models whose first stage has this kind of block."""
    for name, path in presets().items():
        if name not in NOT_PUBLISHED and _may_have(block, path.read_text(encoding="utf-8")):
            config = load_config(name)
            if config.stages[0].block == block:
                yield config


def _may_have(block: str, text: str) -> bool:
    """Whether a preset's text may have such blocks: it names them, or it names no block (default, or `extends`)."""
    return f"block: {block}" in text or "block:" not in text


def difference_from_published(config: EncoderConfig, others: Collection[str] = ()) -> str:
    """How an encoder differs from the nearest published model, in a sentence; "" if it does not.

    Args:
        config: the encoder that was read.
        others: the names of those weights in the checkpoint that are not the encoder's.
    """
    blocks = SAM_BLOCKS if config.stages[0].block in SAM_BLOCKS else (config.stages[0].block,)
    published = [model for block in blocks for model in published_models(block)]
    if not published:
        return ""
    own = _traits(config)
    if NORM_OF_THE_MEAN in others:
        del own["norm"]
    nearest = min(published, key=lambda model: _distance(config, own, model))
    traits = _traits(nearest)
    differences = [
        f"{key} {_text(traits[key])} instead of {_text(own[key])}" for key in own if own[key] != traits[key]
    ]
    if not differences:
        return ""
    return Message(
        "not-published",
        "No published model is like this one. "
        f"The nearest, {nearest.name}, has {'; '.join(differences)}. Is the checkpoint complete?",
    )


def _traits(config: EncoderConfig) -> Traits:
    """What may be wrong for an incomplete checkpoint, by the keys of a config."""
    stages = config.stages
    return {
        "embed_dim": [stage.embed_dim for stage in stages],
        "depth": [stage.depth for stage in stages],
        "global_attn_indexes": _global(config),
        "qkv_bias": all(stage.qkv_bias for stage in stages),
        "patch_embed": config.patch_embed,
        "norm": config.norm,
        "neck": NONE if config.neck in HEADS else config.neck,
    }


def _global(config: EncoderConfig) -> list[int] | str:
    """The blocks that the config makes global. A block whose window covers the grid is not one of them."""
    if all(stage.placement.is_global for stage in config.stages):
        return "all"
    return [index for stage in config.stages for index in stage.global_attn_indexes]


def _distance(config: EncoderConfig, own: Traits, model: EncoderConfig) -> tuple[int, ...]:
    """Number of different traits; whether it is of images and the other of videos; whether position embedding or block differ; difference in width and depth."""
    traits = _traits(model)
    kinds = ((each.pos_embed, each.stages[0].block) for each in (config, model))
    (width, depth), (model_width, model_depth) = map(_width_and_depth, (config, model))
    different = sum(own[key] != traits[key] for key in own)
    is_of_other = len(config.image_size) != len(model.image_size)
    return (
        different,
        is_of_other,
        next(kinds) != next(kinds),
        abs(width - model_width) + abs(depth - model_depth),
    )


def _width_and_depth(config: EncoderConfig) -> tuple[int, int]:
    return sum(stage.embed_dim for stage in config.stages), sum(stage.depth for stage in config.stages)


def _text(value: Any) -> str:
    """A list of one number as that number."""
    if isinstance(value, list):
        return str(value[0]) if len(value) == 1 else str(value)
    return str(value).lower()
