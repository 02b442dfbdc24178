"""ViT and MAE: transformers' ViTConfig and ViTMAEConfig; checkpoints with timm's names, which MAE uses too.

Sources: transformers, models/vit and models/vit_mae, configuration and modeling files; timm,
models/vision_transformer.py; facebookresearch/mae, models_mae.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from ...importing.checkpoint import Shapes
from ...importing.description import Description, Keys, Size, as_size, ratio_of
from ...importing.published_models import published_models
from ...importing.weights import CheckpointKind, Weights, renamer, square_side
from .differences import differences

DEFAULTS = {
    "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072,
    "image_size": 224, "patch_size": 16, "num_channels": 3, "qkv_bias": True,
}  # fmt: skip
DECODERS_DEFAULTS = {
    "decoder_num_attention_heads": 16, "decoder_hidden_size": 512, "decoder_num_hidden_layers": 8,
    "decoder_intermediate_size": 2048, "mask_ratio": 0.75,
}  # fmt: skip
PUBLISHED_MASK_RATIO = DECODERS_DEFAULTS["mask_ratio"]

DECODERS_BLOCK = re.compile(r"decoder_blocks\.([0-9]{1,4})\.(.*)")
DECODER = "transitions.1.decoder_embed.weight"

ACTIVATIONS = {"GELU": "plain", "QuickGELU": "clip"}
"""The kind of block by the class of its activation; of timm's models only, since weights do not show it."""


def from_vit(description: Description) -> Keys:
    """A ViTConfig; its head and pooler are not parts of the encoder."""
    description = description.with_defaults(**DEFAULTS)
    return {**_image(description), **_stage(description), "pos_embed": "class_token", "norm": True}


def from_mae(description: Description) -> Keys:
    """A ViTMAEConfig: encoder and decoder as in pretraining, unless `architectures` says that it is only the encoder."""
    description = description.with_defaults(**DEFAULTS, **DECODERS_DEFAULTS)
    description.expect("architectures", ["ViTMAEForPreTraining"], ["ViTMAEModel"])
    image, masking = _image(description), {"pos_embed": "mae", "mask_ratio": description.number("mask_ratio")}
    if description.entries.get("architectures") == ["ViTMAEModel"]:
        return {**image, **_stage(description), **masking, "norm": True}
    decoder = {"transition": "mae_decoder", **_stage(description, "decoder_")}
    return {
        **image,
        **masking,
        "stages": [_stage(description), decoder],
        "neck": "mae_pred",
        "run": {"mode": "training"},
    }


def _image(description: Description) -> Keys:
    description.expect("hidden_act", "gelu")
    description.ignore("hidden_dropout_prob", "attention_probs_dropout_prob")
    return {
        "image_size": description.size("image_size"),
        "in_chans": description.integer("num_channels"),
        "patch_size": description.side("patch_size"),
    }


def _stage(description: Description, part: str = "") -> Keys:
    """The blocks; `part` is the prefix of the decoder's entries."""
    width = description.integer(f"{part}hidden_size")
    return {
        "block": "plain",
        "embed_dim": width,
        "depth": description.integer(f"{part}num_hidden_layers"),
        "num_heads": description.integer(f"{part}num_attention_heads"),
        "mlp_ratio": ratio_of(description.integer(f"{part}intermediate_size"), width),
        "qkv_bias": description.flag("qkv_bias"),
    }


def is_plain(shapes: Shapes) -> bool:
    """Whether it has a class token, a sequence of position embeddings, and blocks with timm's names."""
    return {"cls_token", "pos_embed", "blocks.0.attn.qkv.weight", "blocks.0.mlp.fc1.weight"} <= shapes.keys()


def names(shapes: Shapes) -> Callable[[str], str | None]:
    """MAE's decoder is the second stage; the norm of the encoder's output is part of the transition to it."""
    depth = Weights("", shapes).count("blocks.{}.attn.qkv.weight")
    common = [
        (r"(pos_embed|cls_token)", r"pos_embed.\1"),
        (r"norm_pre\.(.*)", r"pre_norm.\1"),
        (r"(head|fc_norm|head_drop)\..*", None),
    ]
    if "decoder_embed.weight" not in shapes:
        return renamer(*common)
    name_of = renamer(
        *common,
        (r"(norm\..*|decoder_embed\..*|mask_token|decoder_pos_embed)", r"transitions.1.\1"),
        (r"(decoder_norm|decoder_pred)(\..*)", r"neck.\1\2"),
    )

    def name(theirs: str) -> str | None:
        if match := DECODERS_BLOCK.fullmatch(theirs):
            return f"blocks.{depth + int(match[1])}.{match[2]}"
        return name_of(theirs)

    return name


