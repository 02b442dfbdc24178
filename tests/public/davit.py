"""Florence-2's vision encoder as transformers has it, counted on the meta device: parameters and FLOPs, two a MAC.

DaViT is the same encoder with convolutions of 2x2, and with queries, keys and values in other roles: keys are compared with
values by the width of a head, to weigh queries. So transformers' code computes DaViT if its projections are exchanged.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import Florence2VisionConfig
from transformers.models.florence2.modeling_florence2 import Florence2VisionBackbone

from samattn_cli import EncoderConfig
from tests.public.record import Record

WIDE = {"embed_dim": [256, 512, 1024, 2048], "num_heads": [8, 16, 32, 64], "num_groups": [8, 16, 32, 64]}
NARROW = {"embed_dim": [96, 192, 384, 768], "num_heads": [3, 6, 12, 24], "num_groups": [3, 6, 12, 24]}
SQUARES = {"patch_size": [7, 2, 2, 2], "patch_padding": [3, 0, 0, 0], "window_size": 7}
SIZES: dict[str, dict[str, Any]] = {
    "florence2_base": {},
    "florence2_large": WIDE,
    "davit_t": SQUARES | NARROW | {"depths": [1, 1, 3, 1]},
    "davit_s": SQUARES | NARROW,
    "davit_b": SQUARES,
}
"""What differs from transformers' defaults, which are those of Florence-2 base."""

PRESETS = tuple(SIZES)


def model(**settings: Any) -> Florence2VisionBackbone:
    """The encoder, in evaluation mode, with eager attention."""
    config = Florence2VisionConfig(**settings)
    config._attn_implementation = "eager"
    return Florence2VisionBackbone(config).eval()


def count(preset: str) -> tuple[int, int]:
    """Parameters and FLOPs."""
    side = 768 if preset.startswith("florence2") else 224
    with torch.device("meta"):
        encoder, image = model(**SIZES[preset]), torch.empty(1, 3, side, side)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        encoder(image)
    return sum(weight.numel() for weight in encoder.parameters()), counter.get_total_flops()


