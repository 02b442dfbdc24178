"""transformers' SAM 3 vision encoder, with a config of samattn's."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers.models.sam3.configuration_sam3 import Sam3VisionConfig, Sam3ViTConfig
from transformers.models.sam3.modeling_sam3 import Sam3VisionModel

from samattn_cli import EncoderConfig, load_config
from samattn_cli.stack.encoder import image_for
from tests.public.counting import counted
from tests.public.record import Record
from tests.support.weights import packed

PRESETS = ("sam3_vision",)


def public_encoder(config: EncoderConfig, device: str, attention: str = "eager") -> Sam3VisionModel:
    """Their encoder with its neck, in evaluation mode."""
    (stage,) = config.stages
    backbone = Sam3ViTConfig(
        hidden_size=stage.embed_dim,
        intermediate_size=stage.mlp_dim,
        num_hidden_layers=stage.depth,
        num_attention_heads=stage.num_heads,
        num_channels=config.in_chans,
        image_size=list(config.image_size),
        patch_size=config.patch_size,
        window_size=stage.window_size[0],
        global_attn_indexes=list(stage.global_attn_indexes),
        pretrain_image_size=(config.pretrain_image_size or config.image_size)[0],
    )
    theirs = Sam3VisionConfig(
        backbone_config=backbone, fpn_hidden_size=config.out_chans, attn_implementation=attention
    )
    with torch.device(device):
        return Sam3VisionModel(theirs).eval()


def count(preset: str) -> tuple[int, int]:
    """Parameters and FLOPs of their encoder. Their position encodings of the neck's maps take no products."""
    config = load_config(preset)
    return counted(public_encoder(config, "meta"), image_for(config, "meta"))


RENAMED = {
    r"^backbone\.embeddings\.patch_embeddings\.projection": "patch_embed.proj",
    r"^backbone\.embeddings": "pos_embed",
    r"^backbone\.layer_norm": "pre_norm",
    r"^backbone\.layers": "blocks",
    r"layer_norm(\d)": r"norm\1",
    r"attention\.o_proj": "attn.proj",
    r"attention\.q_proj": "attn.qkv",
    r"^neck\.fpn_layers": "neck.convs",
    r"convs\.0\.scale_layers\.0": "convs.0.dconv_2x2_0",
    r"convs\.0\.scale_layers\.2": "convs.0.dconv_2x2_1",
    r"convs\.1\.scale_layers\.0": "convs.1.dconv_2x2",
    r"proj1": "conv_1x1",
    r"proj2": "conv_3x3",
}
"""transformers' names, and those of Meta's code, which are samattn's."""


def renamed(_: EncoderConfig, theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Their weights by samattn's names."""
    return packed(theirs, RENAMED)


SMALL = {
    "image_size": 24,
    "patch_size": 4,
    "patch_embed": "patch_no_bias",
    "pos_embed": "tiled",
    "pretrain_image_size": 8,
    "pre_norm": True,
    "block": "rope_vit",
    "embed_dim": 16,
    "depth": 3,
    "num_heads": 2,
    "mlp_ratio": 2.625,
    "window_size": 3,
    "global_attn_indexes": [1],
    "neck": "sam3_fpn",
    "out_chans": 8,
}
VARIANTS = {
    "windows that divide the grid": {},
    "windows beyond the grid, a batch of three": {"image_size": 28, "window_size": 4, "run.batch_size": 3},
    "a window larger than the grid, which is smaller than that of pretraining": {
        "window_size": 7,
        "pretrain_image_size": 32,
    },
    "a grid as large as that of pretraining, heads of four channels, five channels in": {
        "pretrain_image_size": 24,
        "num_heads": 4,
        "in_chans": 5,
    },
}
NOT_SQUARE = {"image_size": [20, 28], "window_size": [2, 4], "pretrain_image_size": [8, 12]}

RECORDS = (
    Record(
        name="SAM 3",
        blocks=("rope_vit",),
        presets=PRESETS,
        count=count,
        small=SMALL,
        public=lambda config: public_encoder(config, "cpu", config.run.attention),
        weights=renamed,
        outputs=lambda theirs, _, image: theirs(image).fpn_hidden_states,
        values=VARIANTS | {"sdpa": {"run.attention": "sdpa"}},
        folded={},
        in_full=VARIANTS
        | {
            "bfloat16": NOT_SQUARE | {"run.dtype": "bfloat16"},
            "autocast": NOT_SQUARE | {"run.autocast": "float16"},
            "autocast, checkpointed": NOT_SQUARE | {"run.autocast": "bfloat16", "run.checkpointing": True},
            "sdpa, two images": NOT_SQUARE | {"run.attention": "sdpa", "run.batch_size": 2},
            "sdpa in bfloat16, checkpointed": NOT_SQUARE
            | {"run.attention": "sdpa", "run.dtype": "bfloat16", "run.checkpointing": True},
            "sdpa in autocast": NOT_SQUARE | {"run.attention": "sdpa", "run.autocast": "bfloat16"},
        },
        verified={"sam3_vision": {}},
        bad={
            "heads of two channels": (
                {"num_heads": 8},
                "10:12: [rotary-head-width] 2 embed_dim 16 num_heads 8 4",
            ),
            "heads of two channels in a block": (
                {"overrides": [{"blocks": [2], "num_heads": 8}]},
                "16:38: [rotary-head-width] 2 embed_dim 16 num_heads 8 4",
            ),
            "pretraining on less than a patch": (
                {"pretrain_image_size": 3},
                "5:22: [image-smaller-than-patch] pretrain_image_size 3 4",
            ),
            "a neck of one token": (
                {"image_size": 7},
                "14:7: [neck-does-not-fit] neck sam3_fpn 2x2 1x1",
            ),
            "fused": (
                {"run": {"attention": "fused"}},
                "16:18: [kernel-not-modelled] run.attention rope_vit",
            ),
            "relative positions": (
                {"rel_pos": "decomposed"},
                "16:10: [unused-key] rope_vit rel_pos sam_adapter sam_lora",
            ),
        },
    ),
)
