"""ViT and MAE as transformers has them: ViTModel without its pooler, ViTMAEModel, ViTMAEForPreTraining.

Their separate projections of queries, keys and values take what one takes. Nothing is corrected.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import ViTConfig, ViTMAEConfig, ViTMAEForPreTraining, ViTMAEModel, ViTModel

from samattn_cli import EncoderConfig, load_config
from tests.public.counting import counted
from tests.public.record import Record
from tests.support.weights import packed

SIZES = ("b", "l", "h")
ENCODERS = tuple(f"{kind}_{size}" for kind in ("vit", "mae") for size in SIZES)
PRETRAINING = tuple(f"mae_{size}_pretrain" for size in SIZES)
PRESETS = ENCODERS + PRETRAINING
NORM_EPS = 1e-6
"""timm's and MAE's; transformers' default is another."""

RENAMED = {
    r"patch_embeddings\.projection": "proj",
    r"layernorm_before": "norm1",
    r"layernorm_after": "norm2",
    r"attention\.o_proj": "attn.proj",
    r"^(vit\.)?embeddings\.proj": "patch_embed.proj",
    r"^(vit\.)?embeddings\.position_embeddings": "pos_embed.pos_embed",
    r"^(vit\.)?embeddings\.cls_token": "pos_embed.cls_token",
    r"^(vit\.)?layers": "blocks",
    r"^vit\.layernorm": "transitions.1.norm",
    r"^layernorm": "norm",
    r"^decoder\.decoder_(norm|pred)": r"neck.decoder_\1",
    r"^decoder\.(mask_token|decoder_pos_embed|decoder_embed)": r"transitions.1.\1",
}


def official(config: EncoderConfig) -> nn.Module:
    """transformers' model of a config of this family."""
    stage, *decoder = config.stages
    settings = {
        "image_size": config.image_size,
        "patch_size": config.patch_size,
        "num_channels": config.in_chans,
        "hidden_size": stage.embed_dim,
        "num_hidden_layers": stage.depth,
        "num_attention_heads": stage.num_heads,
        "intermediate_size": stage.mlp_dim,
        "qkv_bias": stage.qkv_bias,
        "layer_norm_eps": NORM_EPS,
    }
    if config.pos_embed == "class_token":
        return ViTModel(ViTConfig(**settings), add_pooling_layer=False).eval()
    settings["mask_ratio"] = config.mask_ratio
    for last in decoder:
        settings |= {
            "decoder_hidden_size": last.embed_dim,
            "decoder_num_hidden_layers": last.depth,
            "decoder_num_attention_heads": last.num_heads,
            "decoder_intermediate_size": last.mlp_dim,
        }
    made = ViTMAEForPreTraining if decoder else ViTMAEModel
    return made(ViTMAEConfig(**settings)).eval()


def renamed(weights: dict[str, Tensor], blocks: int) -> dict[str, Tensor]:
    """transformers' weights by samattn's names; the decoder's layers are blocks after the `blocks` of the encoder."""
    later = {r"^decoder\.decoder_layers\.(\d+)": lambda found: f"blocks.{int(found[1]) + blocks}"}
    return packed(weights, {r"attention\.q_proj": "attn.qkv", **later, **RENAMED})


def count(preset: str) -> tuple[int, int]:
    """Parameters and FLOPs of their model."""
    config = load_config(preset)
    with torch.device("meta"):
        return counted(official(config), torch.empty(config.input_shape))


VIT = {
    "image_size": [48, 80],
    "patch_size": 16,
    "block": "plain",
    "embed_dim": 24,
    "depth": 2,
    "num_heads": 3,
    "mlp_ratio": 2.7,
    "pos_embed": "class_token",
    "norm": True,
}
STAGE = {key: VIT[key] for key in ("block", "embed_dim", "depth", "num_heads", "mlp_ratio")}
MASKED = {"image_size": 80, "patch_size": 16, "pos_embed": "mae", "mask_ratio": 0.7}
DECODER = {"transition": "mae_decoder", "block": "plain", "embed_dim": 16, "depth": 1, "num_heads": 2}
MAE = MASKED | {"stages": [STAGE], "norm": True}
PRETRAIN = MASKED | {"stages": [STAGE, DECODER], "neck": "mae_pred"}
KERNELS = {
    kernel: {"run.batch_size": 2, "stages.0.num_heads": 6, "run.attention": kernel}
    for kernel in ("eager", "sdpa")
}
RUNS = {
    "eager, qkv without bias": {"stages.0.qkv_bias": False},
    "three images, sdpa": {"run.attention": "sdpa", "run.batch_size": 3},
    "sdpa in bfloat16": {"run.attention": "sdpa", "run.dtype": "bfloat16"},
    "eager in autocast": {"run.autocast": "float16", "run.batch_size": 2},
    "checkpointed sdpa in autocast": {
        "run.autocast": "bfloat16",
        "run.attention": "sdpa",
        "run.checkpointing": True,
    },
}