def public_encoder(config: EncoderConfig) -> Florence2VisionBackbone:
    """transformers' encoder of the same shape."""
    stages = config.stages
    kernels = [3 if stage.transition == "conv_embed" else 2 for stage in stages[1:]]
    return model(
        in_channels=config.in_chans,
        depths=[stage.depth // 2 for stage in stages],
        patch_size=[2 * config.patch_size - 1, *kernels],
        patch_stride=[config.patch_size, *(2 for _ in kernels)],
        patch_padding=[config.patch_size - 1, *((kernel - 1) // 2 for kernel in kernels)],
        patch_prenorm=[False, *(True for _ in kernels)],
        embed_dim=[stage.embed_dim for stage in stages],
        num_heads=[stage.num_heads for stage in stages],
        num_groups=[
            stage.at(index).num_heads for stage, index in zip(stages, _channel_blocks(config), strict=True)
        ],
        window_size=stages[0].window_size[0],
        mlp_ratio=stages[0].mlp_ratio,
        qkv_bias=stages[0].qkv_bias,
    )


def _channel_blocks(config: EncoderConfig) -> list[int]:
    """The first of each stage."""
    depths = [stage.depth for stage in config.stages]
    return [sum(depths[:number]) + 1 for number in range(len(depths))]


RENAMED = {
    r"^convs\.0\.": "patch_embed.",
    r"^convs\.": "transitions.",
    r"(window|channel)_attn\.": "attn.",
    r"ffn\.": "mlp.",
    r"conv([12])\.(weight|bias)$": r"cpe\1.proj.\2",
}


def weights(
    config: EncoderConfig, theirs: dict[str, Tensor], *, exchanged: bool = False
) -> dict[str, Tensor]:
    """By samattn's names: each layer is two blocks, numbered over all stages."""
    depths = [stage.depth for stage in config.stages]

    def block(match: re.Match[str]) -> str:
        return f"blocks.{sum(depths[: int(match[1])]) + 2 * int(match[2]) + (match[3] == 'channel')}."

    made = {}
    for their_name, weight in theirs.items():
        name = re.sub(r"^blocks\.(\d+)\.(\d+)\.(spatial|channel)_block\.", block, their_name)
        for pattern, ours in RENAMED.items():
            name = re.sub(pattern, ours, name)
        made[name] = (
            _in_other_roles(config, name, weight)
            if exchanged and "channel_attn.qkv" in their_name
            else weight
        )
    return made


def _in_other_roles(config: EncoderConfig, name: str, weight: Tensor) -> Tensor:
    """The rows of transformers' queries, keys and values where DaViT has them, with the scale of its own."""
    layer = config.layers[int(name.split(".")[1])]
    of_keys, of_values, of_queries = weight.chunk(3)
    tokens, width = layer.grid[0] * layer.grid[1], layer.stage.embed_dim // layer.stage.num_heads
    return torch.cat([of_queries, of_keys * (width / tokens) ** 0.5, of_values])


def outputs(encoder: nn.Module, _: EncoderConfig, image: Tensor) -> tuple[Tensor]:
    """(B, H, W, C)."""
    return (encoder(image).last_hidden_state.permute(0, 2, 3, 1),)


def stage(number: int, depth: int, *, block: str, **more: object) -> dict[str, Any]:
    """The number-th stage."""
    embedding = {"florence2": "conv_embed", "davit": "conv_embed_2x2"}[block]
    shape = {"embed_dim": 16 << number, "num_heads": 2 << number, "window_size": 3}
    return {"block": block, "depth": depth} | shape | ({"transition": embedding} if number else {}) | more


def small(block: str) -> dict[str, Any]:
    """Grids 9x13 and 5x7, padded to windows of 3; the sides of the image and of the first grid are odd."""
    stages = [stage(0, 2, block=block), stage(1, 4, block=block)]
    return {
        "image_size": [36, 51],
        "patch_size": 4,
        "patch_embed": "overlapping_norm",
        "pos_embed": "none",
        "stages": stages,
    }


SDPA = {"run.attention": "sdpa"}
FIRST, SECOND = small("florence2")["stages"]
WHOLE_WINDOWS = {"image_size": [48, 96]}
OTHER_GROUPS = {"stages": [FIRST | {"overrides": [{"blocks": [1], "num_heads": 4}]}, SECOND]}
GLOBAL = {"stages": [FIRST, SECOND | {"depth": 3, "global_attn_indexes": [4]}]}
"""A last spatial block that is global, without a channel block after it."""

RECORDS = (
    Record(
        name="Florence-2",
        blocks=("florence2",),
        presets=("florence2_base",),
        larger=("florence2_large",),
        count=count,
        small=small("florence2"),
        public=public_encoder,
        weights=weights,
        outputs=outputs,
        spread=0.1,
        values={
            "padding": {"run.batch_size": 2},
            "sdpa, no bias": WHOLE_WINDOWS
            | SDPA
            | {"stages": [FIRST | {"qkv_bias": False}, SECOND | {"qkv_bias": False}]},
            "as many groups as no heads": OTHER_GROUPS,
        },
        folded={"batch 2": {"run.batch_size": 2}},
        in_full={
            "a global block": GLOBAL,
            "one image, autocast": WHOLE_WINDOWS | {"run.autocast": "bfloat16"},
            "sdpa, float16, checkpointing": SDPA
            | {"run.dtype": "float16", "run.batch_size": 2, "run.checkpointing": True},
        },
        verified={"florence2_base": {}},
        bad={
            "a global channel block": (
                {"stages": [FIRST | {"global_attn_indexes": [1]}, SECOND]},
                "5:105: [block-over-channels] 1",
            ),
            "windows of a channel block": (
                {"stages": [FIRST, SECOND | {"overrides": [{"blocks": [2, 3], "window_size": 4}]}]},
                "5:225: [block-over-channels] 3 window_size",
            ),
            "fused": (
                {"run": {"attention": "fused"}},
                "[kernel-not-modelled] fused florence2 eager sdpa",
            ),
        },
    ),
    Record(
        name="DaViT",
        blocks=("davit",),
        presets=("davit_t",),
        larger=("davit_b",),
        count=count,
        small=small("davit"),
        public=public_encoder,
        weights=partial(weights, exchanged=True),
        outputs=outputs,
        spread=0.1,
        values={"a grid of whole squares": WHOLE_WINDOWS | {"run.batch_size": 2}},
        folded={},
        in_full={"padding": {"run.batch_size": 2, "run.dtype": "bfloat16"}},
        verified={"davit_t": {}},
        bad={
            "fused": ({"run": {"attention": "fused"}}, "[kernel-not-modelled] fused davit eager sdpa"),
        },
    ),
)
