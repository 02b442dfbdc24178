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
from . import descriptions, dino
from .differences import OF_OTHERS, differences, has_blocks, has_several_widths, is_rotary, rotary_block

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
POSITIONS = "pos_embed.pos_embed"
CLASS_TOKEN, REGISTERS = "pos_embed.cls_token", "pos_embed.reg_token"
POOLING = "attn_pool."
OF_DINOV3 = 224
"""The side of the images that DINOv3's models are made for."""

GELUS: dict[str, Keys] = {
    "GELU": {"block": "plain"},
    "GELUTanh": {"block": "plain", "mlp": "gelu_tanh"},
    "QuickGELU": {"block": "clip"},
}
"""The keys by the class of the activation of a block's MLP; of timm's models only, since weights do not show it."""
ACTIVATIONS = (*GELUS, "SiLU")


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
    """Whether it has a sequence of position embeddings, and blocks of one width with timm's names."""
    is_sequence = len(shapes.get("pos_embed", ())) == len("1NC") or is_rotary(shapes)
    others = shapes.keys() & OF_OTHERS
    return is_sequence and has_blocks(shapes) and not others and not has_several_widths(shapes)


def names(shapes: Shapes) -> Callable[[str], str | None]:
    """MAE's decoder is the second stage; the norm of the encoder's output is part of the transition to it."""
    depth = Weights("", shapes).count("blocks.{}.attn.qkv.weight")
    common = [
        (r"(pos_embed|cls_token|reg_token)", r"pos_embed.\1"),
        (r"(dist_token|register_tokens)", r"pos_embed.reg_token"),
        (r"norm_pre\.(.*)", r"pre_norm.\1"),
        (r"(blocks\.\d+)\.gamma_([12])", r"\1.ls\2.gamma"),
        (r"(head|head_dist|fc_norm|head_drop|attn_pool)\..*", None),
    ]
    if "decoder_embed.weight" not in shapes:
        return renamer(*common, ("mask_token", None))
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
    depth = weights.count_at_least_one("blocks.{}.norm1.weight")
    if DECODER in weights:
        names_of_blocks = [weights.original_names[f"blocks.{index}.norm1.weight"] for index in range(depth)]
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
    if any(name.startswith(POOLING) for name in weights.others):
        weights.notes.append("Its attention pooling (attn_pool) is a part of the head, and is left out.")
    ends = {**tokens_of(weights), **_clips(weights), "norm": has_norm}
    return {**image, **_stage_of(weights, 0, depth), **ends}


def tokens_of(weights: Weights) -> Keys:
    """The tokens in front of the patches, and which tokens have positions."""
    has_class_token, registers = CLASS_TOKEN in weights, _registers(weights)
    keys = {"reg_tokens": registers} if registers else {}
    own = {} if has_class_token else {"class_token": False}
    if POSITIONS not in weights:
        return {"pos_embed": "rotary" if _turning(weights) == "dinov3" else "prefix", **own, **keys}
    placed, _ = _positions(weights)
    if placed == 1 and has_class_token:
        return {"pos_embed": "class_token", **keys}
    return {"pos_embed": "tokens" if placed else "patches", **own, **keys}


def _registers(weights: Weights) -> int:
    return weights.shape(REGISTERS, 3)[1] if REGISTERS in weights else 0


def _positions(weights: Weights) -> tuple[int, int]:
    """How many tokens in front have positions, and of how many patches these are; a file does not say that: it is a square.

    Raises:
        ImportFailedError: if there is no such number.
    """
    _, vectors, _ = weights.shape("pos_embed.pos_embed", 3)
    has_class_token, registers = CLASS_TOKEN in weights, _registers(weights)
    patches = weights.attributes.get("patch_embed.num_patches")
    for placed in dict.fromkeys((has_class_token + registers, int(has_class_token), 0)):
        number = vectors - placed
        if number == patches or (patches is None and square_side(number)):
            return placed, number
    tokens = "a class token and " if has_class_token else ""
    tokens += f"{registers} register tokens and " if registers else ""
    raise weights.error(
        "unsupported-model", f"has {vectors} position embeddings, which is not {tokens}a square grid"
    )


