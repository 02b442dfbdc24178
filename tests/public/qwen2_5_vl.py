"""transformers' vision encoder of Qwen2.5-VL, with a config of samattn's."""

from __future__ import annotations

import torch
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLVisionConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VisionTransformerPretrainedModel
from transformers.vision_utils import get_vision_position_ids

from samattn_cli import EncoderConfig, load_config
from samattn_cli.families.qwen2_5_vl.words import MERGE
from samattn_cli.stack.encoder import image_for
from tests.public.counting import counted

PRESETS = ("qwen2_5_vl_vision",)


def public_encoder(
    config: EncoderConfig, device: str, attention: str = "eager"
) -> Qwen2_5_VisionTransformerPretrainedModel:
    """Their encoder with its merger, in evaluation mode."""
    (stage,) = config.stages
    theirs = Qwen2_5_VLVisionConfig(
        depth=stage.depth,
        hidden_size=stage.embed_dim,
        intermediate_size=stage.mlp_dim,
        num_heads=stage.num_heads,
        in_channels=config.in_chans,
        patch_size=config.patch_size,
        window_size=stage.window_size[0] * config.patch_size,
        out_hidden_size=config.out_chans,
        fullatt_block_indexes=list(stage.global_attn_indexes),
    )
    theirs._attn_implementation = attention
    with torch.device(device):
        return Qwen2_5_VisionTransformerPretrainedModel(theirs).eval()


def grids_of(config: EncoderConfig) -> torch.Tensor:
    """(frames, rows, columns) of patches of each image: on the host, where their code reads it."""
    return torch.tensor([[1, *config.grid]] * config.run.batch_size)


def count(preset: str) -> tuple[int, int]:
    """Parameters and FLOPs of their encoder."""
    config = load_config(preset)
    grids = grids_of(config)
    positions = get_vision_position_ids(grids, MERGE).to("meta")  # else they would be where the grids are
    return counted(
        public_encoder(config, "meta"), image_for(config, "meta"), grid_thw=grids, position_ids=positions
    )
