"""Qwen2.5-VL's vision encoder: transformers' Qwen2_5_VLConfig and its vision part.

Source: transformers, models/qwen2_5_vl/configuration_qwen2_5_vl.py and modeling_qwen2_5_vl.py.
"""

from __future__ import annotations

from ...errors import ImportFailedError
from ...importing.description import Given, Keys, Size, one, ratio_of
from ...importing.from_presets import published

WORD = "qwen2_5_vl"
VISION = "qwen2_5_vl_vision"
MERGE = 2
"""Tokens a side that the merger joins."""
FRAMES = 2
"""Pictures of a patch."""


def from_model(given: Given) -> Keys:
    """A Qwen2_5_VLConfig, or its vision part under the model's own word, as older files have it."""
    if "vision_config" not in given.entries and "out_hidden_size" in given.entries:
        return from_vision(given)
    return from_vision(given.inner("vision_config", VISION, WORD))


def from_vision(given: Given) -> Keys:
    """A Qwen2_5_VLVisionConfig; its windows are in pixels."""
    given = given.with_defaults(
        depth=32, hidden_size=3584, intermediate_size=3420, num_heads=16, in_channels=3, patch_size=14,
        window_size=112, out_hidden_size=3584, fullatt_block_indexes=[7, 15, 23, 31],
    )  # fmt: skip
    given.expect("hidden_act", "silu")
    given.expect("spatial_merge_size", MERGE)
    given.expect("temporal_patch_size", FRAMES)
    width, patch = given.whole("hidden_size"), given.side("patch_size")
    return {
        "image_size": _image_size(given),
        "in_chans": given.whole("in_channels"),
        "patch_size": patch,
        "patch_embed": WORD,
        "pos_embed": "window_order",
        "block": WORD,
        "embed_dim": width,
        "depth": given.whole("depth"),
        "num_heads": given.whole("num_heads"),
        "mlp_ratio": ratio_of(given.whole("intermediate_size"), width),
        "qkv_bias": True,
        "window_size": given.whole("window_size") // (MERGE * patch) * MERGE,
        "global_attn_indexes": given.wholes("fullatt_block_indexes"),
        "neck": "patch_merger",
        "out_chans": given.whole("out_hidden_size"),
    }


def _image_size(given: Given) -> Size:
    """That of the preset: the model takes any."""
    sides = next((config.image_size for config in published(WORD)), None)
    if sides is None:
        raise ImportFailedError(f"{given.label}: samattn has no preset of {WORD}")
    given.notes.append("The model takes images of any size: put yours as image_size.")
    return one(sides)


HUGGING_FACE = {WORD: from_model, VISION: from_vision}
