"""ViT and MAE: transformers' ViTConfig and ViTMAEConfig; checkpoints in timm's naming, which is MAE's too.

Sources: transformers, models/vit and models/vit_mae, configuration and modeling files; timm,
models/vision_transformer.py; facebookresearch/mae, models_mae.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from ...importing.checkpoint import Shapes
from ...importing.description import Given, Keys, Size, one, ratio_of
from ...importing.from_presets import published
from ...importing.weights import Checkpoint, Weights, renamed, side_of

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


def from_vit(given: Given) -> Keys:
    """A ViTConfig; head and pooler are not of the encoder."""
    given = given.with_defaults(**DEFAULTS)
    return {**_image(given), **_stage(given), "pos_embed": "class_token", "norm": True}


def from_mae(given: Given) -> Keys:
    """A ViTMAEConfig: the pretraining, unless it says to be of the encoder alone."""
    given = given.with_defaults(**DEFAULTS, **DECODERS_DEFAULTS)
    given.expect("architectures", ["ViTMAEForPreTraining"], ["ViTMAEModel"])
    image, masking = _image(given), {"pos_embed": "mae", "mask_ratio": given.number("mask_ratio")}
    if given.entries.get("architectures") == ["ViTMAEModel"]:
        return {**image, **_stage(given), **masking, "norm": True}
    decoder = {"transition": "mae_decoder", **_stage(given, "decoder_")}
    return {
        **image,
        **masking,
        "stages": [_stage(given), decoder],
        "neck": "mae_pred",
        "run": {"mode": "training"},
    }


def _image(given: Given) -> Keys:
    given.expect("hidden_act", "gelu")
    given.leave_out("hidden_dropout_prob", "attention_probs_dropout_prob")
    return {
        "image_size": given.sides("image_size"),
        "in_chans": given.whole("num_channels"),
        "patch_size": given.side("patch_size"),
    }


def _stage(given: Given, part: str = "") -> Keys:
    """The blocks; `part` stands before the names of the decoder's entries."""
    width = given.whole(f"{part}hidden_size")
    return {
        "block": "plain",
        "embed_dim": width,
        "depth": given.whole(f"{part}num_hidden_layers"),
        "num_heads": given.whole(f"{part}num_attention_heads"),
        "mlp_ratio": ratio_of(given.whole(f"{part}intermediate_size"), width),
        "qkv_bias": given.flag("qkv_bias"),
    }


def is_plain(shapes: Shapes) -> bool:
    """A class token, positions in a sequence, and blocks with timm's names."""
    return {"cls_token", "pos_embed", "blocks.0.attn.qkv.weight", "blocks.0.mlp.fc1.weight"} <= shapes.keys()


def names(shapes: Shapes) -> Callable[[str], str | None]:
    """MAE's decoder is the second stage; what norms the encoder's output leads into it."""
    depth = Weights("", shapes).count("blocks.{}.attn.qkv.weight")
    common = [
        (r"(pos_embed|cls_token)", r"pos_embed.\1"),
        (r"(head|fc_norm|head_drop)\..*", None),
    ]
    if "decoder_embed.weight" not in shapes:
        return renamed(*common)
    name_of = renamed(
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
    """Of square images; the heads are those of published models of that width."""
    patch = weights.square("patch_embed.proj.weight")
    image = {
        "image_size": _image_size(weights, patch),
        "in_chans": weights.shape("patch_embed.proj.weight", 4)[1],
        "patch_size": patch,
    }
    depth = weights.some("blocks.{}.attn.qkv.weight")
    if DECODER in weights:
        names_of_blocks = [weights.theirs[f"blocks.{index}.attn.qkv.weight"] for index in range(depth)]
        first = sum(not DECODERS_BLOCK.fullmatch(name) for name in names_of_blocks)
        weights.notes.append(
            f"Weights do not tell mask_ratio: {PUBLISHED_MASK_RATIO} is that of the published models."
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
    return {**image, **_stage_of(weights, 0, depth), "pos_embed": "class_token", "norm": has_norm}


def _image_size(weights: Weights, patch: int) -> Size:
    if (said := weights.facts.get("patch_embed.img_size")) is not None:
        return one(said)
    _, vectors, _ = weights.shape("pos_embed.pos_embed", 3)
    side = side_of(vectors - 1)
    if side is None:
        raise weights.unfit(
            f"its {vectors} position embeddings are not a class token's and those of a square"
        )
    return side * patch


def _stage_of(weights: Weights, first: int, end: int) -> Keys:
    (width,), (hidden, _) = (
        weights.shape(f"blocks.{first}.norm1.weight", 1),
        weights.shape(f"blocks.{first}.mlp.fc1.weight", 2),
    )
    return {
        "block": "plain",
        "embed_dim": width,
        "depth": end - first,
        "num_heads": _heads(weights, first, width),
        "mlp_ratio": ratio_of(hidden, width),
        "qkv_bias": f"blocks.{first}.attn.qkv.bias" in weights,
    }


def _heads(weights: Weights, first: int, width: int) -> int:
    if (said := weights.facts.get(f"blocks.{first}.attn.num_heads")) is not None:
        return int(said)
    heads = {
        stage.embed_dim: stage.num_heads
        for config in published("plain")
        for stage in config.stages
        if (stage is not config.stages[0]) == (first > 0)
    }
    if width not in heads:
        known = ", ".join(map(str, sorted(heads)))
        raise weights.unfit(
            f"the number of heads cannot be told from shapes, and is known of published models of width {known}, not "
            f"of {width}: write the config by hand (`samattn configs --show vit_b`)"
        )
    if not weights.notes:
        weights.notes.append("Weights do not tell the number of heads: it is that of the published models.")
    return heads[width]


HUGGING_FACE = {"vit": from_vit, "vit_mae": from_mae}
CHECKPOINTS = (Checkpoint(is_plain, names, from_weights),)
