"""SAM's vision encoder of timm, cut into the parts of the plan.

Source: timm 1.0.31, models/vision_transformer_sam.py.
"""

from __future__ import annotations

from timm.models.vision_transformer_sam import VisionTransformerSAM
from torch import Tensor, nn

from ...encoder.model import EncoderConfig
from ..plain.timm_stack import keys, with_kernel


class Neck(nn.Module):
    """The neck, and how VisionTransformerSAM calls it."""

    def __init__(self, neck: nn.Module) -> None:
        super().__init__()
        self.neck = neck

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, out_chans, H, W)."""
        out: Tensor = self.neck(x.permute(0, 3, 1, 2))
        return out


def parts(config: EncoderConfig) -> dict[str, nn.Module | nn.Parameter | None]:
    """Its modules by the names of the plan; the position embedding is a weight."""
    encoder = model(config)
    return {
        "patch_embed": encoder.patch_embed,
        "pos_embed": encoder.pos_embed,
        **{f"blocks.{index}": block for index, block in enumerate(encoder.blocks)},
        "neck": Neck(encoder.neck),
    }


def model(config: EncoderConfig) -> VisionTransformerSAM:
    """The VisionTransformerSAM of an encoder that it can run, without a classifier."""
    stage = config.stages[0]
    made = VisionTransformerSAM(
        **keys(config),
        use_abs_pos=config.pos_embed == "learned",
        use_rel_pos=stage.rel_pos == "decomposed",
        window_size=stage.window_size[0],
        global_attn_indexes=tuple(stage.global_attn_indexes),
        neck_chans=config.out_chans,
    )
    return with_kernel(made, config)