def _weights(config: EncoderConfig, theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    return renamed(theirs, config.stages[0].depth)


def _outputs(theirs: nn.Module, config: EncoderConfig, image: Tensor) -> Sequence[Tensor]:
    made = theirs(image)
    return (made.logits if config.neck == "mae_pred" else made.last_hidden_state,)


RECORDS = (
    Record(
        name="ViT",
        blocks=("plain",),
        presets=("vit_b",),
        larger=("vit_h",),
        count=count,
        small=VIT,
        public=official,
        weights=_weights,
        outputs=_outputs,
        spread=0.2,
        values=KERNELS,
        folded=RUNS,
        in_full={},
        verified={"vit_b": {}},
        bad={
            "windows": ({"window_size": 7}, "[always-global] window_size"),
            "windows of some blocks": (
                {"overrides": [{"blocks": [1], "window_size": 7}]},
                "[always-global] window_size",
            ),
            "shift": ({"shift_size": 3}, "[unused-key] plain shift_size swin"),
            "relative positions": (
                {"rel_pos": "decomposed"},
                "[unused-key] plain rel_pos vit",
            ),
            "no sequence": (
                {"pos_embed": "learned"},
                "[layout-mismatch] block pos_embed class_token",
            ),
            "sequence for others": (
                {"block": "vit"},
                "[layout-mismatch] block vit grid pos_embed class_token sequence",
            ),
            "neck of a grid": (
                {"neck": "sam"},
                "[layout-mismatch] neck sam grid sequence",
            ),
            "mask of class_token": (
                {"mask_ratio": 0.5},
                "[unused-key] pos_embed class_token mask_ratio mae",
            ),
            "prediction without masking": (
                {"neck": "mae_pred"},
                "[neck-needs-transition] neck mae_pred mae_decoder",
            ),
        },
    ),
    Record(
        name="MAE",
        blocks=("plain",),
        presets=("mae_b",),
        count=count,
        small=MAE,
        public=official,
        weights=_weights,
        outputs=_outputs,
        spread=0.2,
        values=KERNELS,
        folded={"eager": {}},
        in_full={},
        verified={"mae_b": {}},
        bad={
            "all masked": (
                {"mask_ratio": 0.97},
                "[no-patches-left] mask_ratio 0.97 25",
            ),
            "ratio of one": ({"mask_ratio": 1}, "[out-of-range] mask_ratio 1"),
            "ratio below zero": ({"mask_ratio": -0.1}, "[out-of-range] mask_ratio 0 -0.1"),
            "a stage of windows before": (
                {"pos_embed": "learned", "stages": [STAGE | {"block": "vit"}, STAGE], "mask_ratio": None},
                "[layout-mismatch] block plain vit",
            ),
        },
    ),
    Record(
        name="MAE with its decoder",
        blocks=("plain",),
        presets=("mae_b_pretrain",),
        larger=("mae_h_pretrain",),
        count=count,
        small=PRETRAIN,
        public=official,
        weights=_weights,
        outputs=_outputs,
        spread=0.2,
        values=KERNELS,
        folded={"checkpointed sdpa in autocast": RUNS["checkpointed sdpa in autocast"]},
        in_full={name: run for name, run in RUNS.items() if name != "checkpointed sdpa in autocast"},
        verified={"mae_h_pretrain": {}},
        bad={
            "decoder without masking": (
                {"pos_embed": "class_token", "mask_ratio": None},
                "[needs-pos-embed] mae_decoder mae class_token",
            ),
            "a stage of windows after": (
                {
                    "stages": [STAGE, DECODER | {"block": "vit", "transition": "none", "embed_dim": 24}],
                    "neck": "none",
                },
                "[layout-mismatch] block vit plain",
            ),
        },
    ),
)