def _clips(weights: Weights) -> Keys:
    """What CLIP's vision transformers have and others do not: patches without a bias, a norm before the blocks."""
    patches = {} if "patch_embed.proj.bias" in weights else {"patch_embed": "patch_no_bias"}
    return patches | ({"pre_norm": True} if "pre_norm.weight" in weights else {})


def _image_size(weights: Weights, patch: int) -> Size:
    if (size := weights.attributes.get("patch_embed.img_size")) is not None:
        return as_size(size)
    if POSITIONS not in weights:
        weights.notes.append(
            f"Rotary positions take images of any size: change image_size {OF_DINOV3} to yours."
        )
        return OF_DINOV3
    _, patches = _positions(weights)
    return (square_side(patches) or 0) * patch


def _stage_of(weights: Weights, first: int, end: int) -> Keys:
    (width,) = weights.shape(f"blocks.{first}.norm1.weight", 1)
    _, hidden = weights.shape(f"blocks.{first}.mlp.fc2.weight", 2)
    return {
        **_mlp(weights, first, hidden),
        "embed_dim": width,
        "depth": end - first,
        "num_heads": _heads(weights, first, width),
        "mlp_ratio": ratio_of(hidden, width),
        "qkv_bias": bool(
            {f"blocks.{first}.attn.{name}" for name in ("qkv.bias", "q_bias", "q_proj.bias")}
            & weights.shapes.keys()
        ),
        **({"layer_scale": True} if f"blocks.{first}.ls1.gamma" in weights else {}),
    }


def _mlp(weights: Weights, first: int, hidden: int) -> Keys:
    """The MLP; two linear layers, or one of twice the width, are gated.

    Raises:
        ImportFailedError: if its activation is not one that such an MLP has.
    """
    mlp = f"blocks.{first}.mlp"
    act = weights.attributes.get(f"{mlp}.act")
    word = "swiglu" if f"{mlp}.fc1_g.weight" in weights else ""
    if not word and weights.shape(f"{mlp}.fc1.weight", 2)[0] == 2 * hidden:
        word = "swiglu_packed"
    if (act or "GELU") not in (GELUS if not word else ("SiLU", *(() if act else ("GELU",)))):
        raise weights.error(
            "unsupported-model",
            f"samattn cannot express {mlp}.act {act} in an MLP {word or 'without a gate'}",
        )
    if f"{mlp}.norm.weight" in weights:
        return {"block": "eva02_clip" if f"blocks.{first}.attn.norm.weight" in weights else "eva02"}
    keys = {"block": "plain", "mlp": word} if word else GELUS[act or "GELU"]
    return keys | ({"block": word} if (word := _turning(weights)) else {})


def _turning(weights: Weights) -> str:
    """The word for its blocks if their attention has rotary positions, which the weights of a file do not show."""
    if "rope" in weights.attributes:
        return rotary_block(weights.attributes)
    return "" if POSITIONS in weights else "dinov3"


def _heads(weights: Weights, first: int, width: int) -> int:
    if (num_heads := weights.attributes.get(f"blocks.{first}.attn.num_heads")) is not None:
        return int(num_heads)
    if (of_dino := dino.heads_of(weights, width)) is not None:
        return of_dino
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


def from_dino(weights: Weights) -> Keys:
    """Meta's DINOv2 or DINOv3."""
    dino.left_out(weights)
    return from_weights(weights)


HUGGING_FACE = {"vit": from_vit, "vit_mae": from_mae}
COPIES, BACKBONES = descriptions.COPIES, descriptions.BACKBONES

CHECKPOINTS = (
    CheckpointKind(
        dino.is_dino, dino.names, from_dino, differences=dino.differences, published=dino.PUBLISHED
    ),
    CheckpointKind(is_plain, names, from_weights, ACTIVATIONS, differences),
)