def from_weights(weights: Weights) -> Keys:
    """The image is a square; the heads are those of published models with the same width."""
    patch = weights.square("patch_embed.proj.weight")
    image = {
        "image_size": _image_size(weights, patch),
        "in_chans": weights.shape("patch_embed.proj.weight", 4)[1],
        "patch_size": patch,
    }
    depth = weights.count_at_least_one("blocks.{}.attn.qkv.weight")
    if DECODER in weights:
        names_of_blocks = [
            weights.original_names[f"blocks.{index}.attn.qkv.weight"] for index in range(depth)
        ]
        first = sum(not DECODERS_BLOCK.search(name) for name in names_of_blocks)
        weights.notes.append(
            f"Weights do not show mask_ratio: {PUBLISHED_MASK_RATIO} is that of the published models."
        )
        return {
            **image,
            "pos_embed": "mae",
            "mask_ratio": PUBLISHED_MASK_RATIO,
            "stages": [
                _stage_of(weights, 0, first),
                {"transition": "mae_decoder", **_stage_of(weights, first, depth)},
            ],
            "neck": "mae_pred",
            "run": {"mode": "training"},
        }
    has_norm = "norm.weight" in weights
    ends = {"pos_embed": "class_token", **_clips(weights), "norm": has_norm}
    return {**image, **_stage_of(weights, 0, depth), **ends}


def _clips(weights: Weights) -> Keys:
    """What CLIP's vision transformers have and others do not: patches without a bias, a norm before the blocks."""
    patches = {} if "patch_embed.proj.bias" in weights else {"patch_embed": "patch_no_bias"}
    return patches | ({"pre_norm": True} if "pre_norm.weight" in weights else {})


def _image_size(weights: Weights, patch: int) -> Size:
    if (size := weights.attributes.get("patch_embed.img_size")) is not None:
        return as_size(size)
    _, vectors, _ = weights.shape("pos_embed.pos_embed", 3)
    side = square_side(vectors - 1)
    if side is None:
        raise weights.error(
            "unsupported-model",
            f"has {vectors} position embeddings, which is not a class token and a square grid",
        )
    return side * patch


def _stage_of(weights: Weights, first: int, end: int) -> Keys:
    (width,), (hidden, _) = (
        weights.shape(f"blocks.{first}.norm1.weight", 1),
        weights.shape(f"blocks.{first}.mlp.fc1.weight", 2),
    )
    return {
        "block": ACTIVATIONS[weights.attributes.get(f"blocks.{first}.mlp.act", "GELU")],
        "embed_dim": width,
        "depth": end - first,
        "num_heads": _heads(weights, first, width),
        "mlp_ratio": ratio_of(hidden, width),
        "qkv_bias": f"blocks.{first}.attn.qkv.bias" in weights,
    }


def _heads(weights: Weights, first: int, width: int) -> int:
    if (num_heads := weights.attributes.get(f"blocks.{first}.attn.num_heads")) is not None:
        return int(num_heads)
    heads = {
        stage.embed_dim: stage.num_heads
        for config in published_models("plain")
        for stage in config.stages
        if (stage is not config.stages[0]) == (first > 0)
    }
    if width not in heads:
        known = ", ".join(map(str, sorted(heads)))
        raise weights.error(
            "not-in-shapes",
            f"shapes do not show the number of heads, and no published model has width {width}, only {known}: write the "
            "config by hand (`samattn configs --show vit_b`)",
        )
    if not weights.notes:
        weights.notes.append("Weights do not show the number of heads: it is that of the published models.")
    return heads[width]


HUGGING_FACE = {"vit": from_vit, "vit_mae": from_mae}
CHECKPOINTS = (CheckpointKind(is_plain, names, from_weights, tuple(ACTIVATIONS), differences),)
