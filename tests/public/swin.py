"""transformers' Swin and Swin V2, counted for `counts.py`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn
from transformers import SwinBackbone, SwinConfig, SwinModel, Swinv2Config, Swinv2Model
from transformers.models.swin.modeling_swin import SwinAttention

from samattn_cli import EncoderConfig, load_config
from samattn_cli.stack.encoder import image_for
from tests.public.counting import counted
from tests.public.record import Changes, Record
from tests.support.weights import packed

V1 = ("swin_t", "swin_s", "swin_b", "swin_l", "swin_t_384", "swin_s_384", "swin_b_384", "swin_l_384")
PRESETS = (*V1, "swinv2_t", "swinv2_s", "swinv2_b", "swinv2_l")


def count(preset: str) -> tuple[int, int]:
    """Parameters and FLOPs of their encoder, without its pooling of tokens."""
    config = load_config(preset)
    with torch.device("meta"):
        return counted(public_encoder(config), image_for(config, "meta"))


def public_encoder(config: EncoderConfig) -> SwinModel | Swinv2Model | SwinBackbone:
    """Their encoder, which has one window for all stages."""
    first = config.stages[0]
    if config.neck == "swin_backbone":
        return backbone(config).eval()
    kind, settings = (SwinModel, SwinConfig) if first.block == "swin" else (Swinv2Model, Swinv2Config)
    return kind(settings(**_sizes(config), attn_implementation="eager"), add_pooling_layer=False).eval()


def backbone(config: EncoderConfig) -> SwinBackbone:
    """Their backbone, which gives the outputs of stages."""
    read = config.out_indices or range(len(config.stages))
    named = [f"stage{stage + 1}" for stage in read]
    positions = config.pos_embed == "learned"
    return SwinBackbone(
        SwinConfig(
            **_sizes(config),
            out_features=named,
            use_absolute_embeddings=positions,
            attn_implementation=config.run.attention,
            drop_path_rate=0.0,
        )
    )


def _sizes(config: EncoderConfig) -> dict[str, Any]:
    first, stages = config.stages[0], config.stages
    return {
        "image_size": config.image_size,
        "patch_size": config.patch_size,
        "embed_dim": first.embed_dim,
        "depths": [stage.depth for stage in stages],
        "num_heads": [stage.num_heads for stage in stages],
        "window_size": first.window_size[0],
        "mlp_ratio": first.mlp_ratio,
        "qkv_bias": first.qkv_bias,
    }


MERGING = {"swin": "patch_merging", "swinv2": "patch_merging_v2"}


def encoder(
    block: str = "swin",
    image: Sequence[int] = (20, 28),
    windows: Sequence[object] = (4, 4),
    widths: Sequence[int] = (16, 32),
    depth: int = 2,
    **stage: object,
) -> dict[str, Any]:
    """Grids of 5x7 and 3x4 tokens: odd sides, padded windows, and one that the last grid clamps."""
    return {
        "image_size": list(image),
        "patch_size": 4,
        "patch_embed": "patch_norm",
        "pos_embed": "none",
        "norm": True,
        "stages": [
            {
                "block": block,
                "embed_dim": width,
                "depth": depth,
                "num_heads": 2 << number,
                "window_size": window,
                "transition": MERGING[block] if number else "none",
                **stage,
            }
            for number, (width, window) in enumerate(zip(widths, windows, strict=True))
        ],
    }


def one_stage(block: str, **stage: object) -> Changes:
    """A single stage in place of the two."""
    return {"stages": encoder(block, windows=(3,), widths=(16,), **stage)["stages"]}


def in_each_stage(**keys: object) -> Changes:
    """Keys of both stages."""
    return {f"stages.{number}.{key}": value for number in (0, 1) for key, value in keys.items()}


def as_constructed(config: EncoderConfig) -> SwinModel:
    """Their Swin makes its tables for the window before it is clamped, and cannot run then: give it Microsoft's."""
    model = public_encoder(config)
    for layer in config.layers:
        first = next(each.index for each in config.layers if each.stage_index == layer.stage_index)
        block = model.encoder.layers[layer.stage_index].blocks[layer.index - first]
        size = min(layer.grid) if layer.is_global else layer.window_size[0]
        block.attention = SwinAttention(model.config, layer.stage.embed_dim, layer.stage.num_heads, size)
    return model


