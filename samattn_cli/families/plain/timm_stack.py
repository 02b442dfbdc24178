"""ViT of timm, cut into the parts of the plan. The Tape has all of it in `tape.py`.

Source: timm 1.0.31, models/vision_transformer.py.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from timm.layers import LayerNorm, SwiGLU, SwiGLUPacked
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from ...encoder.model import EncoderConfig, StageConfig

CLIP_NORM_EPS = 1e-5
PACKED = "swiglu_packed"
MLPS: dict[str, dict[str, Any]] = {
    "gelu": {},
    "gelu_tanh": {"act_layer": "gelu_tanh"},
    "swiglu": {"mlp_layer": SwiGLU, "act_layer": "silu"},
    PACKED: {"mlp_layer": SwiGLUPacked, "act_layer": "silu"},
}
LAYER_SCALE = 1e-5
"""Any number: VisionTransformer has LayerScale if it is given one."""


class Positions(nn.Module):
    """The tokens in front of the patches and the positions, as VisionTransformer adds them."""

    dynamic_img_size = False

    def __init__(self, encoder: VisionTransformer) -> None:
        super().__init__()
        self.cls_token, self.reg_token = encoder.cls_token, encoder.reg_token
        self.pos_embed, self.pos_drop = encoder.pos_embed, encoder.pos_drop
        self.no_embed_class = encoder.no_embed_class

    def forward(self, patches: Tensor) -> Tensor:
        """(B, HW, C) -> (B, R + HW, C)."""
        out: Tensor = VisionTransformer._pos_embed(self, patches)  # noqa: SLF001 - it has no public name
        return out


def parts(config: EncoderConfig) -> dict[str, nn.Module]:
    """Its modules by the names of the plan."""
    encoder = model(config)
    return {
        "patch_embed": encoder.patch_embed,
        "pos_embed": Positions(encoder),
        **({"pre_norm": encoder.norm_pre} if config.pre_norm else {}),
        **{f"blocks.{index}": block for index, block in enumerate(encoder.blocks)},
        **({"norm": encoder.norm} if config.norm else {}),
    }


def model(config: EncoderConfig) -> VisionTransformer:
    """The VisionTransformer of an encoder that it can run, without a classifier."""
    made = VisionTransformer(
        **keys(config) | _block(config.stages[0]),
        global_pool="",
        class_token=config.class_token,
        reg_tokens=config.reg_tokens,
        no_embed_class=config.pos_embed == "patches",
        pre_norm=config.pre_norm,
        final_norm=config.norm,
        fc_norm=False,
        init_values=LAYER_SCALE if config.stages[0].layer_scale else None,
    )
    return with_kernel(made, config)


def _block(stage: StageConfig) -> dict[str, Any]:
    """The MLP, and CLIP's norms."""
    if stage.block == "clip":
        return {"act_layer": "quick_gelu", "norm_layer": partial(LayerNorm, eps=CLIP_NORM_EPS)}
    return MLPS[stage.mlp] | (
        {"mlp_ratio": 2 * stage.mlp_dim / stage.embed_dim} if stage.mlp == PACKED else {}
    )


def keys(config: EncoderConfig) -> dict[str, Any]:
    """What any VisionTransformer of timm is made with."""
    stage = config.stages[0]
    return {
        "img_size": config.image_size,
        "patch_size": config.patch_size,
        "in_chans": config.in_chans,
        "num_classes": 0,
        "embed_dim": stage.embed_dim,
        "depth": stage.depth,
        "num_heads": stage.num_heads,
        "mlp_ratio": stage.mlp_dim / stage.embed_dim,
        "qkv_bias": stage.qkv_bias,
    }


def with_kernel(made: Any, config: EncoderConfig) -> Any:
    """The same model, whose blocks attend as the run says."""
    for block in made.blocks:
        block.attn.fused_attn = config.run.attention == "sdpa"
    return made
