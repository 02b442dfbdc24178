"""Qwen2.5-VL's vision encoder: transformers' Qwen2_5_VLConfig and its vision part.

Source: transformers, models/qwen2_5_vl/configuration_qwen2_5_vl.py and modeling_qwen2_5_vl.py.
"""

from __future__ import annotations

from ...errors import ImportFailedError
from ...importing.description import Description, Keys, Size, as_size, ratio_of
from ...importing.published_models import published_models

WORD = "qwen2_5_vl"
VISION = "qwen2_5_vl_vision"
MERGE = 2
"""The merger joins MERGE x MERGE tokens."""
FRAMES = 2
"""Frames in a patch."""


def from_model(description: Description) -> Keys:
    """A Qwen2_5_VLConfig, or its vision part under the model_type of the whole model, as in older files."""
    if "vision_config" not in description.entries and "out_hidden_size" in description.entries:
        return from_vision(description)
    return from_vision(description.inner("vision_config", VISION, WORD))


def from_vision(description: Description) -> Keys:
    """A Qwen2_5_VLVisionConfig, whose windows are in pixels."""
    description = description.with_defaults(
        depth=32, hidden_size=3584, intermediate_size=3420, num_heads=16, in_channels=3, patch_size=14,
        window_size=112, out_hidden_size=3584, fullatt_block_indexes=[7, 15, 23, 31],
    )  # fmt: skip
    description.expect("hidden_act", "silu")
    description.expect("spatial_merge_size", MERGE)
    description.expect("temporal_patch_size", FRAMES)
    width, patch = description.integer("hidden_size"), description.side("patch_size")
    return {
        "image_size": _image_size(description),
        "in_chans": description.integer("in_channels"),
        "patch_size": patch,
        "patch_embed": WORD,
        "pos_embed": "window_order",
        "block": WORD,
        "embed_dim": width,
        "depth": description.integer("depth"),
        "num_heads": description.integer("num_heads"),
        "mlp_ratio": ratio_of(description.integer("intermediate_size"), width),
        "qkv_bias": True,
        "window_size": description.integer("window_size") // (MERGE * patch) * MERGE,
        "global_attn_indexes": description.integers("fullatt_block_indexes"),
        "neck": "patch_merger",
        "out_chans": description.integer("out_hidden_size"),
    }


def _image_size(description: Description) -> Size:
    """The image size of the preset, since the model takes any."""
    size = next((config.image_size for config in published_models(WORD)), None)
    if size is None:
        raise ImportFailedError("no-preset", f"{description.label}: samattn has no preset of {WORD}")
    description.notes.append("The model takes images of any size: change image_size to yours.")
    return as_size(size)


def from_exaone(description: Description) -> Keys:
    """An Exaone4_5_VisionConfig, in which groups of heads share keys and values."""
    description = description.with_defaults(num_heads=16, num_key_value_heads=8)
    heads, shared = description.integer("num_heads"), description.integer("num_key_value_heads")
    keys = from_vision(description)
    return keys if shared == heads else {**keys, "num_kv_heads": shared}


COPIES = {"qwen2_5_omni_vision_encoder": from_vision, "exaone4_5_vision": from_exaone}
HUGGING_FACE = {WORD: from_model, VISION: from_vision}
