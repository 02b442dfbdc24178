"""DeepSeek-OCR's DeepEncoder: the vision part of its config.json.

Source: deepseek-ai/DeepSeek-OCR on Hugging Face, config.json, modeling_deepseekocr.py and deepencoder.py. The code has
patches of 16 px, windows of 14 tokens, relative positions and MLPs of four times the width fixed.
"""

from __future__ import annotations

from ...importing.description import Given, Keys

WORD = "deepseek_vl_v2"
"""What DeepSeek-VL2 calls itself too, whose encoder is another."""


def from_model(given: Given) -> Keys:
    """SAM's blocks, the compressor, CLIP's blocks and the projector."""
    vision, projector = given.inner("vision_config"), given.inner("projector_config")
    vision.expect("model_name", "deeplip_b_l")
    projector.expect("projector_type", "linear")
    widths = vision.inner("width")
    sam, clip = widths.inner("sam_vit_b"), widths.inner("clip-l-14-224")
    clip_width = clip.whole("width")
    sam.expect("downsample_channels", [clip_width // 2, clip_width])
    projector.expect("input_dim", 2 * clip_width)
    return {
        "image_size": vision.sides("image_size"),
        "patch_size": 16,
        "pos_embed": "learned",
        "stages": [
            {
                **_blocks(sam),
                "rel_pos": "decomposed",
                "window_size": 14,
                "global_attn_indexes": sam.wholes("global_attn_indexes"),
            },
            {"transition": "deepseek_compressor", "block": "clip", **_blocks(clip)},
        ],
        "neck": "deepseek",
        "out_chans": projector.whole("n_embed"),
        "run": {"attention": "sdpa"},
    }


def _blocks(given: Given) -> Keys:
    return {
        "embed_dim": given.whole("width"),
        "depth": given.whole("layers"),
        "num_heads": given.whole("heads"),
    }


HUGGING_FACE = {WORD: from_model}
