"""What vision transformers with timm's names have that samattn's plain blocks do not, by the weights that show it.

Source: timm 1.0.31, models/vision_transformer.py and models/deit.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from math import isqrt
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

SHOWN = {
    "attn_pool.latent": "attention that pools the tokens",
    "shared_rel_pos.mlp.fc1.weight": "relative positions by an MLP",
    f"{BLOCK}attn.rel_pos.mlp.fc1.weight": "relative positions by an MLP",
    f"{BLOCK}attn.rel_pos.relative_position_bias_table": "biases of relative positions",
    f"{BLOCK}attn.q_norm.weight": "norms of queries and keys",
    f"{BLOCK}attn.norm.weight": "a norm of the attended values",
    f"{BLOCK}mlp.norm.weight": "a norm in the MLP",
    f"{BLOCK}mlp.fc1_g.weight": "SwiGLU",
    f"{BLOCK}ls1.gamma": "LayerScale",
    f"{BLOCK}gamma_1": "LayerScale",
}
"""What a weight shows."""


def differences(shapes: Shapes, attributes: Mapping[str, Any]) -> list[str]:
    """What a vision transformer has that neither ViT nor CLIP has, in words; empty for those and for other models.

    Args:
        shapes: name to shape, without a prefix.
        attributes: those of a timm model's modules.
    """
    if not shapes.keys() >= OF_A_VIT or shapes.keys() & OF_OTHERS or _has_several_widths(shapes):
        return []
    return [
        *_of_tokens(shapes),
        *_of_positions(shapes, attributes.get("patch_embed.num_patches")),
        *(["rotary positions"] if any(name.startswith(ROTARY) for name in (*shapes, *attributes)) else []),
        *(what for name, what in SHOWN.items() if name in shapes),
    ]


def _has_several_widths(shapes: Shapes) -> bool:
    """Whether it is a hierarchical model, such as Hiera."""
    norms = {shape for name, shape in shapes.items() if re.fullmatch(r"blocks\.\d+\.norm1\.weight", name)}
    return len(norms) > 1


def _of_tokens(shapes: Shapes) -> Iterator[str]:
    shape = shapes.get(
        "reg_token", shapes.get("register_tokens", ())
    )  # DINOv2's own code has the second name
    if len(shape) == len("1RC"):
        yield "1 register token" if shape[1] == 1 else f"{shape[1]} register tokens"
    if "dist_token" in shapes:
        yield "a distillation token"
    if "cls_token" not in shapes:
        yield "no class token"
    if any(name.startswith(BACKBONE) for name in shapes):
        yield "a convolutional network before the patches"


def _of_positions(shapes: Shapes, patches: int | None) -> Iterator[str]:
    """A class token must have a position. Where the number of patches is not known, they are a square."""
    positions = shapes.get("pos_embed", ())
    if not positions:
        yield "no learned positions"
    elif "cls_token" in shapes and len(positions) == len("1NC"):
        only_of_patches = positions[1] == (isqrt(positions[1]) ** 2 if patches is None else patches)
        if only_of_patches:
            yield "a class token without a position"
