"""What vision transformers with timm's names have that samattn's plain blocks do not, by the weights that show it.

Source: timm 1.0.31, models/vision_transformer.py and models/deit.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from .axial import AXIAL, Angles

Shapes = Mapping[str, tuple[int, ...]]
"""Name to shape of each weight."""

BLOCK = "blocks.0."
OF_A_VIT = {"patch_embed.proj.weight", f"{BLOCK}attn.qkv.weight", f"{BLOCK}norm1.weight"}
"""Every vision transformer with timm's names has these."""
OF_EVA02 = {*OF_A_VIT, f"{BLOCK}attn.q_proj.weight", f"{BLOCK}mlp.fc2.weight"} - {f"{BLOCK}attn.qkv.weight"}
"""Those with a projection each for queries, keys and values have these."""
OF_OTHERS = {f"{BLOCK}attn.rel_pos_h", "neck.0.weight"}
"""Encoders of SAM and ViTDet have these."""
BACKBONE = "patch_embed.backbone."
"""How the names in a hybrid's convolutional network begin."""
ROTARY = "rope."
"""How the names in timm's module of rotary positions begin, which may have no weights."""
LEARNED = "rope.freqs"
"""The frequencies of rope-vit's mixed rotary positions."""

FIRST_BLOCK, BLOCK_OF_A_VIT, OF_EVA = "blocks.0", "Block", "EvaBlock"
"""The first block, and the classes that a ViT's and an EVA's have in timm."""
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
    if not has_blocks(shapes) or shapes.keys() & OF_OTHERS or has_several_widths(shapes):
        return []
    turns = bool(rotary_block(attributes)) or (not attributes and is_rotary(shapes))
    return [
        *_of_patches(shapes),
        *([] if turns else _of_positions(shapes, attributes)),
        *(what for name, what in SHOWN.items() if name in shapes),
        *_of_norms(shapes),
        *_of_block(attributes.get(FIRST_BLOCK, BLOCK_OF_A_VIT), may_turn=turns or "rope" in attributes),
    ]


def has_blocks(shapes: Shapes) -> bool:
    """Whether it has a ViT's blocks by timm's names."""
    return shapes.keys() >= OF_A_VIT or shapes.keys() >= OF_EVA02


def _of_norms(shapes: Shapes) -> Iterator[str]:
    """EVA-02 has a norm in the MLP, and its CLIP one in the attention, where it has a projection each for queries, keys and values."""
    if f"{BLOCK}attn.norm.weight" in shapes and not shapes.keys() >= OF_EVA02:
        yield "a norm of the attended values"
    is_apart, is_normed = shapes.keys() >= OF_EVA02, f"{BLOCK}mlp.norm.weight" in shapes
    if is_normed and not is_apart:
        yield "a norm in the MLP"
    elif is_apart and not is_normed:
        yield "a projection each for queries, keys and values, without a norm in the MLP"


def is_rotary(shapes: Shapes) -> bool:
    """Whether it has tokens in front, no positions, and scales as timm's EVA names them: DINOv3 and rope-vit have."""
    has_scales = {f"{BLOCK}gamma_1", f"{BLOCK}gamma_2"} <= shapes.keys()
    has_tokens = bool({"cls_token", "reg_token"} & shapes.keys())
    learned = "pos_embed" in shapes or any(name.startswith(ROTARY) for name in shapes)
    return has_scales and has_tokens and not learned


def rotary_block(attributes: Mapping[str, Any]) -> str:
    """The word for blocks with the rotary positions of a timm model; "" if it has none, or others."""
    made = attributes.get("rope")
    if made == "RotaryEmbeddingDinoV3":
        return "dinov3"
    if made != "RotaryEmbeddingCat":
        return ""
    found = next((word for word, angles in AXIAL.items() if _are_of(angles, attributes)), "")
    if found != "eva" or "blocks.0.attn.q_proj.in_features" not in attributes:
        return found
    return "eva02_clip" if "blocks.0.attn.norm.normalized_shape" in attributes else "eva02"


def _are_of(angles: Angles, attributes: Mapping[str, Any]) -> bool:
    """Whether a timm model's rotary positions, biases and norms are those of a word."""
    grid, pretrained = attributes.get("rope.feat_shape"), attributes.get("rope.ref_feat_shape")
    in_front = bool(attributes.get("num_prefix_tokens"))
    return (
        attributes.get("rope.temperature") == angles.theta
        and attributes.get("rope.grid_indexing") == ("ij" if angles.rows_first else "xy")
        and attributes.get("rope.grid_offset") == int(angles.after_token and in_front)
        and (pretrained or grid) == (grid if angles.side is None else (angles.side, angles.side))
        and ("blocks.0.attn.num_kv_heads" in attributes) == angles.all_biases
        and attributes.get("blocks.0.norm1.eps") == angles.eps
    )


def _of_positions(shapes: Shapes, attributes: Mapping[str, Any]) -> Iterator[str]:
    """Without learned positions of tokens, or with rotary ones that no word has."""
    if LEARNED in shapes:
        yield "rotary positions with learned frequencies (rope.freqs)"
    elif any(name.startswith(ROTARY) for name in (*shapes, *attributes)):
        yield "rotary positions of another kind"
    elif "pos_embed" not in shapes:
        yield "no learned positions"


def _of_block(kind: str, *, may_turn: bool) -> Iterator[str]:
    """Its class, in a timm model: norms at the end of each branch have the names of those at its begin."""
    if kind == OF_EVA and not may_turn:
        yield "EVA's blocks, with biases of queries and values alone, without rotary positions"
    elif kind not in {BLOCK_OF_A_VIT, OF_EVA}:
        yield f"blocks of class {kind}"


def has_several_widths(shapes: Shapes) -> bool:
    """Whether it is a hierarchical model, such as Hiera."""
    norms = {shape for name, shape in shapes.items() if re.fullmatch(r"blocks\.\d+\.norm1\.weight", name)}
    return len(norms) > 1


def _of_patches(shapes: Shapes) -> Iterator[str]:
    if any(name.startswith(BACKBONE) for name in shapes):
        yield "a convolutional network before the patches"
