"""DeepSeek-OCR's DeepEncoder, built from parts of transformers: DeepseekOcr2SamVisionEncoder and CLIPVisionModel.

SAM's blocks, neck and compressor of DeepSeek-OCR 2 are those of DeepSeek-OCR, except for the last width (896 there, 1024
here). There are two corrections: CLIPVisionModel's patch convolution, which DeepEncoder never runs, and its norm after the
blocks, which DeepEncoder does not have, are left out. The projector is one linear layer (build_linear.py).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel
from transformers.models.deepseek_ocr2.configuration_deepseek_ocr2 import DeepseekOcr2SamVisionConfig
from transformers.models.deepseek_ocr2.modeling_deepseek_ocr2 import DeepseekOcr2SamVisionEncoder

from samattn_cli import EncoderConfig, load_config
from tests.public.counting import counted
from tests.public.record import Record
from tests.support.weights import packed

PRESETS = ("deep_encoder",)

RENAMED = {
    r"^sam\.patch_embed\.projection": "patch_embed.proj",
    r"^sam\.pos_embed": "pos_embed",
    r"^sam\.layers": "blocks",
    r"layer_norm(\d)\.": r"norm\1.",
    r"^sam\.neck\.conv1": "transitions.1.neck.0",
    r"^sam\.neck\.norm1": "transitions.1.neck.1",
    r"^sam\.neck\.conv2": "transitions.1.neck.2",
    r"^sam\.neck\.norm2": "transitions.1.neck.3",
    r"^sam\.proj\.conv1": "transitions.1.net_2",
    r"^sam\.proj\.conv2": "transitions.1.net_3",
    r"^clip\.embeddings|^clip(?=\.pre_layrnorm)": "transitions.1",
    r"self_attn\.out_proj": "attn.proj",
    r"self_attn\.q_proj": "attn.qkv",
    r"^projector": "neck.layers",
}


class DeepEncoder(nn.Module):
    """The parts in the order of deepseek_ocr.py."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        width = config.stages[1].embed_dim
        self.sam = DeepseekOcr2SamVisionEncoder(sam_config(config))
        self.clip = CLIPVisionModel(clip_config(config))
        self.clip.embeddings.patch_embedding = nn.Identity()
        self.clip.embeddings.patch_embedding.weight = torch.zeros(0)  # whose type is asked for
        self.clip.post_layernorm = nn.Identity()
        self.projector = nn.Linear(2 * width, config.out_chans)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, side, side) -> (B, hw, out_chans)."""
        features = self.sam(image).last_hidden_state
        tokens = self.clip(features).last_hidden_state[:, 1:]
        return self.projector(torch.cat((tokens, features.flatten(2).transpose(1, 2)), dim=-1))


def sam_config(config: EncoderConfig) -> DeepseekOcr2SamVisionConfig:
    """Of the first stage, the neck and the compressor."""
    sam, clip = config.stages
    return DeepseekOcr2SamVisionConfig(
        hidden_size=sam.embed_dim,
        num_hidden_layers=sam.depth,
        num_attention_heads=sam.num_heads,
        image_size=config.image_size[0],
        patch_size=config.patch_size,
        window_size=sam.window_size[0],
        global_attn_indexes=sam.global_attn_indexes,
        output_channels=clip.embed_dim // 4,
        downsample_channels=[clip.embed_dim // 2, clip.embed_dim],
        attn_implementation="eager",
    )


def clip_config(config: EncoderConfig) -> CLIPVisionConfig:
    """Of the second stage, which sees the features as an image of patches of one pixel."""
    clip = config.stages[1]
    return CLIPVisionConfig(
        hidden_size=clip.embed_dim,
        num_hidden_layers=clip.depth,
        num_attention_heads=clip.num_heads,
        intermediate_size=clip.mlp_dim,
        image_size=config.layers[-1].grid[0],
        patch_size=1,
        hidden_act="quick_gelu",
        layer_norm_eps=1e-5,
    )


def renamed(weights: dict[str, Tensor], blocks: int) -> dict[str, Tensor]:
    """Their weights by samattn's names; CLIP's layers are blocks after the `blocks` of SAM."""
    later = {r"^clip\.encoder\.layers\.(\d+)": lambda found: f"blocks.{int(found[1]) + blocks}"}
    return packed(weights, {**later, **RENAMED})


def count(preset: str) -> tuple[int, int]:
    """Parameters and FLOPs of a preset."""
    config = load_config(preset)
    with torch.device("meta"):  # indexes of relative positions are made on the default device
        return counted(DeepEncoder(config).eval(), torch.empty(config.input_shape))


SMALL = {
    "image_size": 72,
    "patch_size": 8,
    "stages": [
        {"embed_dim": 24, "depth": 2, "num_heads": 2, "rel_pos": "decomposed", "window_size": 4}
        | {"global_attn_indexes": [1]},
        {"transition": "deepseek_compressor", "block": "clip", "embed_dim": 32, "depth": 2, "num_heads": 4},
    ],
    "neck": "deepseek",
    "out_chans": 20,
}


def _weights(config: EncoderConfig, theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """With the buffer that their checkpoints have, and transformers does not save."""
    positions = torch.arange(theirs["clip.embeddings.position_embedding.weight"].shape[0])[None]
    return renamed(theirs, config.stages[0].depth) | {"transitions.1.position_ids": positions}


RECORDS = (
    Record(
        name="DeepEncoder",
        blocks=("clip",),
        presets=PRESETS,
        count=count,
        small=SMALL,
        public=lambda config: DeepEncoder(config).eval(),
        weights=_weights,
        spread=0.15,
        values={
            "eager": {"run.batch_size": 2},
            "sdpa": {"run.batch_size": 2, "run.attention": "sdpa"},
        },
        folded={
            "checkpointed in autocast": {
                "run.autocast": "bfloat16",
                "run.checkpointing": True,
                "run.batch_size": 2,
            },
        },
        in_full={
            "eager": {},
            "a grid that halves unevenly": {"image_size": [56, 104], "run.batch_size": 2},
            "sdpa in bfloat16": {
                "run.attention": "sdpa",
                "run.dtype": "bfloat16",
                "stages.0.embed_dim": 32,
            },
            "eager in autocast": {"run.autocast": "float16"},
            "fused": {"run.attention": "fused", "stages.0.embed_dim": 32},
        },
        verified={"deep_encoder": {}},
        bad={
            "no such stage": (
                {"stages.1.transition": "none", "stages.1.embed_dim": 24},
                (
                    "[layout-mismatch] block clip vit",
                    "[neck-needs-transition] neck deepseek deepseek_compressor",
                ),
            ),
            "blocks of windows after it": (
                {"stages.1.block": "vit"},
                "[layout-mismatch] block vit deepseek_compressor",
            ),
            "a sequence before it": (
                {
                    "stages.0": {"block": "plain", "embed_dim": 24, "depth": 2, "num_heads": 2},
                    "pos_embed": "class_token",
                },
                "[layout-mismatch] transition deepseek_compressor plain",
            ),
            "first": (
                {"stages.0.transition": "deepseek_compressor"},
                (
                    "[layout-mismatch] block vit deepseek_compressor",
                    "[transition-of-first-stage] deepseek_compressor",
                ),
            ),
            "width": (
                {"stages.1.embed_dim": 30, "stages.1.num_heads": 2},
                "[not-divisible] embed_dim 30 4",
            ),
        },
    ),
)
