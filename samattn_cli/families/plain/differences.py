"""What vision transformers with timm's names have that samattn's plain blocks do not, by the weights that show it.

Source: timm 1.0.31, models/vision_transformer.py and models/deit.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

Shapes = Mapping[str, tuple[int, ...]]
"""Name to shape of each weight."""

BLOCK = "blocks.0."
OF_A_VIT = {"patch_embed.proj.weight", f"{BLOCK}attn.qkv.weight", f"{BLOCK}norm1.weight"}
"""Every vision transformer with timm's names has these."""
OF_OTHERS = {f"{BLOCK}attn.rel_pos_h", "neck.0.weight"}
"""Encoders of SAM and ViTDet have these."""
BACKBONE = "patch_embed.backbone."
"""How the names in a hybrid's convolutional network begin."""
ROTARY = "rope."
"""How the names in timm's module of rotary positions begin, which may have no weights."""

FIRST_BLOCK, BLOCK_OF_A_VIT = "blocks.0", "Block"
"""The first block, and the class that a ViT's has in timm."""
BLOCKS = {
    "ResPostBlock": "norms after attention and MLP in place of before",
    "ParallelScalingBlock": "blocks whose attention and MLP run side by side",
    "DiffParallelScalingBlock": "blocks whose differential attention and MLP run side by side",
    "ParallelThingsBlock": "blocks of several attentions and MLPs side by side",
}
"""What blocks of other classes have."""

SHOWN = {
    "shared_rel_pos.mlp.fc1.weight": "relative positions by an MLP",
    f"{BLOCK}attn.rel_pos.mlp.fc1.weight": "relative positions by an MLP",
    f"{BLOCK}attn.rel_pos.relative_position_bias_table": "biases of relative positions",
    f"{BLOCK}attn.q_norm.weight": "norms of queries and keys",
    f"{BLOCK}attn.norm.weight": "a norm of the attended values",
    f"{BLOCK}mlp.norm.weight": "a norm in the MLP",
    f"{BLOCK}attn.lambda_q1": "differential attention",
}
"""What a weight shows."""


def differences(shapes: Shapes, attributes: Mapping[str, Any]) -> list[str]:
    """What a vision transformer has that neither ViT nor CLIP has, in words; empty for those and for other models.

    Args:
        shapes: name to shape, without a prefix.
        attributes: those of a timm model's modules.
    """
    if (kind := attributes.get(FIRST_BLOCK, "")) in BLOCKS:
        return [BLOCKS[kind]]
    if not shapes.keys() >= OF_A_VIT or shapes.keys() & OF_OTHERS or has_several_widths(shapes):
        return []
    return [
        *_of_patches(shapes),
        *([] if is_rotary(shapes) and has_its_angles(attributes) else _of_positions(shapes, attributes)),
        *(what for name, what in SHOWN.items() if name in shapes),
        *_of_block(attributes.get(FIRST_BLOCK, BLOCK_OF_A_VIT), is_rotary(shapes)),
    ]


def is_rotary(shapes: Shapes) -> bool:
    """Whether it has the weights of DINOv3: tokens in front, no positions, and scales and biases as timm's EVA names them."""
    has_scales = {"cls_token", "reg_token", f"{BLOCK}gamma_1", f"{BLOCK}gamma_2"} <= shapes.keys()
    return has_scales and "pos_embed" not in shapes and not any(name.startswith(ROTARY) for name in shapes)


def has_its_angles(attributes: Mapping[str, Any]) -> bool:
    """Whether the rotary positions of a timm model, if it is one, are those of DINOv3."""
    return not attributes or attributes.get("rope") == "RotaryEmbeddingDinoV3"


def _of_positions(shapes: Shapes, attributes: Mapping[str, Any]) -> Iterator[str]:
    if "pos_embed" not in shapes:
        yield "no learned positions"
    if any(name.startswith(ROTARY) for name in (*shapes, *attributes)):
        yield "rotary positions"


def _of_block(kind: str, of_dinov3: bool) -> Iterator[str]:
    """Its class, in a timm model: norms at the end of each branch have the names of those at its begin."""
    if kind not in ({BLOCK_OF_A_VIT, "EvaBlock"} if of_dinov3 else {BLOCK_OF_A_VIT}):
        yield f"blocks of class {kind}"


def has_several_widths(shapes: Shapes) -> bool:
    """Whether it is a hierarchical model, such as Hiera."""
    norms = {shape for name, shape in shapes.items() if re.fullmatch(r"blocks\.\d+\.norm1\.weight", name)}
    return len(norms) > 1


def _of_patches(shapes: Shapes) -> Iterator[str]:
    if any(name.startswith(BACKBONE) for name in shapes):
        yield "a convolutional network before the patches"
