"""The descriptions of DINOv2, DINOv3, SigLIP, CLIP and DeiT of transformers, which run these encoders in code of their own.

Sources: transformers 5.23.0, configuration and modeling files of models/dinov2, models/dinov2_with_registers, models/siglip,
models/clip and models/deit.
"""

from __future__ import annotations

from collections.abc import Callable

from ...errors import Message
from ...importing.description import Description, Keys, ratio_of

MULTIPLE = 8
"""DINOv2 rounds the hidden width of SwiGLU up to a multiple."""


def from_dinov2(description: Description) -> Keys:
    """A Dinov2Config."""
    return _from_dinov2(description.with_defaults(patch_size=14))


def from_dinov2_with_registers(description: Description) -> Keys:
    """A Dinov2WithRegistersConfig, whose registers have no positions."""
    description = description.with_defaults(patch_size=16, num_register_tokens=4)
    return {**_from_dinov2(description), "reg_tokens": description.integer("num_register_tokens", 0)}


def _from_dinov2(description: Description) -> Keys:
    description = description.with_defaults(
        **SIZES, mlp_ratio=4, qkv_bias=True, use_swiglu_ffn=False, use_mask_token=True
    )
    description.expect("hidden_act", "gelu")
    description.ignore("hidden_dropout_prob", "attention_probs_dropout_prob", "drop_path_rate")
    width, is_gated = description.integer("hidden_size"), description.flag("use_swiglu_ffn")
    hidden = int(width * description.number("mlp_ratio"))
    if is_gated:
        hidden = (int(hidden * 2 / 3) + MULTIPLE - 1) // MULTIPLE * MULTIPLE
    if description.flag("use_mask_token"):
        description.notes.append(
            f"Its mask_token ({width} parameters), which only pretraining reads, is left out."
        )
    return {
        **_image(description),
        **_stage(description, hidden),
        "qkv_bias": description.flag("qkv_bias"),
        **({"mlp": "swiglu"} if is_gated else {}),
        "layer_scale": True,
        "pos_embed": "class_token",
        "norm": True,
    }


def of_backbone(description: Description, keys: Keys) -> Keys:
    """As the backbone of another model, which may read several blocks."""
    description.warnings.append(
        Message(
            "other-outputs",
            "A backbone returns what leaves several blocks, each normed: the config has only the last.",
        )
    )
    return keys


def from_siglip(description: Description) -> Keys:
    """A SiglipVisionConfig; its head pools the tokens by attention."""
    description = description.with_defaults(
        **SIZES, patch_size=16, intermediate_size=3072, vision_use_head=True
    )
    act = description.choice("hidden_act", {"gelu_pytorch_tanh": {"mlp": "gelu_tanh"}, "gelu": {}})
    description.ignore("attention_dropout")
    if description.flag("vision_use_head"):
        description.notes.append("Its attention pooling (head) is left out.")
    return {
        **_image(description),
        **_stage(description, description.integer("intermediate_size")),
        **act,
        "pos_embed": "patches",
        "class_token": False,
        "norm": True,
    }


def from_clip(description: Description) -> Keys:
    """A CLIPVisionConfig; its last norm is of the pooled class token."""
    description = description.with_defaults(**SIZES, patch_size=32, intermediate_size=3072)
    act = description.choice("hidden_act", {"quick_gelu": {"block": "clip"}, "gelu": {}})
    description.ignore("attention_dropout")
    description.notes.append("Its post_layernorm, of the pooled class token alone, is left out.")
    return {
        **_image(description),
        "patch_embed": "patch_no_bias",
        **_stage(description, description.integer("intermediate_size")),
        **act,
        "pos_embed": "class_token",
        "pre_norm": True,
    }


def from_deit(description: Description) -> Keys:
    """A DeiTConfig, which has a distillation token; it is written as a register token with a position."""
    description = description.with_defaults(**SIZES, patch_size=16, intermediate_size=3072, qkv_bias=True)
    description.expect("hidden_act", "gelu")
    description.ignore("hidden_dropout_prob", "attention_probs_dropout_prob")
    description.notes.append("Its distillation token is written as a register token with a position.")
    return {
        **_image(description),
        **_stage(description, description.integer("intermediate_size")),
        "qkv_bias": description.flag("qkv_bias"),
        "pos_embed": "tokens",
        "reg_tokens": 1,
        "norm": True,
    }


def from_dinov3(description: Description) -> Keys:
    """A DINOv3ViTConfig: biases of queries and values, and not of keys."""
    description = description.with_defaults(
        hidden_size=384, num_hidden_layers=12, num_attention_heads=6, image_size=224, num_channels=3, patch_size=16,
        intermediate_size=1536, query_bias=True, value_bias=True, use_gated_mlp=False, num_register_tokens=0,
    )  # fmt: skip
    is_gated, has_bias = description.flag("use_gated_mlp"), description.flag("query_bias")
    description.expect("hidden_act", *(("silu",) if is_gated else ("gelu",)))
    description.expect("value_bias", has_bias)
    description.expect("key_bias", False)
    description.expect("proj_bias", True)
    description.expect("mlp_bias", True)
    description.ignore("attention_dropout", "drop_path_rate")
    width = description.integer("hidden_size")
    description.notes.append(
        f"Its mask_token ({width} parameters), which only pretraining reads, is left out."
    )
    return {
        **_image(description),
        **_stage(description, description.integer("intermediate_size")),
        "block": "dinov3",
        "qkv_bias": has_bias,
        **({"mlp": "swiglu"} if is_gated else {}),
        "layer_scale": True,
        "pos_embed": "rotary",
        "reg_tokens": description.integer("num_register_tokens", 0),
        "norm": True,
    }


SIZES = {
    "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "image_size": 224, "num_channels": 3,
}  # fmt: skip


def _image(description: Description) -> Keys:
    return {
        "image_size": description.size("image_size"),
        "in_chans": description.integer("num_channels"),
        "patch_size": description.side("patch_size"),
    }


def _stage(description: Description, hidden: int) -> Keys:
    width = description.integer("hidden_size")
    return {
        "block": "plain",
        "embed_dim": width,
        "depth": description.integer("num_hidden_layers"),
        "num_heads": description.integer("num_attention_heads"),
        "mlp_ratio": ratio_of(hidden, width),
    }


COPIES: dict[str, Callable[[Description], Keys]] = {
    "dinov2": from_dinov2,
    "dinov2_with_registers": from_dinov2_with_registers,
    "siglip_vision_model": from_siglip,
    "clip_vision_model": from_clip,
    "deit": from_deit,
    "dinov3_vit": from_dinov3,
}
BACKBONES = dict.fromkeys(("dinov2", "dinov2_with_registers", "dinov3_vit"), of_backbone)
