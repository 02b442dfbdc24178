"""ViT of timm, cut into the parts of the plan. The Tape has all of it in `tape.py`.

Source: timm 1.0.31, models/vision_transformer.py.
"""

from __future__ import annotations

from typing import Any

from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from ...encoder.model import EncoderConfig


class Positions(nn.Module):
    """The class token and the positions, as VisionTransformer adds them."""

    reg_token = None
    dynamic_img_size = no_embed_class = False

    def __init__(self, encoder: VisionTransformer) -> None:
        super().__init__()
        self.cls_token, self.pos_embed, self.pos_drop = encoder.cls_token, encoder.pos_embed, encoder.pos_drop

    def forward(self, patches: Tensor) -> Tensor:
        """(B, HW, C) -> (B, 1 + HW, C)."""
        out: Tensor = VisionTransformer._pos_embed(self, patches)  # noqa: SLF001 - it has no public name
        return out


def parts(config: EncoderConfig) -> dict[str, nn.Module]:
    """Its modules by the names of the plan."""
    encoder = model(config)
    return {
        "patch_embed": encoder.patch_embed,
        "pos_embed": Positions(encoder),
        **{f"blocks.{index}": block for index, block in enumerate(encoder.blocks)},
        "norm": encoder.norm,
    }


def model(config: EncoderConfig) -> VisionTransformer:
    """The VisionTransformer of an encoder that it can run, without a classifier."""
    return with_kernel(VisionTransformer(**keys(config)), config)


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
