"""HAT: checkpoints of the authors' code.

Source: XPixelGroup/HAT, hat/archs/hat_arch.py; its checkpoints have the entry `params_ema`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from ...importing.checkpoint import Shapes
from ...importing.description import Keys, ratio_of
from ...importing.weights import CheckpointKind, Weights, square_side
from ..swinir.importing import SIZE_OF_TILES, shuffled
from .words import GROUP, HYBRID, NECK, OVERLAPPING, PIXELS

INSIDE = re.compile(r"layers\.([0-9]{1,4})\.residual_group\.(?:blocks\.([0-9]{1,4})|overlap_attn)\.(.*)")
END = re.compile(r"layers\.([0-9]{1,4})\.(conv\..*)")
BUFFERS = re.compile(r"relative_position_index_(SA|OCA)|mean|(.*\.)?attn_mask")
FIRST = "layers.0.residual_group."
TABLE = "relative_position_bias_table"
OF_THE_BLOCK = ("norm", "mlp.")
"""What is not of the attention of an overlapping block."""


def is_hat(shapes: Shapes) -> bool:
    """Whether it has blocks with channel attention, and overlapping ones."""
    return f"{FIRST}overlap_attn.{TABLE}" in shapes


def _depths(shapes: Iterable[str]) -> list[int]:
    """The hybrid blocks of each group."""
    depths: dict[int, int] = {}
    for match in filter(None, map(INSIDE.search, shapes)):
        depths[int(match[1])] = max(depths.get(int(match[1]), 0), int(match[2] or -1) + 1)
    return [depths.get(number, 0) for number in range(max(depths, default=-1) + 1)]


def names(shapes: Shapes) -> Callable[[str], str | None]:
    """A group is a stage of hybrid blocks and one of an overlapping block; it ends in the transition after it, or in the neck."""
    depths = _depths(shapes)

    def name(theirs: str) -> str | None:
        if BUFFERS.fullmatch(theirs):
            return None
        if match := INSIDE.fullmatch(theirs):
            group = int(match[1])
            at = sum(depths[:group]) + group + int(match[2] or depths[group])
            inside = "attn." if match[2] is None and not match[3].startswith(OF_THE_BLOCK) else ""
            return f"blocks.{at}.{inside}{match[3]}"
        if match := END.fullmatch(theirs):
            following = int(match[1]) + 1
            return (
                f"transitions.{2 * following}.{match[2]}"
                if following < len(depths)
                else f"neck.group.{match[2]}"
            )
        if theirs.startswith("conv_first."):
            return f"patch_embed.{theirs}"
        return theirs if theirs.startswith("patch_embed.") else f"neck.{theirs}"

    return name


def from_weights(weights: Weights) -> Keys:
    """Names show the groups, tables the heads and windows, convolutions the upsampler."""
    depths = _depths(weights.original_names.values())
    width, channels, *_ = weights.shape("patch_embed.conv_first.weight", 4)
    area, _ = weights.shape(f"blocks.0.attn.{TABLE}", 2)
    window = (_side(weights, area) + 1) // 2
    size = -(-SIZE_OF_TILES // window) * window
    weights.notes.append(
        f"The image size, {size}, is that of the published models' training. The weights take any: --image-size takes that of your tiles."
    )
    return {
        "image_size": size,
        "in_chans": channels,
        "patch_size": 1,
        "patch_embed": PIXELS,
        "pos_embed": "none",
        "neck": NECK,
        "upscale": shuffled(weights),
        "out_chans": weights.shape("neck.conv_last.weight", 4)[0],
        "stages": [
            stage for group in range(len(depths)) for stage in _group(weights, depths, group, width, window)
        ],
    }


def _group(weights: Weights, depths: list[int], group: int, width: int, window: int) -> list[Keys]:
    """The stages of a group."""
    first = sum(depths[:group]) + group
    last = first + depths[group]
    narrow = weights.shape(f"blocks.{first}.conv_block.cab.0.weight", 4)[0]
    squeezed = weights.shape(f"blocks.{first}.conv_block.cab.3.attention.1.weight", 4)[0]
    area = weights.shape(f"blocks.{last}.attn.{TABLE}", 2)[0]
    overlap = _side(weights, area) + 1 - 2 * window
    common = {"embed_dim": width, "window_size": window}
    hybrid = _of_block(weights, first) | {
        "compress_ratio": width // narrow,
        "squeeze_factor": width // squeezed,
    }
    far = _of_block(weights, last) | {"overlap_ratio": ratio_of(overlap, window)}
    begins: Keys = {"transition": GROUP} if group else {}
    return [
        {"block": HYBRID, "depth": depths[group], **common, **hybrid, **begins},
        {"block": OVERLAPPING, "depth": 1, **common, **far},
    ]


def _of_block(weights: Weights, index: int) -> Keys:
    """Heads, MLP and biases of a block."""
    hidden, width = weights.shape(f"blocks.{index}.mlp.fc1.weight", 2)
    return {
        "num_heads": weights.shape(f"blocks.{index}.attn.{TABLE}", 2)[1],
        "mlp_ratio": ratio_of(hidden, width),
        "qkv_bias": f"blocks.{index}.attn.qkv.bias" in weights,
    }


def _side(weights: Weights, area: int) -> int:
    side = square_side(area)
    if not side:
        raise weights.error("not-in-shapes", "its weights do not show the window: write the config by hand")
    return side


CHECKPOINTS = (CheckpointKind(is_hat, names, from_weights),)
