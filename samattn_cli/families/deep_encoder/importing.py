"""DeepSeek-OCR's DeepEncoder: the vision part of its config.json.

Source: deepseek-ai/DeepSeek-OCR on Hugging Face, config.json, modeling_deepseekocr.py and deepencoder.py. Patches of 16 px,
windows of 14 tokens, relative positions and MLPs of four times the width are constants in that code.
"""

from __future__ import annotations

from ...importing.description import Description, Keys, ratio_of
from ..vit.importing import from_vision
from .words import SAM_CHANNELS

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


def from_sam_of_2(description: Description) -> Keys:
    """A DeepseekOcr2SamVisionConfig: the windowed half of DeepSeek-OCR 2's encoder; a language model is the other half."""
    description = description.with_defaults(
        output_channels=SAM_CHANNELS, downsample_channels=[2 * SAM_CHANNELS, 896]
    )
    description.expect("output_channels", SAM_CHANNELS)
    _, out_chans = description.integers("downsample_channels", 2)
    description.expect("downsample_channels", [2 * SAM_CHANNELS, out_chans])
    description.notes.append("What follows SAM's half is a language model, which is left out.")
    return {**from_vision(description), "neck": "deepseek_sam", "out_chans": out_chans}


def from_unlimited(description: Description) -> Keys:
    """An UnlimitedOcrConfig: DeepEncoder, and the projector to the width of its language model."""
    vision = description.inner("vision_config", "unlimited_ocr_vision")
    sam = vision.inner("sam_config", "unlimited_ocr_sam_vision_model")
    text = description.inner("text_config").with_defaults(hidden_size=1280)
    clip = vision.inner("encoder_config", "unlimited_ocr_vision_encoder").with_defaults(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        image_size=224,
        patch_size=14,
    )
    clip.expect("hidden_act", "quick_gelu")
    width, sam = clip.integer("hidden_size"), sam.with_defaults(downsample_channels=[512, 1024])
    sam.expect("downsample_channels", [width // 2, width])
    sam.expect("output_channels", width // 4)
    keys = from_vision(sam)
    image = {key: keys.pop(key) for key in ("image_size", "in_chans", "patch_size", "pos_embed")}
    blocks = {key: value for key, value in keys.items() if key not in {"neck", "out_chans"}}
    own = {
        "embed_dim": width,
        "depth": clip.integer("num_hidden_layers"),
        "num_heads": clip.integer("num_attention_heads"),
        "mlp_ratio": ratio_of(clip.integer("intermediate_size"), width),
    }
    return {
        **image,
        "stages": [blocks, {"transition": "deepseek_compressor", "block": "clip", **own}],
        "neck": "deepseek",
        "out_chans": text.integer("hidden_size"),
    }


COPIES = {"unlimited_ocr": from_unlimited, "deepseek_ocr2_sam_vision_model": from_sam_of_2}
HUGGING_FACE = dict.fromkeys((WORD, "deepseekocr"), from_model)
