"""SAM 2's encoder of timm, cut into the parts of the plan.

Source: timm 1.0.31, models/hieradet_sam2.py.
"""

from __future__ import annotations

from timm.models.hieradet_sam2 import HieraDet
from torch import Tensor, nn

from ...encoder.model import EncoderConfig


class Positions(nn.Module):
    """What HieraDet adds to its patches."""

    def __init__(self, encoder: HieraDet) -> None:
        super().__init__()
        self.pos_embed, self.pos_embed_window = encoder.pos_embed, encoder.pos_embed_window

    def forward(self, patches: Tensor) -> Tensor:
        """(B, H, W, C) -> the same."""
        out: Tensor = HieraDet._pos_embed(self, patches)  # noqa: SLF001 - it has no public name
        return out


def parts(config: EncoderConfig) -> dict[str, nn.Module]:
    """Its modules by the names of the plan."""
    encoder = model(config)
    return {
        "patch_embed": encoder.patch_embed,
        "pos_embed": Positions(encoder),
        **{f"blocks.{index}": block for index, block in enumerate(encoder.blocks)},
    }


def model(config: EncoderConfig) -> HieraDet:
    """The HieraDet of an encoder that it can run, without a classifier."""
    stages, patch = config.stages, config.patch_size
    made = HieraDet(
        in_chans=config.in_chans,
        num_classes=0,
        embed_dim=stages[0].embed_dim,
        num_heads=stages[0].num_heads,
        patch_kernel=(2 * patch - 1,) * 2,
        patch_stride=(patch, patch),
        patch_padding=(patch - 1, patch - 1),
        q_pool=len(stages) - 1,
        stages=tuple(stage.depth for stage in stages),
        global_pos_size=config.pos_embed_background,
        window_spec=tuple(stage.window_size[0] for stage in stages),
        global_att_blocks=tuple(index for stage in stages for index in stage.global_attn_indexes),
    )
    for block in made.blocks:
        block.attn.fused_attn = config.run.attention == "sdpa"
    return made
