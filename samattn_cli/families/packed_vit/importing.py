"""MiniCPM-V 4.6's and Muse Glimmer's vision encoders: their config.json of transformers, and checkpoints with its names.

Source: transformers 5.23.0, models/minicpmv4_6 and models/muse_glimmer, configuration and modeling files.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...errors import ImportFailedError
from ...importing.checkpoint import Shapes
from ...importing.description import Description, Keys, ratio_of
from ...importing.published_models import published_models
from ...importing.weights import CheckpointKind, Weights, renamer, square_side
from .words import MERGER, MINICPM, MUSE, SHUFFLE, SIDE

FRAMES, CHANNELS = 2, 3
ACTIVATIONS: dict[str, Keys] = {"gelu_pytorch_tanh": {"mlp": "gelu_tanh"}, "gelu": {}}
OF_MUSE: dict[str, Keys] = {"gelu": {}, "gelu_pytorch_tanh": {"mlp": "gelu_tanh"}}
THETA = 10_000
ANY_SIZE = "The model takes images of any size: change image_size to yours."


def from_minicpm(description: Description) -> Keys:
    """A MiniCPMV4_6Config, which says after which block its vision part has a merger, and how large images are."""
    description = description.with_defaults(insert_layer_id=6, image_size=448)
    inner = description.inner("vision_config", f"{MINICPM.replace('_', '')}4_6_vision")
    inner.entries["insert_layer_id"] = description.integer("insert_layer_id", 0)
    description.expect("drop_vision_last_layer", False)
    description.notes.append("Its merger, which leads into the language model, is left out.")
    return {**from_minicpm_vision(inner), "image_size": description.size("image_size")}


def from_minicpm_vision(description: Description) -> Keys:
    """A MiniCPMV4_6VisionConfig."""
    description = description.with_defaults(
        hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, num_channels=3,
        image_size=224, patch_size=16, insert_layer_id=6, window_kernel_size=[SIDE, SIDE],
    )  # fmt: skip
    description.expect("window_kernel_size", [SIDE, SIDE])
    description.ignore("attention_dropout")
    act = description.choice("hidden_act", ACTIVATIONS)
    width, depth = description.integer("hidden_size"), description.integer("num_hidden_layers")
    first = description.integer("insert_layer_id", 0) + 1
    stage: Keys = {
        "block": MINICPM,
        **act,
        "embed_dim": width,
        "num_heads": description.integer("num_attention_heads"),
        "mlp_ratio": ratio_of(description.integer("intermediate_size"), width),
    }
    if first >= depth:
        message = f"{description.label}: samattn cannot express a merger after the last block: insert_layer_id {first - 1}"
        raise ImportFailedError("unsupported-model", message)
    size = description.size("image_size")
    description.notes.append(ANY_SIZE)
    return {
        "image_size": size,
        "in_chans": description.integer("num_channels"),
        "patch_size": description.side("patch_size"),
        **_minicpm(size, stage, first, depth),
    }


def _minicpm(pretrained: Any, stage: Keys, first: int, depth: int) -> Keys:
    """Keys of every MiniCPM: positions of an image size, and a merger after the `first` of its blocks."""
    return {
        "patch_embed": MINICPM,
        "pos_embed": MINICPM,
        "pretrain_image_size": pretrained,
        "stages": [{**stage, "depth": first}, {"transition": MERGER, **stage, "depth": depth - first}],
        "norm": True,
    }


def from_muse(description: Description) -> Keys:
    """A MuseGlimmerConfig."""
    description.notes.append("Its adapter, which leads into the language model, is left out.")
    return from_muse_vision(description.inner("vision_config", f"{MUSE}_vision"))


def from_muse_vision(description: Description) -> Keys:
    """A MuseGlimmerVisionConfig, whose windows are as large as the grid of its positions."""
    description = description.with_defaults(
        patch_size=14, pos_emb_height=32, pos_emb_width=32, num_attention_heads=16, num_hidden_layers=50,
        hidden_size=1536, intermediate_size=8960, merge_size=SIDE, patch_temporal=FRAMES,
    )  # fmt: skip
    description.expect("merge_size", SIDE)
    description.expect("patch_temporal", FRAMES)
    act = description.choice("hidden_act", OF_MUSE)
    side, patch = description.integer("pos_emb_height"), description.side("patch_size")
    description.expect("pos_emb_width", side)
    _check_angles(description)
    width, depth = description.integer("hidden_size"), description.integer("num_hidden_layers")
    kinds = _kinds(description, depth)
    return {
        **_muse(patch, side),
        **act,
        "embed_dim": width,
        "depth": depth,
        "num_heads": description.integer("num_attention_heads"),
        "mlp_ratio": ratio_of(description.integer("intermediate_size"), width),
        "global_attn_indexes": [index for index, kind in enumerate(kinds) if kind == "full_attention"],
        "neck": SHUFFLE,
    }


def _muse(patch: int, side: int) -> Keys:
    """What follows from the patches and the grid of positions; images are two windows a side."""
    return {
        "image_size": 2 * side * patch,
        "in_chans": CHANNELS,
        "patch_size": patch,
        "patch_embed": MUSE,
        "pos_embed": MUSE,
        "pretrain_image_size": side * patch,
        "block": MUSE,
        "window_size": side,
    }


def _check_angles(description: Description) -> None:
    """The rotary positions have no other base than the default one."""
    angles = description.inner("rope_parameters")
    angles.expect("rope_type", "axial")
    angles.expect("rope_theta", THETA, float(THETA))
    description.notes.append(ANY_SIZE)


def global_by_default(depth: int) -> list[int]:
    """Every fourth block, and the last."""
    return [index for index in range(depth) if index % 4 == 3 or index == depth - 1]  # noqa: PLR2004 - as in the model


def _kinds(description: Description, depth: int) -> list[str]:
    """The layer_types: "full_attention" or "window_attention" of each block."""
    description.read.add("layer_types")
    kinds = description.entries.get("layer_types")
    if kinds is None:
        all_of = set(global_by_default(depth))
        return ["full_attention" if index in all_of else "window_attention" for index in range(depth)]
    if (
        not isinstance(kinds, list)
        or len(kinds) != depth
        or {*kinds} - {"full_attention", "window_attention"}
    ):
        raise description.wrong("layer_types", f"a list of {depth} of full_attention and window_attention")
    return kinds


BLOCK_OF_MINICPM, BLOCK_OF_MUSE = "encoder.layers.0.self_attn.q_proj.weight", "layers.0.attn.q_proj.weight"
IN_MERGER = "vit_merger.self_attn.q_proj.weight"


def is_minicpm(shapes: Shapes) -> bool:
    """Whether it has MiniCPM-V's blocks and its merger."""
    return shapes.keys() >= {BLOCK_OF_MINICPM, IN_MERGER}