RENAMED = {
    r"^encoder\.layers\.(\d+)\.downsample": lambda found: f"transitions.{int(found[1]) + 1}",
    r"^embeddings\.patch_embeddings\.projection": "patch_embed.proj",
    r"^embeddings\.norm": "patch_embed.norm",
    r"^layernorm": "norm",
    r"layernorm_before": "norm1",
    r"layernorm_after": "norm2",
    r"attention\.relative_position_bias": "attn",
    r"attention\.o_proj|attention\.output\.dense": "attn.proj",
    r"attention\.self\.continuous_position_bias_mlp": "attn.cpb_mlp",
    r"attention\.(self\.)?q_proj": "attn.qkv",
    r"attention\.self": "attn",
    r"intermediate\.dense": "mlp.fc1",
    r"output\.dense": "mlp.fc2",
}


def renamed(config: EncoderConfig, theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Their weights by Microsoft's names, which are samattn's: blocks in one row, queries, keys and values in one.

    The biases of Swin V2 stay apart: keys have none.
    """
    firsts = [0, *accumulate(stage.depth for stage in config.stages)]

    def block(found: re.Match[str]) -> str:
        return f"blocks.{firsts[int(found[1])] + int(found[2])}"

    split = {
        re.sub(
            r"\.([qkv])(uery|ey|alue)\.",
            r".\1_proj.",
            re.sub(r"\.([qv])(uery|alue)\.bias", r".\1_bias", name),
        ): weight
        for name, weight in theirs.items()
    }
    return packed(split, {r"^encoder\.layers\.(\d+)\.blocks\.(\d+)": block, **RENAMED})


def _outputs(theirs: nn.Module, config: EncoderConfig, image: Tensor) -> Sequence[Tensor]:
    return (theirs(image).last_hidden_state.unflatten(1, config.layers[-1].grid),)


def _record(block: str, public: Callable[[EncoderConfig], nn.Module], **more: Any) -> Record:
    keys = {"small": encoder(block), "weights": renamed, "outputs": _outputs, "spread": 0.2}
    return Record(name=block, blocks=(block,), count=count, public=public, **keys, **more)


SDPA = {"run.attention": "sdpa"}
RECORDS = (
    _record(
        "swin",
        as_constructed,
        presets=("swin_t",),
        larger=("swin_t_384",),
        values={
            "padded, odd, shifted, clamped": {"run.batch_size": 2},
            "the same by sdpa": {"run.batch_size": 2} | SDPA,
            "the window is the grid, then larger than it": {"image_size": 16},
            "no bias of qkv": one_stage("swin", qkv_bias=False),
        },
        folded={
            "a norm whose result nothing reads": {"neck": "swin_backbone", "norm": False},
            "windows that are not square, checkpointed": {
                "stages": encoder(windows=([3, 4], 2), shift_size=[1, 0], qkv_bias=False)["stages"],
                "run.checkpointing": True,
            },
        },
        in_full={
            "two images in autocast": {"run.batch_size": 2, "run.autocast": "bfloat16"},
            "sdpa": {"run.batch_size": 2} | SDPA,
            "sdpa in autocast": {"run.autocast": "float16"} | SDPA,
        },
        verified={"swin_t": {}},
        bad={
            "a shift larger than the window": (
                in_each_stage(shift_size=5),
                "[shift-too-large] shift_size 5x5 1 4x4",
            ),
            "fused": (
                {"run": {"attention": "fused"}},
                "[kernel-not-modelled] fused swin",
            ),
            "relative positions": (
                in_each_stage(rel_pos="decomposed"),
                (
                    "6:106: [unused-key] swin rel_pos",
                    "6:224: [unused-key] swin rel_pos",
                ),
            ),
        },
    ),
    _record(
        "swinv2",
        public_encoder,
        presets=("swinv2_t",),
        larger=("swinv2_l",),
        values={
            "padded, shifted, clamped": {"image_size": [24, 32], "run.batch_size": 2},
            "odd": {"image_size": [44, 60]},
            "no bias of qkv": one_stage("swinv2", qkv_bias=False),
        },
        folded={
            "two images in bfloat16, no bias of qkv": in_each_stage(qkv_bias=False)
            | {"run.dtype": "bfloat16", "run.batch_size": 2},
            "torchvision's bias of keys": in_each_stage(zeroed_key_bias=True),
        },
        in_full={
            "eager": {},
            "autocast, checkpointed": {"run.autocast": "bfloat16", "run.checkpointing": True},
        },
        verified={"swinv2_t": {}},
        bad={
            "a bias of keys alone": (
                one_stage("swinv2", qkv_bias=False, zeroed_key_bias=True),
                "[unused-key] zeroed_key_bias qkv_bias",
            ),
            "sdpa": (
                {"run": {"attention": "sdpa"}},
                "[kernel-not-modelled] sdpa swinv2",
            ),
        },
    ),
)
