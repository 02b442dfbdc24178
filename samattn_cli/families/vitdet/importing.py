"""ViTDet: transformers' VitDetConfig, and checkpoints of detectron2.

Sources: transformers, models/vitdet/configuration_vitdet.py and modeling_vitdet.py; detectron2, modeling/backbone/vit.py.
"""

from __future__ import annotations

from collections.abc import Callable

from ...errors import Message
from ...importing.checkpoint import Shapes
from ...importing.description import Description, Keys, as_size, grid_of, ratio_of
from ...importing.weights import CheckpointKind, Weights, renamer, square_side

BACKBONE = "backbone."
"""Prefix of the backbone's weights in a checkpoint of a whole detector."""
ENCODER = "net."
"""Prefix of the encoder's weights in a backbone that has a feature pyramid next to it."""

RESIDUAL = "blocks.{}.residual.conv1.weight"


def from_config(description: Description) -> Keys:
    """A VitDetConfig, which lists the windowed blocks."""
    description = description.with_defaults(
        hidden_size=768, num_hidden_layers=12, num_attention_heads=12, mlp_ratio=4, image_size=224,
        pretrain_image_size=224, patch_size=16, num_channels=3, qkv_bias=True, window_block_indices=[],
        residual_block_indices=[], use_absolute_position_embeddings=True, use_relative_position_embeddings=False,
        window_size=0,
    )  # fmt: skip
    description.expect("hidden_act", "gelu")
    description.ignore("dropout_prob", "drop_path_rate")
    image, patch = description.size("image_size"), description.side("patch_size")
    keys = {
        "image_size": image,
        "in_chans": description.integer("num_channels"),
        "patch_size": patch,
        "block": "vitdet",
        "embed_dim": description.integer("hidden_size"),
        "depth": description.integer("num_hidden_layers"),
        "num_heads": description.integer("num_attention_heads"),
        "mlp_ratio": description.number("mlp_ratio"),
        "qkv_bias": description.flag("qkv_bias"),
        **_positions(description),
    }
    if description.flag("use_relative_position_embeddings"):
        keys |= {"rel_pos": "decomposed", "rel_pos_grid": grid_of(image, patch)}
    return keys | _placement(description)


def _positions(description: Description) -> Keys:
    if not description.flag("use_absolute_position_embeddings"):
        return {"pos_embed": "none"}
    return {"pos_embed": "pretrained", "pretrain_image_size": description.side("pretrain_image_size")}


def _placement(description: Description) -> Keys:
    windowed, window = description.integers("window_block_indices"), description.size("window_size")
    blocks = range(description.integer("num_hidden_layers"))
    keys: Keys = {"window_size": window if windowed else 0}
    if windowed and window:
        keys["global_attn_indexes"] = [index for index in blocks if index not in windowed]
    return keys | {"residual_block_indexes": description.integers("residual_block_indices")}


def is_vitdet(shapes: Shapes) -> bool:
    """Whether it is detectron2's ViT: blocks with tables, a sequence of position embeddings, and not SAM's neck."""
    name_of = names(shapes)
    found = {name_of(name): shape for name, shape in shapes.items()}
    positions = found.get("pos_embed.pos_embed", ())
    return (
        len(positions) == len("1NC") and "blocks.0.attn.rel_pos_h" in found and "neck.0.weight" not in found
    )


def names(shapes: Shapes) -> Callable[[str], str | None]:
    """Names of the backbone's weights only."""
    is_detector = any(name.startswith(BACKBONE) for name in shapes)
    prefix = BACKBONE if is_detector else ""
    return renamer(
        (rf"(?!{prefix}).*", None),
        (rf"{prefix}(?:{ENCODER})?pos_embed", "pos_embed.pos_embed"),
        (rf"{prefix}(simfp_.*)", r"neck.\1"),
        (rf"{prefix}(?:{ENCODER})?(blocks\.\d+\.mlp\.)fc(\d\..*)", r"\1lin\2"),
        (rf"{prefix}(?:{ENCODER})?(.*)", r"\1"),
    )


def from_weights(weights: Weights) -> Keys:
    """In global blocks, the tables of relative positions have the size of the image's grid."""
    width, in_chans, *_ = weights.shape("patch_embed.proj.weight", 4)
    patch, depth = (
        weights.square("patch_embed.proj.weight"),
        weights.count_at_least_one("blocks.{}.attn.qkv.weight"),
    )
    tables = [
        tuple((weights.shape(f"blocks.{index}.attn.rel_pos_{axis}", 2)[0] + 1) // 2 for axis in "hw")
        for index in range(depth)
    ]
    window, grid = min(tables), max(tables)
    hidden, _ = weights.shape("blocks.0.mlp.lin1.weight", 2)
    if len(set(tables)) != len({window, grid}) or grid == window:
        raise weights.error(
            "unsupported-model",
            "its tables of relative positions are not those of one window and one image size",
        )
    weights.notes.append("The image size is read from the tables of relative positions in global blocks.")
    return {
        "image_size": as_size([side * patch for side in grid]),
        "in_chans": in_chans,
        "patch_size": patch,
        "block": "vitdet",
        "embed_dim": width,
        "depth": depth,
        "num_heads": width // weights.shape("blocks.0.attn.rel_pos_h", 2)[1],
        "mlp_ratio": ratio_of(hidden, width),
        "qkv_bias": "blocks.0.attn.qkv.bias" in weights,
        **pretrained(weights, patch),
        "rel_pos": "decomposed",
        "rel_pos_grid": as_size(grid),
        "window_size": as_size(window),
        "global_attn_indexes": [index for index, table in enumerate(tables) if table == grid],
        "residual_block_indexes": [index for index in range(depth) if RESIDUAL.format(index) in weights],
        **neck(weights),
    }


def pretrained(weights: Weights, patch: int) -> Keys:
    """The position embeddings: a class token's, and those of a square."""
    _, vectors, _ = weights.shape("pos_embed.pos_embed", 3)
    side = square_side(vectors - 1)
    if side is None:
        raise weights.error(
            "unsupported-model",
            f"has {vectors} position embeddings, which is not a class token and a square grid",
        )
    return {"pos_embed": "pretrained", "pretrain_image_size": side * patch}


def neck(weights: Weights) -> Keys:
    """The feature pyramid, if its weights are there."""
    if "neck.simfp_4.0.weight" not in weights:
        if any(f"{BACKBONE}{ENCODER}" in name for name in weights.original_names.values()):
            weights.warnings.append(
                Message(
                    "missing-pyramid",
                    "The backbone has a feature pyramid, but its weights are missing: the config has no neck.",
                )
            )
        return {}
    return {"neck": "simple_fpn", "out_chans": weights.shape("neck.simfp_4.0.weight", 4)[0]}


HUGGING_FACE = {"vitdet": from_config}
EAGER_ONLY = ("vitdet",)
CHECKPOINTS = (CheckpointKind(is_vitdet, names, from_weights),)
