"""SwinIR and Swin2SR: transformers' Swin2SRConfig, and checkpoints of the authors' codes.

Sources: transformers 5.23.0, models/swin2sr; JingyunLiang/SwinIR, models/network_swinir.py and main_test_swinir.py;
mv-lab/swin2sr, models/network_swin2sr.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import count
from typing import Any

from ...importing.checkpoint import Shapes
from ...importing.description import Description, Keys, ratio_of
from ...importing.weights import CheckpointKind, Weights, square_side
from .words import FEATURES, GROUP, RESULT, SWIN2SR, WITHOUT

DEFAULTS = {
    "image_size": 64, "patch_size": 1, "num_channels": 3, "embed_dim": 180, "depths": [6] * 6, "num_heads": [6] * 6,
    "window_size": 8, "mlp_ratio": 2.0, "qkv_bias": True, "upscale": 2,
}  # fmt: skip
UPSAMPLERS: dict[Any, Keys] = {
    "pixelshuffle": {"neck": "pixelshuffle"},
    "pixelshuffledirect": {"neck": "pixelshuffledirect"},
    "nearest+conv": {"neck": "nearest_conv"},
    "": {"neck": WITHOUT},
    None: {"neck": WITHOUT},
}
CONNECTIONS = ("1conv", "3conv")
SIZE_OF_TILES = 64
"""Of the published models for super-resolution."""

BLOCK = re.compile(r"layers\.([0-9]{1,4})\.residual_group\.blocks\.([0-9]{1,4})\.(.*)")
END = re.compile(r"layers\.([0-9]{1,4})\.(?:(conv\..*)|patch_embed\.(proj\..*))")
BUFFERS = re.compile(r".*(relative_position_index|relative_coords_table|attn_mask|k_bias)|mean")
FIRST = "layers.0.residual_group.blocks.0.attn."
TABLE, SCALE = "relative_position_bias_table", "logit_scale"


def from_swin2sr(description: Description) -> Keys:
    """A Swin2SRConfig; the upsampler is a part of the encoder, unless the description is of the model without it."""
    description = description.with_defaults(**DEFAULTS)
    description.expect("patch_size", 1, [1, 1])
    description.expect("hidden_act", "gelu")
    description.expect("use_absolute_embeddings", False)
    description.expect("resi_connection", *CONNECTIONS)
    description.ignore("hidden_dropout_prob", "attention_probs_dropout_prob", "drop_path_rate")
    description.read |= {"img_range", "num_channels_out", "upsampler", "architectures"}
    depths = description.integers("depths")
    heads = description.integers("num_heads", len(depths))
    common = {
        "window_size": description.side("window_size"),
        "mlp_ratio": description.number("mlp_ratio"),
        "qkv_bias": description.flag("qkv_bias"),
    }
    channels, width = description.integer("num_channels"), description.integer("embed_dim")
    out = description.entries.get("num_channels_out")
    chosen = description.choice("upsampler", UPSAMPLERS) | {"out_chans": channels if out is None else out}
    if chosen["neck"] != WITHOUT:
        chosen["upscale"] = description.integer("upscale")
    if description.entries.get("architectures") == ["Swin2SRModel"]:
        chosen = {"neck": RESULT}
    if description.entries.get("resi_connection", CONNECTIONS[0]) != CONNECTIONS[0]:
        chosen["resi_connection"] = description.entries["resi_connection"]
    shapes = [(width, depth, number) for depth, number in zip(depths, heads, strict=True)]
    size = description.size("image_size")
    return {**_encoder(size, channels, SWIN2SR), **chosen, "stages": _stages("swinv2", shapes, common)}


def _encoder(size: object, channels: int, patch_embed: str) -> Keys:
    return {
        "image_size": size,
        "in_chans": channels,
        "patch_size": 1,
        "patch_embed": patch_embed,
        "pos_embed": "none",
    }


def _stages(block: str, shapes: list[tuple[int, int, int]], common: Keys) -> list[Keys]:
    """A stage for each group of (width, depth, heads)."""
    return [
        {"block": block, "embed_dim": width, "depth": depth, "num_heads": heads, **common}
        | ({"transition": GROUP} if number else {})
        for number, (width, depth, heads) in enumerate(shapes)
    ]


def is_swinir(shapes: Shapes) -> bool:
    """Whether it has blocks in residual groups, and not those of HAT besides."""
    return f"layers.0.residual_group.overlap_attn.{TABLE}" not in shapes and bool(
        {f"{FIRST}{TABLE}", f"{FIRST}{SCALE}"} & shapes.keys()
    )


def names(shapes: Shapes) -> Callable[[str], str | None]:
    """Blocks are numbered over the whole encoder. A group ends in the transition after it, the last group in the neck."""
    depths: dict[int, int] = {}
    for match in filter(None, map(BLOCK.fullmatch, shapes)):
        depths[int(match[1])] = max(depths.get(int(match[1]), 0), int(match[2]) + 1)

    def name(theirs: str) -> str | None:
        if BUFFERS.fullmatch(theirs):
            return None
        if match := BLOCK.fullmatch(theirs):
            before = sum(depth for number, depth in depths.items() if number < int(match[1]))
            return f"blocks.{before + int(match[2])}.{match[3]}"
        if match := END.fullmatch(theirs):
            following = int(match[1]) + 1
            group = f"transitions.{following}" if following < len(depths) else "neck.group"
            return f"{group}.{match[2] or match[3]}"
        if theirs.startswith("conv_first."):
            return f"patch_embed.{theirs}"
        return theirs if theirs.startswith("patch_embed.") else f"neck.{theirs}"

    return name


def from_weights(weights: Weights) -> Keys:
    """Names show the groups, a table or logit scales the heads, the last convolutions the upsampler."""
    is_v2 = f"blocks.0.attn.{SCALE}" in weights
    width, channels, *_ = weights.shape("patch_embed.conv_first.weight", 4)
    (hidden, _) = weights.shape("blocks.0.mlp.fc1.weight", 2)
    window = _window(weights)
    bias = "blocks.0.attn.q_bias" if is_v2 else "blocks.0.attn.qkv.bias"
    common = {"window_size": window, "mlp_ratio": ratio_of(hidden, width), "qkv_bias": bias in weights}
    depths = _depths(weights)
    shapes = [(width, depth, _heads(weights, sum(depths[:number]))) for number, depth in enumerate(depths)]
    patch_embed = SWIN2SR if "patch_embed.proj.weight" in weights else "pixels"
    keys = _encoder(_image_size(weights, window), channels, patch_embed) | _neck(weights)
    if "neck.group.conv.0.weight" in weights:
        keys["resi_connection"] = "3conv"
    return {**keys, "stages": _stages("swinv2" if is_v2 else "swin", shapes, common)}


def _depths(weights: Weights) -> list[int]:
    """The blocks of each group, by the names in the checkpoint."""
    depths: dict[int, int] = {}
    for theirs in weights.original_names.values():
        if match := BLOCK.search(theirs):
            depths[int(match[1])] = max(depths.get(int(match[1]), 0), int(match[2]) + 1)
    return [depths[number] for number in sorted(depths)]


def _heads(weights: Weights, index: int) -> int:
    scale = f"blocks.{index}.attn.{SCALE}"
    return (
        weights.shape(scale, 3)[0]
        if scale in weights
        else weights.shape(f"blocks.{index}.attn.{TABLE}", 2)[1]
    )


def _window(weights: Weights) -> int:
    """By the table of biases, whose rows are (2w - 1)(2w - 1), or by the buffer of offsets, (1, 2w - 1, 2w - 1, 2)."""
    table = f"blocks.0.attn.{TABLE}"
    area = weights.shape(table, 2)[0] if table in weights else 0
    offsets = weights.others.get(f"{FIRST}relative_coords_table", ())
    side = offsets[1] if len(offsets) == len("1hw2") else square_side(area)
    if not side:
        raise weights.error("not-in-shapes", "its weights do not show the window: write the config by hand")
    return (side + 1) // 2


def _image_size(weights: Weights, window: int) -> int:
    """By the mask of shifted windows, (windows, N, N), of a square image; the weights take any size."""
    mask = weights.others.get("layers.0.residual_group.blocks.1.attn_mask", ())
    side = square_side(mask[0]) if len(mask) == len("nNN") else None
    size = side * window if side else -(-SIZE_OF_TILES // window) * window
    whose = "that of training" if side else "that of the published models' training"
    weights.notes.append(
        f"The image size, {size}, is {whose}. The weights take any: --image-size takes that of your tiles."
    )
    return size


def _neck(weights: Weights) -> Keys:
    """The upsampler, and how often it enlarges."""
    if "neck.conv_up1.weight" in weights:
        times, last = (
            (4 if "neck.conv_up2.weight" in weights else 2),
            weights.shape("neck.conv_last.weight", 4),
        )
        return {"neck": "nearest_conv", "upscale": times, "out_chans": last[0]}
    if "neck.conv_before_upsample.0.weight" in weights:
        last = weights.shape("neck.conv_last.weight", 4)
        return {"neck": "pixelshuffle", "upscale": shuffled(weights), "out_chans": last[0]}
    if "neck.upsample.0.weight" in weights:
        made, channels = (
            weights.shape("neck.upsample.0.weight", 4)[0],
            weights.shape("patch_embed.conv_first.weight", 4)[1],
        )
        return {
            "neck": "pixelshuffledirect",
            "upscale": square_side(made // channels) or 1,
            "out_chans": channels,
        }
    if "neck.conv_last.weight" in weights:
        return {"neck": WITHOUT, "out_chans": weights.shape("neck.conv_last.weight", 4)[0]}
    return {"neck": RESULT}


def shuffled(weights: Weights) -> int:
    """One convolution that enlarges 3 times, or some that enlarge 2 times each."""
    convolutions = next(number for number in count() if f"neck.upsample.{2 * number}.weight" not in weights)
    if not convolutions:
        raise weights.missing("neck.upsample.0.weight")
    times = square_side(weights.shape("neck.upsample.0.weight", 4)[0] // FEATURES) or 1
    return int(times**convolutions)


HUGGING_FACE = {"swin2sr": from_swin2sr}
EAGER_ONLY = ("swin2sr",)
CHECKPOINTS = (CheckpointKind(is_swinir, names, from_weights),)
