"""DeepSeek-OCR's DeepEncoder: the vision part of its config.json.

Source: deepseek-ai/DeepSeek-OCR on Hugging Face, config.json, modeling_deepseekocr.py and deepencoder.py. Patches of 16 px,
windows of 14 tokens, relative positions and MLPs of four times the width are constants in that code.
"""

from __future__ import annotations

from ...importing.description import Description, Keys

WORD = "deepseek_vl_v2"
"""The model_type of DeepSeek-OCR; DeepSeek-VL2, which has another encoder, uses it too."""


def from_model(description: Description) -> Keys:
    """SAM's blocks, the compressor, CLIP's blocks and the projector."""
    vision, projector = description.inner("vision_config"), description.inner("projector_config")
    vision.expect("model_name", "deeplip_b_l")
    projector.expect("projector_type", "linear")
    widths = vision.inner("width")
    sam, clip = widths.inner("sam_vit_b"), widths.inner("clip-l-14-224")
    clip_width = clip.integer("width")
    sam.expect("downsample_channels", [clip_width // 2, clip_width])
    projector.expect("input_dim", 2 * clip_width)
    return {
        "image_size": vision.size("image_size"),
        "patch_size": 16,
        "pos_embed": "learned",
        "stages": [
            {
                **_blocks(sam),
                "rel_pos": "decomposed",
                "window_size": 14,
                "global_attn_indexes": sam.integers("global_attn_indexes"),
            },
            {"transition": "deepseek_compressor", "block": "clip", **_blocks(clip)},
        ],
        "neck": "deepseek",
        "out_chans": projector.integer("n_embed"),
        "run": {"attention": "sdpa"},
    }


def _blocks(description: Description) -> Keys:
    return {
        "embed_dim": description.integer("width"),
        "depth": description.integer("layers"),
        "num_heads": description.integer("heads"),
    }


HUGGING_FACE = dict.fromkeys((WORD, "deepseekocr"), from_model)
