"""Checkpoints of DINOv2 and DINOv3 with the names of Meta's code.

Sources: facebookresearch/dinov2, dinov2/models/vision_transformer.py and layers; facebookresearch/dinov3,
dinov3/models/vision_transformer.py, dinov3/layers/attention.py (LinearKMaskedBias) and dinov3/hub/backbones.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

from ...importing.checkpoint import Shapes
from ...importing.weights import Names, Weights, renamer
from .differences import BLOCK, OF_A_VIT

SCALES, MASK_TOKEN = f"{BLOCK}ls1.gamma", "mask_token"
PERIODS = "rope_embed.periods"
"""DINOv3's, a period for each angle of a head; its angles of rows and columns turn two channels each."""
CHANNELS_OF_AN_ANGLE = 4
CHANNELS_OF_A_HEAD = 64
"""In each of DINOv2's models."""
NORM_OF_CROPS = "local_cls_norm."
BIAS_MASK = "attn.qkv.bias_mask"

PUBLISHED = frozenset({(384, 12), (768, 12), (1024, 24), (1280, 32), (1536, 40), (4096, 40)})
"""(width, depth) of the published models: ViT-S, B, L, H+, g and 7B."""


def is_dino(shapes: Shapes) -> bool:
    """Whether it has LayerScale by Meta's name, a class token, and the mask token of DINOv2 or the periods of DINOv3."""
    is_of_dino = bool(shapes.keys() & {MASK_TOKEN, PERIODS})
    return is_of_dino and shapes.keys() >= {*OF_A_VIT, SCALES, "cls_token"}


def names(shapes: Shapes) -> Callable[[str], Names]:
    """Samattn's names; a projection's bias whose keys `bias_mask` keeps at zero is split."""
    name_of = renamer(
        (r"(pos_embed|cls_token)", r"pos_embed.\1"),
        (r"(register_tokens|storage_tokens)", r"pos_embed.reg_token"),
        (r"(blocks\.\d+\.mlp)\.w12\.(.*)", r"\1.fc1.\2"),
        (r"(blocks\.\d+\.mlp)\.w1\.(.*)", r"\1.fc1_g.\2"),
        (r"(blocks\.\d+\.mlp)\.w2\.(.*)", r"\1.fc1_x.\2"),
        (r"(blocks\.\d+\.mlp)\.w3\.(.*)", r"\1.fc2.\2"),
        (r"(mask_token|rope_embed\.periods|local_cls_norm\..*|.*\.attn\.qkv\.bias_mask)", None),
        (r"(head|linear_head)\..*", None),
    )

    def name(theirs: str) -> Names:
        before, bias, _ = theirs.rpartition("qkv.bias")
        if bias and f"{theirs}_mask" in shapes:
            return f"{before}q_bias", None, f"{before}v_bias"
        return name_of(theirs)

    return name


def differences(shapes: Shapes, _attributes: Mapping[str, Any]) -> list[str]:
    """What DINOv3's code can have that samattn cannot express, in words."""
    bias = f"{BLOCK}attn.qkv.bias"
    return (
        ["biases of keys with rotary positions"]
        if {PERIODS, bias} <= shapes.keys() and f"{bias}_mask" not in shapes
        else []
    )


def heads_of(weights: Weights, width: int) -> int | None:
    """The number of heads of a model of Meta's; None if it is not one."""
    if SCALES not in weights:
        return None
    if PERIODS in weights.others:
        return width // (CHANNELS_OF_AN_ANGLE * weights.other(PERIODS, 1)[0])
    return width // CHANNELS_OF_A_HEAD if MASK_TOKEN in weights.others else None


def left_out(weights: Weights) -> None:
    """Note what only pretraining reads, and the biases of keys, which are zero."""
    if MASK_TOKEN in weights.others:
        number = prod(weights.others[MASK_TOKEN])
        weights.notes.append(
            f"Its mask_token ({number} parameters), which only pretraining reads, is left out."
        )
    if of_crops := [weights.other(name, 1) for name in weights.others if name.startswith(NORM_OF_CROPS)]:
        number = sum(width for (width,) in of_crops)
        weights.notes.append(
            f"Its local_cls_norm ({number:,} parameters), which only pretraining reads, is left out."
        )
    masks = [weights.other(name, 1) for name in weights.others if name.endswith(BIAS_MASK)]
    if masks:
        number = sum(shape[0] // 3 for shape in masks)
        weights.notes.append(
            f"Its biases of keys ({number:,} parameters), which bias_mask keeps at zero, are left out."
        )
