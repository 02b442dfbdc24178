"""Encoders of plain blocks give the outputs of transformers' own modules, with the same weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
import transformers as tf
from torch import Tensor

from samattn_cli import load_config
from samattn_cli.stack.encoder import build
from tests.support.weights import packed, randomised

SHAPE = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "image_size": 80,
    "patch_size": 16,
}
STAGE = {
    "image_size": 80,
    "patch_size": 16,
    "embed_dim": 24,
    "depth": 2,
    "num_heads": 3,
    "mlp_ratio": 4,
    "norm": True,
}
EPS = 1e-6
RENAMED = {
    r"^embeddings\.patch_embeddings(\.projection)?\.": "patch_embed.proj.",
    r"^embeddings\.patch_embedding\.": "patch_embed.proj.",
    r"^embeddings\.position_embedding(s|\.weight)$": "pos_embed.pos_embed",
    r"^embeddings\.cls_token": "pos_embed.cls_token",
    r"^embeddings\.(register_tokens|distillation_token)": "pos_embed.reg_token",
    r"^(encoder\.|model\.)?layers?\.": "blocks.",
    r"layer_norm(1|2)": r"norm\1",
    r"layernorm_before": "norm1",
    r"layernorm_after": "norm2",
    r"layer_scale(\d)\.lambda1": r"ls\1.gamma",
    r"(self_attn|attention)\.(o_proj|out_proj)": "attn.proj",
    r"(self_attn|attention)\.q_proj": "attn.qkv",
    r"mlp\.(gate_proj|fc1_g)": "mlp.fc1_g",
    r"mlp\.up_proj": "mlp.fc1_x",
    r"mlp\.down_proj": "mlp.fc2",
    r"^(post_layernorm|layernorm|norm)\.": "norm.",
}


def of_vision(theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """By our names; a table of positions has no dimension for the batch in SigLIP."""
    named = {name: weight for name, weight in theirs.items() if "mask_token" not in name}
    ours = packed(named, RENAMED)
    positions = ours["pos_embed.pos_embed"]
    return ours | {"pos_embed.pos_embed": positions.reshape(1, -1, positions.shape[-1])}


def of_dinov3(theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Biases of queries and values apart."""
    named = {name: weight for name, weight in theirs.items() if "mask_token" not in name}
    biases = {name: weight for name, weight in named.items() if name.endswith(("q_proj.bias", "v_proj.bias"))}
    ours = packed({name: weight for name, weight in named.items() if name not in biases}, RENAMED)
    for name, weight in biases.items():
        *_, block, _, projection, _ = name.split(".")
        ours[f"blocks.{block}.attn.{projection[0]}_bias"] = weight
    return ours


MODELS: dict[str, tuple[Callable[[], Any], dict[str, Any], Callable[[Mapping[str, Tensor]], dict[str, Tensor]]]] = {
    "DINOv2 with registers": (
        lambda: tf.Dinov2WithRegistersModel(tf.Dinov2WithRegistersConfig(**SHAPE, use_swiglu_ffn=True)),
        {"pos_embed": "class_token", "reg_tokens": 4, "layer_scale": True, "mlp": "swiglu", "mlp_ratio": 64 / 24},
        of_vision,
    ),
    "SigLIP": (
        lambda: tf.SiglipVisionModel(tf.SiglipVisionConfig(**SHAPE, intermediate_size=96, vision_use_head=False)),
        {"pos_embed": "patches", "class_token": False, "mlp": "gelu_tanh"},
        of_vision,
    ),
    "DeiT": (
        lambda: tf.DeiTModel(
            tf.DeiTConfig(**SHAPE, intermediate_size=96, layer_norm_eps=EPS), add_pooling_layer=False
        ),
        {"pos_embed": "tokens", "reg_tokens": 1},
        of_vision,
    ),
    "DINOv3": (
        lambda: tf.DINOv3ViTModel(
            tf.DINOv3ViTConfig(
                **SHAPE, intermediate_size=96, num_register_tokens=4, use_gated_mlp=True, hidden_act="silu"
            )
        ),
        {"block": "dinov3", "pos_embed": "rotary", "reg_tokens": 4, "layer_scale": True, "mlp": "swiglu"},
        of_dinov3,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_the_same_weights_give_the_output_of_transformers(name):
    make, keys, names = MODELS[name]
    config = load_config({"block": "plain"} | STAGE | keys, ["run.attention=sdpa"])
    theirs, ours = randomised(make().eval(), 0.2), build(config)
    ours.load_state_dict(names(theirs.state_dict()), strict=True)
    if name == "DINOv3":
        ours.get_submodule("norm").eps = theirs.norm.eps  # 1e-5, where samattn has 1e-6
    image = torch.randn(config.input_shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected, made = theirs(image).last_hidden_state, ours(image)
    assert expected.std() > 0.01
    torch.testing.assert_close(made, expected, rtol=0, atol=1e-5)
