"""LW-DETR: transformers' LwDetrConfig and LwDetrViTConfig. Source: transformers 5.23.0, models/lw_detr."""

from __future__ import annotations

from ...importing.description import Description, Keys
from ...importing.weights import square_side
from ..rf_detr.importing import image_size_for, outputs_of, windows

WORD, BACKBONE = "lw_detr", "lw_detr_vit"
DEFAULTS = {
    "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "mlp_ratio": 4, "image_size": 256,
    "pretrain_image_size": 224, "patch_size": 16, "num_channels": 3, "qkv_bias": True, "num_windows": 16,
    "window_block_indices": [],
}  # fmt: skip
DEFAULT_BACKBONE = {
    "model_type": BACKBONE, "image_size": 1024, "hidden_size": 192, "num_hidden_layers": 10,
    "window_block_indices": [0, 1, 3, 6, 7, 9], "out_indices": [2, 4, 5, 9],
}  # fmt: skip


def from_detector(description: Description) -> Keys:
    """An LwDetrConfig: its backbone and its projector; without scales there are no maps of a projector."""
    description = description.with_defaults(d_model=256, projector_scale_factors=[])
    description.expect("hidden_expansion", 0.5)
    description.expect("c2f_num_blocks", 3)
    description.expect("activation_function", "silu")
    description.read.add("projector_scale_factors")
    scales = description.entries["projector_scale_factors"]
    if not isinstance(scales, list) or not scales or any(each not in {0.5, 1.0, 2.0} for each in scales):
        raise description.wrong("projector_scale_factors", "a list of some of 2.0, 1.0 and 0.5")
    inner = description.inner_or("backbone_config", DEFAULT_BACKBONE)
    inner.expect("model_type", BACKBONE)
    projector = {
        "neck": WORD,
        "neck_scales": list(map(float, scales)),
        "out_chans": description.integer("d_model"),
    }
    return {**from_backbone(inner), **projector}


def from_backbone(description: Description) -> Keys:
    """An LwDetrViTConfig, whose num_windows counts all windows of an image."""
    description = description.with_defaults(**DEFAULTS)
    description.expect("hidden_act", "gelu")
    description.expect("use_absolute_position_embeddings", True)
    description.ignore("dropout_prob")
    depth, patch = description.integer("num_hidden_layers"), description.side("patch_size")
    side = square_side(description.integer("num_windows"))
    if side is None:
        raise description.wrong("num_windows", "a square number, such as 16")
    windowed = description.integers("window_block_indices")
    return {
        "image_size": image_size_for(description.notes, description.side("image_size"), side * patch),
        "in_chans": description.integer("num_channels"),
        "patch_size": patch,
        "pos_embed": WORD,
        "pretrain_image_size": description.side("pretrain_image_size"),
        "block": WORD,
        "embed_dim": description.integer("hidden_size"),
        "depth": depth,
        "num_heads": description.integer("num_attention_heads"),
        "mlp_ratio": description.number("mlp_ratio"),
        "qkv_bias": description.flag("qkv_bias"),
        **windows(side, [index for index in range(depth) if index not in windowed]),
        "neck": "lw_detr_maps",
        "out_indices": outputs_of(description, depth),
    }


HUGGING_FACE = {WORD: from_detector, BACKBONE: from_backbone}
