"""Hiera as transformers has it, counted on the meta device: parameters and FLOPs, two a MAC."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode
from transformers import HieraConfig, HieraForImageClassification, HieraForPreTraining, HieraModel

from samattn_cli import EncoderConfig
from tests.public.record import Record

SIZES: dict[str, dict[str, Any]] = {
    "hiera_t": {"depths": [1, 2, 7, 2]},
    "hiera_s": {"depths": [1, 2, 11, 2]},
    "hiera_b": {},
    "hiera_b_plus": {"embed_dim": 112, "num_heads": [2, 4, 8, 16]},
    "hiera_l": {"embed_dim": 144, "num_heads": [2, 4, 8, 16], "depths": [2, 6, 36, 4]},
    "hiera_h": {"embed_dim": 256, "num_heads": [4, 8, 16, 32], "depths": [2, 6, 36, 4]},
}
"""What differs from transformers' defaults, which are the base model's."""

PRETRAINED = {
    "hiera_b_pretrain": {
        "num_query_pool": 2,
        "decoder_hidden_size": 512,
        "decoder_depth": 8,
        "decoder_num_heads": 16,
    }
}
PRESETS = (*SIZES, *PRETRAINED)
LABELS = 1000


class Chooses(TorchFunctionMode):
    """On meta, which has no values: takes or puts a share of what flags may choose."""

    def __init__(self, visible: int, units: int) -> None:
        super().__init__()
        self.visible, self.units = visible, units

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run `func`."""
        if func is Tensor.__getitem__ and isinstance(args[1], Tensor) and args[1].dtype == torch.bool:
            return args[0].new_empty(args[0].numel() * self.visible // self.units)
        if func is Tensor.__setitem__:
            return args[0]
        return func(*args, **(kwargs or {}))


def count_pretraining(preset: str) -> tuple[int, int]:
    """Parameters and FLOPs of the pretraining at 224, of whose 49 mask units 19 are visible; the loss has no products."""
    with torch.device("meta"):
        model = HieraForPreTraining(HieraConfig(**PRETRAINED[preset])).eval()
        image = torch.empty(1, 3, 224, 224)
    model.forward_loss = lambda *_: None
    with torch.no_grad(), Chooses(19, 49), FlopCounterMode(display=False) as counter:
        model(image)
    return sum(weight.numel() for weight in model.parameters()), counter.get_total_flops()


def count(preset: str) -> tuple[int, int]:
    """Parameters and FLOPs of the classifier at 224, or of the pretraining."""
    if preset in PRETRAINED:
        return count_pretraining(preset)
    with torch.device("meta"):
        model = HieraForImageClassification(HieraConfig(**SIZES[preset], num_labels=LABELS)).eval()
        image = torch.empty(1, 3, 224, 224)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(image)
    return sum(weight.numel() for weight in model.parameters()), counter.get_total_flops()


def settings(config: EncoderConfig, **more: object) -> HieraConfig:
    """transformers' config of the same shape."""
    stages = [stage for stage in config.stages if stage.transition == "none"]
    return HieraConfig(
        image_size=list(config.image_size),
        embed_dim=stages[0].embed_dim,
        embed_dim_multiplier=stages[-1].embed_dim / stages[-2].embed_dim,
        depths=[stage.depth for stage in stages],
        num_heads=[stage.num_heads for stage in stages],
        num_query_pool=sum(stage.q_stride > 1 for stage in stages),
        masked_unit_size=[2 ** (len(stages) - 1)] * 2,
        masked_unit_attention=[not stage.placement.is_global for stage in stages],
        num_labels=config.out_chans,
        **more,
    )


def public_encoder(config: EncoderConfig) -> nn.Module:
    """transformers' model of the same shape, in evaluation mode."""
    if config.neck == "hiera_pred":
        decoder = config.stages[-1]
        return HieraForPreTraining(
            settings(
                config,
                decoder_hidden_size=decoder.embed_dim,
                decoder_depth=decoder.depth,
                decoder_num_heads=decoder.num_heads,
                mask_ratio=config.mask_ratio,
            )
        ).eval()
    if config.neck == "hiera_classifier":
        return HieraForImageClassification(settings(config)).eval()
    return HieraModel(settings(config), add_pooling_layer=config.neck != "none").eval()


def outputs(model: nn.Module, config: EncoderConfig, image: Tensor) -> tuple[Tensor]:
    """The classes, the pooled tokens, or the tokens."""
    made = model(image)
    has_logits = config.neck in {"hiera_classifier", "hiera_pred"}
    return (made.logits if has_logits else made[config.neck != "none"],)


RENAMED = {
    r"^hiera\.": "",
    r"^embeddings\.patch_embeddings\.projection": "patch_embed.proj",
    r"^embeddings\.position_embeddings": "pos_embed.pos_embed",
    r"layernorm_before": "norm1",
    r"layernorm_after": "norm2",
    r"^pooler\.layernorm": "neck.norm",
    r"^classifier": "neck.head",
    r"^decoder\.(mask_token)": r"transitions.DECODER.\1",
    r"^decoder\.decoder_embeddings": "transitions.DECODER.decoder_embed",
    r"^decoder\.decoder_position_embeddings": "transitions.DECODER.decoder_pos_embed",
    r"^multiscale_fusion\.": "transitions.DECODER.",
    r"^encoder_norm": "transitions.DECODER.encoder_norm",
    r"^decoder\.decoder_block\.layers": "encoder.stages.DECODER.layers",
    r"^decoder\.(decoder_norm|decoder_pred)": r"neck.\1",
}


def weights(config: EncoderConfig, theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """By samattn's names: blocks are numbered over all stages."""
    depths = [stage.depth for stage in config.stages]

    def block(match: re.Match[str]) -> str:
        return f"blocks.{sum(depths[: int(match[1])]) + int(match[2])}."

    made = {}
    for theirs_name, weight in theirs.items():
        name = theirs_name
        for pattern, ours in RENAMED.items():
            name = re.sub(pattern, ours.replace("DECODER", f"{len(depths) - 1}"), name)
        made[re.sub(r"^encoder\.stages\.(\d+)\.layers\.(\d+)\.", block, name)] = weight
    return made


def stage(number: int, depth: int, window: int, **more: object) -> dict[str, Any]:
    """The number-th stage."""
    width = {"embed_dim": 16 << number, "num_heads": 1 << number}
    pooled = {"window_size": window, **({"q_stride": 2} if number else {})}
    return {"block": "mask_unit", "depth": depth} | width | pooled | more


SMALL: dict[str, Any] = {
    "image_size": [32, 48],
    "patch_size": 4,
    "patch_embed": "overlapping",
    "pos_embed": "mask_units",
    "neck": "hiera_classifier",
    "out_chans": 8,
    "stages": [stage(0, 2, 4), stage(1, 2, 2), stage(2, 2, 0)],
    "run": {"attention": "sdpa"},
}
"""Grids 8x12, 4x6 and 2x3; mask units of 4x4."""
FIRST, SECOND, LAST = SMALL["stages"]
PRETRAINING: dict[str, Any] = {
    key: value for key, value in SMALL.items() if key != "out_chans"
} | {
    "patch_embed": "masked_overlapping",
    "pos_embed": "mask_units_mae",
    "mask_ratio": 0.6,
    "neck": "hiera_pred",
    "stages": [FIRST, SECOND | {"window_size": 0}, stage(2, 1, 0, q_stride=1), {
        "transition": "hiera_decoder", "block": "mask_unit", "embed_dim": 32, "depth": 1, "num_heads": 2,
    }],
    "run": {"attention": "sdpa", "mode": "training"},
}  # fmt: skip
"""6 mask units, of which 2 are visible; 2x2 tokens of each are predicted."""
EAGER = {"run.attention": "eager"}
ALL_UNITS = {"stages": [FIRST, SECOND, LAST | {"window_size": 1}]}
NOT_POOLED = {"stages": [FIRST, SECOND | {"window_size": 0}, LAST | {"q_stride": 1}]}
NOT_POOLED_UNITS = {"stages": [FIRST, SECOND, LAST | {"q_stride": 1, "window_size": 2}]}
"""transformers would have mask units of one token in the last stage, as if it pooled."""

RECORDS = (
    Record(
        name="Hiera",
        blocks=("mask_unit",),
        presets=("hiera_t",),
        larger=("hiera_b_plus",),
        count=count,
        small=SMALL,
        public=public_encoder,
        weights=weights,
        outputs=outputs,
        values={
            "classes, sdpa": {"run.batch_size": 2},
            "tokens, eager, all in mask units": EAGER | ALL_UNITS | {"neck": "none"},
            "the mean, a stage that does not pool": NOT_POOLED | {"neck": "hiera_pool"},
        },
        folded={"batch 2": {"run.batch_size": 2}},
        in_full={
            "bfloat16": {"run.dtype": "bfloat16", "run.batch_size": 2},
            "eager, float16": EAGER | NOT_POOLED_UNITS | {"run.dtype": "float16"},
            "autocast, checkpointing": ALL_UNITS | {"run.autocast": "bfloat16", "run.checkpointing": True},
            "eager, autocast, windowed positions": EAGER
            | {
                "run.autocast": "float16",
                "pos_embed": "mask_units_window",
                "pos_embed_window": 4,
                "stages.0.layer_scale": True,
            },
        },
        verified={"hiera_b_plus": {}},
        bad={
            "an image that mask units do not divide": (
                {"image_size": [32, 50]},
                "1:13: [not-divisible] image_size 32, 50 4x4 16 32, 48 32, 64",
            ),
            "a window that is not a mask unit": (
                {"stages": [FIRST, SECOND | {"window_size": 4}, LAST]},
                "[not-a-mask-unit] 4x4 1 window_size 2 0",
            ),
            "two strides": (
                {"image_size": 64, "stages": [FIRST, SECOND, LAST | {"q_stride": 4}]},
                "[one-stride] q_stride 4 2",
            ),
            "a window of positions that is not a mask unit": (
                {"pos_embed": "mask_units_window", "pos_embed_window": 8},
                "[not-a-mask-unit] pos_embed_window 8x8 4",
            ),
            "positions that leave the grid": (
                {"pos_embed": "learned"},
                "[layout-mismatch] mask_unit learned mask_units mask_units_window",
            ),
        },
    ),
    Record(
        name="Hiera's pretraining",
        blocks=("mask_unit",),
        presets=("hiera_b_pretrain",),
        count=count,
        small=PRETRAINING,
        public=public_encoder,
        weights=weights,
        outputs=outputs,
        spread=0.1,
        values={"sdpa": {"run.batch_size": 2}, "eager, most visible": EAGER | {"mask_ratio": 0.3}},
        folded={"batch 2": {"run.batch_size": 2}},
        in_full={
            "eager, bfloat16, checkpointing": EAGER | {"run.dtype": "bfloat16", "run.checkpointing": True},
            "autocast": {"run.autocast": "float16", "run.batch_size": 3, "mask_ratio": 0.5},
        },
        verified={"hiera_b_pretrain": {}},
        bad={
            "no mask unit left": ({"mask_ratio": 0.9}, "[no-patches-left] mask_ratio 0.9 6"),
            "pixels that are not masked": (
                {"patch_embed": "overlapping"},
                "[needs-patch-embed] pos_embed mask_units_mae patch_embed masked_overlapping",
            ),
            "tokens that are not masked": (
                {"pos_embed": "mask_units", "mask_ratio": None},
                (
                    "[needs-pos-embed] patch_embed masked_overlapping pos_embed mask_units_mae",
                    "[needs-pos-embed] transition hiera_decoder pos_embed mask_units_mae mask_units",
                ),
            ),
            "a prediction without a decoder": (
                {"stages": [FIRST, SECOND, LAST]},
                "[neck-needs-transition] neck hiera_pred transition hiera_decoder",
            ),
        },
    ),
)
