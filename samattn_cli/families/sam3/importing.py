"""SAM 3: transformers' Sam3Config with its vision and backbone parts; Sam3VideoConfig, which has it as its detector.

Source: transformers, models/sam3/configuration_sam3.py and modeling_sam3.py.
"""

from __future__ import annotations

from ...importing.description import Description, Keys, ratio_of


def from_video(description: Description) -> Keys:
    """A Sam3VideoConfig."""
    return from_model(description.inner("detector_config", "sam3"))


def from_model(description: Description) -> Keys:
    """A Sam3Config."""
    return from_vision(description.inner("vision_config", "sam3_vision_model"))


def from_vision(description: Description) -> Keys:
    """A Sam3VisionConfig: backbone and neck."""
    keys = from_backbone(description.inner("backbone_config", "sam3_vit_model"))
    description = description.with_defaults(fpn_hidden_size=256)
    description.expect("hidden_act", "gelu")
    description.expect("scale_factors", [4.0, 2.0, 1.0, 0.5])
    return {**keys, "neck": "sam3_fpn", "out_chans": description.integer("fpn_hidden_size")}


def from_backbone(description: Description) -> Keys:
    """A Sam3ViTConfig."""
    description = description.with_defaults(
        hidden_size=1024, intermediate_size=4736, num_hidden_layers=32, num_attention_heads=16, num_channels=3,
        image_size=1008, patch_size=14, window_size=24, global_attn_indexes=[7, 15, 23, 31],
        pretrain_image_size=336,
    )  # fmt: skip
    description.expect("hidden_act", "gelu")
    description.expect("layer_scale_init_value", None)
    description.ignore("attention_dropout", "hidden_dropout")
    width = description.integer("hidden_size")
    return {
        "image_size": description.size("image_size"),
        "in_chans": description.integer("num_channels"),
        "patch_size": description.side("patch_size"),
        "patch_embed": "patch_no_bias",
        "pos_embed": "tiled",
        "pretrain_image_size": description.size("pretrain_image_size"),
        "pre_norm": True,
        "block": "rope_vit",
        "embed_dim": width,
        "depth": description.integer("num_hidden_layers"),
        "num_heads": description.integer("num_attention_heads"),
        "mlp_ratio": ratio_of(description.integer("intermediate_size"), width),
        "qkv_bias": True,
        "window_size": description.size("window_size"),
        "global_attn_indexes": description.integers("global_attn_indexes"),
    }


HUGGING_FACE = {
    "sam3": from_model,
    "sam3_video": from_video,
    "sam3_vision_model": from_vision,
    "sam3_vit_model": from_backbone,
}
