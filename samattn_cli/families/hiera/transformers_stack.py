"""SAM 2's vision encoder of transformers, cut into the parts of the plan.

Source: transformers 5.23.0, models/sam2/modeling_sam2.py.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from transformers import Sam2HieraDetConfig, Sam2VisionConfig, Sam2VisionModel
from transformers.models.sam2.modeling_sam2 import Sam2HieraDetModel, Sam2VisionNeck

from ...encoder.model import EncoderConfig

POSITIONS: Callable[..., Tensor] = Sam2HieraDetModel._get_pos_embed  # noqa: SLF001 - it has no public name
"""The positions of a grid, from the weights of a module: (1, H, W, C)."""


class Positions(nn.Module):
    """What Sam2HieraDetModel adds to its patches."""

    def __init__(self, backbone: Sam2HieraDetModel) -> None:
        super().__init__()
        self.pos_embed, self.pos_embed_window = backbone.pos_embed, backbone.pos_embed_window

    def forward(self, patches: Tensor) -> Tensor:
        """(B, H, W, C) -> the same."""
        return patches + POSITIONS(self, patches.shape[1:3])


class Neck(nn.Module):
    """Sam2VisionNeck and what Sam2VisionModel returns."""

    def __init__(self, neck: Sam2VisionNeck, levels: int) -> None:
        super().__init__()
        self.neck, self.levels = neck, levels

    def forward(self, x: Tensor, *finer: Tensor) -> tuple[Tensor, ...]:
        """The stages' outputs -> maps from the finest to the coarsest, their positions, and x, which nothing reads."""
        maps, positions = (each[-self.levels :][::-1] for each in self.neck((*finer, x)))
        return *maps, *positions, x.detach()


def parts(config: EncoderConfig) -> dict[str, nn.Module]:
    """Its modules by the names of the plan."""
    made = settings(config)
    model = Sam2VisionModel(made)
    return {
        "patch_embed": model.backbone.patch_embed,
        "pos_embed": Positions(model.backbone),
        **{f"blocks.{index}": block for index, block in enumerate(model.backbone.blocks)},
        "neck": Neck(model.neck, made.num_feature_levels),
    }


def settings(config: EncoderConfig) -> Sam2VisionConfig:
    """The Sam2VisionConfig of an encoder that it can run."""
    stages, patch = config.stages, config.patch_size
    widths = [stage.embed_dim for stage in stages]
    backbone = Sam2HieraDetConfig(
        image_size=list(config.image_size),
        num_channels=config.in_chans,
        hidden_size=widths[0],
        patch_kernel_size=[2 * patch - 1] * 2,
        patch_stride=[patch] * 2,
        patch_padding=[patch - 1] * 2,
        blocks_per_stage=[stage.depth for stage in stages],
        embed_dim_per_stage=widths,
        num_attention_heads_per_stage=[stage.num_heads for stage in stages],
        window_size_per_stage=[stage.window_size[0] for stage in stages],
        global_attention_blocks=[index for stage in stages for index in stage.global_attn_indexes],
        window_positional_embedding_background_size=list(config.pos_embed_background),
        mlp_ratio=stages[0].mlp_dim / widths[0],
    )
    whole = Sam2VisionConfig(
        backbone_config=backbone, backbone_channel_list=widths[::-1], fpn_hidden_size=config.out_chans
    )
    for each in (whole, backbone):
        each._attn_implementation = config.run.attention  # noqa: SLF001 - a keyword that no type checker knows
    return whole