def is_muse(shapes: Shapes) -> bool:
    """Whether it has Muse Glimmer's blocks and its table of positions."""
    return shapes.keys() >= {BLOCK_OF_MUSE, "patch_embedder.position_embedding_table.weight"}


def minicpm_names(_shapes: Shapes) -> Callable[[str], str | None]:
    """Samattn's names."""
    return renamer(
        (r"embeddings\.patch_embedding\.(.*)", r"patch_embed.proj.\1"),
        (r"embeddings\.(position_embedding\..*)", r"pos_embed.\1"),
        (r"encoder\.layers\.(\d+)\.layer_norm([12])\.(.*)", r"blocks.\1.norm\2.\3"),
        (r"encoder\.layers\.(\d+)\.self_attn\.out_proj\.(.*)", r"blocks.\1.attn.proj.\2"),
        (r"encoder\.layers\.(\d+)\.self_attn\.(.*)", r"blocks.\1.attn.\2"),
        (r"encoder\.layers\.(\d+)\.(.*)", r"blocks.\1.\2"),
        (r"post_layernorm\.(.*)", r"norm.\1"),
        (r"vit_merger\.layer_norm1\.(.*)", r"transitions.1.norm1.\1"),
        (r"vit_merger\.self_attn\.out_proj\.(.*)", r"transitions.1.attn.proj.\1"),
        (r"vit_merger\.self_attn\.(.*)", r"transitions.1.attn.\1"),
        (r"vit_merger\.(.*)", r"transitions.1.\1"),
    )


