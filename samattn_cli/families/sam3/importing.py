"""SAM 3: transformers' Sam3Config, its vision and backbone parts, and the video model's, which has it as its detector.

Source: transformers, models/sam3/configuration_sam3.py and modeling_sam3.py.
"""

from __future__ import annotations

from ...importing.description import Given, Keys, ratio_of


def from_video(given: Given) -> Keys:
    """A Sam3VideoConfig."""
    return from_model(given.inner("detector_config", "sam3"))


def from_model(given: Given) -> Keys:
    """A Sam3Config."""
    return from_vision(given.inner("vision_config", "sam3_vision_model"))


def from_vision(given: Given) -> Keys:
    """A Sam3VisionConfig: backbone and neck."""
    keys = from_backbone(given.inner("backbone_config", "sam3_vit_model"))
    given = given.with_defaults(fpn_hidden_size=256)
    given.expect("hidden_act", "gelu")
    given.expect("scale_factors", [4.0, 2.0, 1.0, 0.5])
    return {**keys, "neck": "sam3_fpn", "out_chans": given.whole("fpn_hidden_size")}


def from_backbone(given: Given) -> Keys:
    """A Sam3ViTConfig."""
    given = given.with_defaults(
        hidden_size=1024, intermediate_size=4736, num_hidden_layers=32, num_attention_heads=16, num_channels=3,
        image_size=1008, patch_size=14, window_size=24, global_attn_indexes=[7, 15, 23, 31],
        pretrain_image_size=336,
    )  # fmt: skip
    given.expect("hidden_act", "gelu")
    given.expect("layer_scale_init_value", None)
    given.leave_out("attention_dropout", "hidden_dropout")
    width = given.whole("hidden_size")
    return {
        "image_size": given.sides("image_size"),
        "in_chans": given.whole("num_channels"),
        "patch_size": given.side("patch_size"),
        "patch_embed": "patch_no_bias",
        "pos_embed": "tiled",
        "pretrain_image_size": given.sides("pretrain_image_size"),
        "pre_norm": True,
        "block": "rope_vit",
        "embed_dim": width,
        "depth": given.whole("num_hidden_layers"),
        "num_heads": given.whole("num_attention_heads"),
        "mlp_ratio": ratio_of(given.whole("intermediate_size"), width),
        "qkv_bias": True,
        "window_size": given.sides("window_size"),
        "global_attn_indexes": given.wholes("global_attn_indexes"),
    }


HUGGING_FACE = {
    "sam3": from_model,
    "sam3_video": from_video,
    "sam3_vision_model": from_vision,
    "sam3_vit_model": from_backbone,
}
