"""SAM and MedSAM: transformers' SamVisionConfig, and checkpoints of segment-anything."""

from __future__ import annotations

from ...errors import ImportFailedError
from ..checkpoint import Shapes
from ..given import Given, Keys
from ..weights import Weights

OF_SEGMENT_ANYTHING = "image_encoder."
"""Before the names of the encoder's weights in a checkpoint of the whole model."""


def from_hugging_face(given: Given) -> Keys:
    """The vision encoder of a SamConfig, or a SamVisionConfig. Source: transformers, models/sam/configuration_sam.py."""
    if "vision_config" in given.entries:
        given = given.inner("vision_config")
    given = given.with_defaults(
        hidden_size=768, output_channels=256, num_hidden_layers=12, num_attention_heads=12, num_channels=3,
        image_size=1024, patch_size=16, qkv_bias=True, mlp_ratio=4.0, use_abs_pos=True, use_rel_pos=True,
        window_size=14, global_attn_indexes=[2, 5, 8, 11],
    )  # fmt: skip
    given.expect("hidden_act", "gelu")
    width = given.whole("hidden_size")
    ratio = given.whole("mlp_dim") / width if given.entries.get("mlp_dim") else given.number("mlp_ratio")
    return {
        "image_size": given.sides("image_size"),
        "patch_size": given.whole("patch_size"),
        "in_chans": given.whole("num_channels"),
        "embed_dim": width,
        "depth": given.whole("num_hidden_layers"),
        "num_heads": given.whole("num_attention_heads"),
        "mlp_ratio": ratio,
        "qkv_bias": given.flag("qkv_bias"),
        "pos_embed": "learned" if given.flag("use_abs_pos") else "none",
        "rel_pos": "decomposed" if given.flag("use_rel_pos") else "none",
        "window_size": given.sides("window_size"),
        "global_attn_indexes": given.wholes("global_attn_indexes"),
        "neck": "sam",
        "out_chans": given.whole("output_channels"),
    }


def from_checkpoint(shapes: Shapes) -> Keys | None:
    """segment-anything's ImageEncoderViT by the names of its weights; None if it is no such checkpoint."""
    weights = Weights(shapes).within(OF_SEGMENT_ANYTHING)
    if "neck.0.weight" not in weights or "blocks.0.attn.qkv.weight" not in weights:
        return None
    width, in_chans, patch, _ = weights.shape("patch_embed.proj.weight")
    depth = weights.count("blocks.{}.attn.qkv.weight")
    keys: Keys = {"patch_size": patch, "in_chans": in_chans, "embed_dim": width, "depth": depth}
    return {**_placement(weights, patch, depth), **keys, **_rest(weights, width)}


def _placement(weights: Weights, patch: int, depth: int) -> Keys:
    """The image's size by the positions, windows by the tables of relative ones: (2 * side - 1, head width) each."""
    if "pos_embed" not in weights or "blocks.0.attn.rel_pos_h" not in weights:
        raise ImportFailedError(
            f"{weights.label}: without position embeddings and tables of relative positions it does not say its image "
            "size and windows: write the config by hand (`samattn configs --show sam_vit_b`)"
        )
    _, height, width, _ = weights.shape("pos_embed")
    sides = [
        tuple((weights.shape(f"blocks.{i}.attn.rel_pos_{axis}")[0] + 1) // 2 for axis in "hw")
        for i in range(depth)
    ]
    windows = sorted({side for side in sides if side != (height, width)})
    if len(windows) > 1:
        raise ImportFailedError(
            f"{weights.label}: has windows of several sizes, {windows}: write the config by hand"
        )
    window = windows[0] if windows else (0, 0)
    return {
        "image_size": height * patch if height == width else [height * patch, width * patch],
        "window_size": window[0] if window[0] == window[1] else list(window),
        "global_attn_indexes": [i for i, side in enumerate(sides) if windows and side != window],
    }


def _rest(weights: Weights, width: int) -> Keys:
    return {
        "num_heads": width // weights.shape("blocks.0.attn.rel_pos_h")[1],
        "mlp_ratio": weights.shape("blocks.0.mlp.lin1.weight")[0] / width,
        "qkv_bias": "blocks.0.attn.qkv.bias" in weights,
        "pos_embed": "learned",
        "rel_pos": "decomposed",
        "neck": "sam",
        "out_chans": weights.shape("neck.0.weight")[0],
    }


HUGGING_FACE = {"sam": from_hugging_face, "sam_vision_model": from_hugging_face}
CHECKPOINTS = (from_checkpoint,)