def muse_names(_shapes: Shapes) -> Callable[[str], str | None]:
    """Samattn's names."""
    return renamer(
        (r"patch_embedder\.patch_embedding\.(.*)", r"patch_embed.proj.\1"),
        (r"patch_embedder\.position_embedding_table\.(.*)", r"pos_embed.position_embedding.\1"),
        (r"ln_pre\.(.*)", r"pos_embed.ln_pre.\1"),
        (r"ln_post\.(.*)", r"neck.ln_post.\1"),
        (r"layers\.(.*)", r"blocks.\1"),
        (r"rotary_emb\..*", None),
    )


def minicpm_weights(weights: Weights) -> Keys:
    """Where the merger is does not show: it is where that of the published model is."""
    patch = weights.square("patch_embed.proj.weight")
    side = patch * _side_of_positions(weights)
    depth = weights.count_at_least_one("blocks.{}.norm1.weight")
    published = next(published_models(MINICPM))
    first = published.stages[0].depth
    if depth <= first:
        raise weights.missing(f"blocks.{first}.norm1.weight")
    weights.notes.append(
        f"Weights do not show heads and after which block the merger comes: these are those of {published.name}."
    )
    stage: Keys = {
        "block": MINICPM,
        "mlp": "gelu_tanh",
        **_stage(weights, published.stages[0].num_heads, published.stages[0].embed_dim),
    }
    return {
        "image_size": side,
        "in_chans": weights.shape("patch_embed.proj.weight", 4)[1],
        "patch_size": patch,
        **_minicpm(side, stage, first, depth),
    }


def muse_weights(weights: Weights) -> Keys:
    """Which blocks are global does not show: they are those by default."""
    (numbers,) = weights.shape("patch_embed.proj.weight", 2)[1:]
    patch, side = square_side(numbers // (FRAMES * CHANNELS)) or 0, _side_of_positions(weights)
    depth = weights.count_at_least_one("blocks.{}.norm1.weight")
    published = next(published_models(MUSE))
    weights.notes.append(
        f"Weights do not show heads and global blocks: the heads are as wide as those of {published.name}, and every fourth "
        "block and the last are global."
    )
    return {
        **_muse(patch, side),
        **_stage(weights, published.stages[0].num_heads, published.stages[0].embed_dim),
        "depth": depth,
        "global_attn_indexes": global_by_default(depth),
        "neck": SHUFFLE,
    }


def _stage(weights: Weights, heads: int, of_width: int) -> Keys:
    """Width, MLP, and heads as wide as those of a published model."""
    (width,) = weights.shape("blocks.0.norm1.weight", 1)
    hidden, _ = weights.shape("blocks.0.mlp.fc1.weight", 2)
    return {
        "embed_dim": width,
        "num_heads": max(1, width * heads // of_width),
        "mlp_ratio": ratio_of(hidden, width),
    }


def _side_of_positions(weights: Weights) -> int:
    """The side of the square of learned positions.

    Raises:
        ImportFailedError: if they are not a square.
    """
    name = "pos_embed.position_embedding.weight"
    vectors, _ = weights.shape(name, 2)
    if (side := square_side(vectors)) is None:
        raise weights.error(
            "unsupported-model", f"has {vectors} position embeddings, which is not a square grid"
        )
    return side


HUGGING_FACE = {
    "minicpmv4_6": from_minicpm,
    "minicpmv4_6_vision": from_minicpm_vision,
    "muse_glimmer": from_muse,
    "muse_glimmer_vision": from_muse_vision,
}
CHECKPOINTS = (
    CheckpointKind(is_minicpm, minicpm_names, minicpm_weights),
    CheckpointKind(is_muse, muse_names, muse_weights),
)
