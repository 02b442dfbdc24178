"""The vision encoders of SAM and SAM-HQ of transformers, cut into the parts of the plan.

Sources: transformers 5.23.0, models/sam/modeling_sam.py and models/sam_hq/modeling_sam_hq.py.
"""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn
from transformers import SamHQVisionConfig, SamHQVisionModel, SamVisionConfig, SamVisionModel
from transformers.models.sam_hq.modeling_sam_hq import SamHQVisionNeck

from ...encoder.model import EncoderConfig


class Neck(nn.Module):
    """SamHQVisionNeck, and the intermediate embeddings, of which its decoder reads the first."""

    def __init__(self, neck: SamHQVisionNeck, *, last_is_global: bool) -> None:
        super().__init__()
        self.neck, self.last_is_global = neck, last_is_global

    def forward(self, x: Tensor, first: Tensor, *later: Tensor) -> tuple[Tensor, ...]:
        """(B, H, W, C), each -> (B, out_chans, H, W), then the embeddings."""
        last = (x,) if self.last_is_global else ()
        return cast("Tensor", self.neck(x)), first, *(each.detach() for each in (*later, *last))


def parts(config: EncoderConfig) -> dict[str, nn.Module | nn.Parameter | None]:
    """Its modules by the names of the plan; the position embedding is a weight."""
    is_hq = config.neck == "sam_hq"
    model: Any = (SamHQVisionModel if is_hq else SamVisionModel)(settings(config))
    encoder = model.vision_encoder
    neck = Neck(encoder.neck, last_is_global=config.layers[-1].is_global) if is_hq else encoder.neck
    return {
        "patch_embed": encoder.patch_embed,
        "pos_embed": encoder.pos_embed,
        **{f"blocks.{index}": layer for index, layer in enumerate(encoder.layers)},
        "neck": neck,
    }


def settings(config: EncoderConfig) -> Any:
    """The SamVisionConfig, or SamHQVisionConfig, of an encoder that it can run."""
    stage = config.stages[0]
    kind = SamHQVisionConfig if config.neck == "sam_hq" else SamVisionConfig
    made = kind(
        image_size=config.image_size[0],
        patch_size=config.patch_size,
        num_channels=config.in_chans,
        hidden_size=stage.embed_dim,
        num_hidden_layers=stage.depth,
        num_attention_heads=stage.num_heads,
        mlp_dim=stage.mlp_dim,
        qkv_bias=stage.qkv_bias,
        use_abs_pos=config.pos_embed == "learned",
        use_rel_pos=stage.rel_pos == "decomposed",
        window_size=stage.window_size[0],
        global_attn_indexes=list(stage.global_attn_indexes),
        output_channels=config.out_chans,
    )
    made._attn_implementation = config.run.attention  # noqa: SLF001 - a keyword that no type checker knows
    return made
