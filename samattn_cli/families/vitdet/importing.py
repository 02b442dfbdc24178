"""ViTDet: transformers' VitDetConfig, and checkpoints of detectron2.

Sources: transformers, models/vitdet/configuration_vitdet.py and modeling_vitdet.py; detectron2, modeling/backbone/vit.py.
"""

from __future__ import annotations

from collections.abc import Callable

from ...importing.checkpoint import Shapes
from ...importing.description import Given, Keys, one, patches, ratio_of
from ...importing.weights import Checkpoint, Weights, renamed, side_of

OF_THE_MODEL = "backbone."
OF_THE_ENCODER = "net."
"""Before the names of the encoder's weights in those of the backbone, beside which its pyramid stands."""

RESIDUAL = "blocks.{}.residual.conv1.weight"


def from_config(given: Given) -> Keys:
    """A VitDetConfig: it lists the windowed blocks."""
    given = given.with_defaults(
        hidden_size=768, num_hidden_layers=12, num_attention_heads=12, mlp_ratio=4, image_size=224,
        pretrain_image_size=224, patch_size=16, num_channels=3, qkv_bias=True, window_block_indices=[],
        residual_block_indices=[], use_absolute_position_embeddings=True, use_relative_position_embeddings=False,
        window_size=0,
    )  # fmt: skip
    given.expect("hidden_act", "gelu")
    given.leave_out("dropout_prob", "drop_path_rate")
    image, patch = given.sides("image_size"), given.side("patch_size")
    keys = {
        "image_size": image,
        "in_chans": given.whole("num_channels"),
        "patch_size": patch,
        "block": "vitdet",
        "embed_dim": given.whole("hidden_size"),
        "depth": given.whole("num_hidden_layers"),
        "num_heads": given.whole("num_attention_heads"),
        "mlp_ratio": given.number("mlp_ratio"),
        "qkv_bias": given.flag("qkv_bias"),
        **_positions(given),
    }
    if given.flag("use_relative_position_embeddings"):
        keys |= {"rel_pos": "decomposed", "rel_pos_grid": patches(image, patch)}
    return keys | _placement(given)


def _positions(given: Given) -> Keys:
    if not given.flag("use_absolute_position_embeddings"):
        return {"pos_embed": "none"}
    return {"pos_embed": "pretrained", "pretrain_image_size": given.side("pretrain_image_size")}


def _placement(given: Given) -> Keys:
    windowed, window = given.wholes("window_block_indices"), given.sides("window_size")
    blocks = range(given.whole("num_hidden_layers"))
    keys: Keys = {"window_size": window if windowed else 0}
    if windowed and window:
        keys["global_attn_indexes"] = [index for index in blocks if index not in windowed]
    return keys | {"residual_block_indexes": given.wholes("residual_block_indices")}


def is_vitdet(shapes: Shapes) -> bool:
    """detectron2's ViT: blocks with tables, positions in a sequence, and no neck of SAM's."""
    name_of = names(shapes)
    found = {name_of(name): shape for name, shape in shapes.items()}
    positions = found.get("pos_embed.pos_embed", ())
    return (
        len(positions) == len("1NC") and "blocks.0.attn.rel_pos_h" in found and "neck.0.weight" not in found
    )


def names(shapes: Shapes) -> Callable[[str], str | None]:
    """In a detector the backbone's alone."""
    in_a_model = any(name.startswith(OF_THE_MODEL) for name in shapes)
    before = OF_THE_MODEL if in_a_model else ""
    return renamed(
        (rf"(?!{before}).*", None),
        (rf"{before}(?:{OF_THE_ENCODER})?pos_embed", "pos_embed.pos_embed"),
        (rf"{before}(simfp_.*)", r"neck.\1"),
        (rf"{before}(?:{OF_THE_ENCODER})?(blocks\.\d+\.mlp\.)fc(\d\..*)", r"\1lin\2"),
        (rf"{before}(?:{OF_THE_ENCODER})?(.*)", r"\1"),
    )


def from_weights(weights: Weights) -> Keys:
    """The tables of relative positions of global blocks are made for the image's grid."""
    width, in_chans, *_ = weights.shape("patch_embed.proj.weight", 4)
    patch, depth = weights.square("patch_embed.proj.weight"), weights.some("blocks.{}.attn.qkv.weight")
    tables = [
        tuple((weights.shape(f"blocks.{index}.attn.rel_pos_{axis}", 2)[0] + 1) // 2 for axis in "hw")
        for index in range(depth)
    ]
    window, grid = min(tables), max(tables)
    hidden, _ = weights.shape("blocks.0.mlp.lin1.weight", 2)
    if len(set(tables)) != len({window, grid}) or grid == window:
        raise weights.unfit("its tables of relative positions are not of one window and one image size")
    weights.notes.append("The image size is that which the tables of its global blocks were made for.")
    return {
        "image_size": one([side * patch for side in grid]),
        "in_chans": in_chans,
        "patch_size": patch,
        "block": "vitdet",
        "embed_dim": width,
        "depth": depth,
        "num_heads": width // weights.shape("blocks.0.attn.rel_pos_h", 2)[1],
        "mlp_ratio": ratio_of(hidden, width),
        "qkv_bias": "blocks.0.attn.qkv.bias" in weights,
        **_pretrained(weights, patch),
        "rel_pos": "decomposed",
        "rel_pos_grid": one(grid),
        "window_size": one(window),
        "global_attn_indexes": [index for index, table in enumerate(tables) if table == grid],
        "residual_block_indexes": [index for index in range(depth) if RESIDUAL.format(index) in weights],
        **_neck(weights),
    }


def _pretrained(weights: Weights, patch: int) -> Keys:
    """A square of vectors, and one for a class token."""
    _, vectors, _ = weights.shape("pos_embed.pos_embed", 3)
    side = side_of(vectors - 1)
    if side is None:
        raise weights.unfit(
            f"its {vectors} position embeddings are not a class token's and those of a square"
        )
    return {"pos_embed": "pretrained", "pretrain_image_size": side * patch}


def _neck(weights: Weights) -> Keys:
    if "neck.simfp_4.0.weight" not in weights:
        if any(OF_THE_ENCODER in theirs for theirs in weights.theirs.values()):
            weights.warnings.append(
                "Its backbone has a feature pyramid, whose weights are missing: the config has no neck."
            )
        return {}
    return {"neck": "simple_fpn", "out_chans": weights.shape("neck.simfp_4.0.weight", 4)[0]}


HUGGING_FACE = {"vitdet": from_config}
EAGER_ALONE = ("vitdet",)
CHECKPOINTS = (Checkpoint(is_vitdet, names, from_weights),)
