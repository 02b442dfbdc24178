"""RF-DETR: transformers' RfDetrConfig and RfDetrDinov2Config; checkpoints of transformers and of Roboflow's rfdetr.

Sources: transformers 5.23.0, models/rf_detr; rfdetr 1.11 of Roboflow, models/backbone.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ...encoder.model import EncoderConfig
from ...importing.checkpoint import Shapes
from ...importing.description import Description, Keys, as_size, ratio_of
from ...importing.published_models import published_models
from ...importing.weights import CheckpointKind, Weights, renamer, square_side

WORD, BACKBONE = "rf_detr", "rf_detr_dinov2"
DEFAULTS = {
    "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "mlp_ratio": 4, "image_size": 224,
    "patch_size": 14, "num_channels": 3, "qkv_bias": True, "num_windows": 4,
}  # fmt: skip
DEFAULT_BACKBONE = {
    "model_type": BACKBONE, "num_attention_heads": 6, "hidden_size": 384, "image_size": 518,
    "out_features": ["stage2", "stage5", "stage8", "stage11"],
}  # fmt: skip


def from_detector(description: Description) -> Keys:
    """An RfDetrConfig: its backbone and its projector."""
    description.expect("hidden_expansion", 0.5)
    description.expect("c2f_num_blocks", 3)
    description.expect("activation_function", "silu")
    description.expect("projector_scale_factors", [1.0], [])
    inner = description.inner_or("backbone_config", DEFAULT_BACKBONE)
    inner.expect("model_type", BACKBONE)
    channels = description.with_defaults(d_model=256).integer("d_model")
    return {**from_backbone(inner), "neck": WORD, "out_chans": channels}


def from_backbone(description: Description) -> Keys:
    """An RfDetrDinov2Config, whose image_size is that of its positions."""
    description = description.with_defaults(**DEFAULTS)
    for key, value in (("hidden_act", "gelu"), ("use_swiglu_ffn", False), ("num_register_tokens", 0)):
        description.expect(key, value)
    for key in ("use_mask_token", "apply_layernorm", "reshape_hidden_states"):
        description.expect(key, True)
    description.ignore("hidden_dropout_prob", "attention_probs_dropout_prob", "drop_path_rate")
    depth, side, patch = (
        description.integer("num_hidden_layers"),
        description.integer("num_windows"),
        description.side("patch_size"),
    )
    made_for = description.side("image_size")
    outputs = outputs_of(description, depth)
    return {
        "image_size": image_size_for(description.notes, made_for, side * patch),
        "in_chans": description.integer("num_channels"),
        "patch_size": patch,
        "pos_embed": WORD,
        "pretrain_image_size": made_for,
        "block": WORD,
        "embed_dim": description.integer("hidden_size"),
        "depth": depth,
        "num_heads": description.integer("num_attention_heads"),
        "mlp_ratio": description.number("mlp_ratio"),
        "qkv_bias": description.flag("qkv_bias"),
        **windows(side, _globals(description, depth, outputs)),
        "neck": "rf_detr_maps",
        "out_indices": outputs,
    }


def outputs_of(description: Description, depth: int) -> list[int]:
    """The blocks whose outputs a backbone returns; in its config what enters the first block is the first output."""
    names = ["stem", *(f"stage{number + 1}" for number in range(depth))]
    named, counted = (description.entries.get(key) for key in ("out_features", "out_indices"))
    description.read |= {"out_features", "out_indices"}
    if named is None and counted is None:
        return [depth - 1]
    key = "out_features" if named is not None else "out_indices"
    known: list[Any] = names if named is not None else [*range(depth + 1)]
    given = named if named is not None else counted
    if not isinstance(given, list) or not given or any(each not in known[1:] for each in given):
        raise description.wrong(key, f"a list of some of {known[1]} to {known[-1]}")
    return sorted(known.index(each) - 1 for each in given)


def image_size_for(notes: list[str], made_for: int, unit: int) -> int:
    """The image size of a model, or the next larger one that is whole windows."""
    size = -(-made_for // unit) * unit
    if size != made_for:
        notes.append(
            f"Its image_size, {made_for}, is not a whole number of windows: {size} is the next "
            "larger one that is. Set it to the size that the model runs at, a multiple of "
            f"{unit}."
        )
    return size


def windows(side: int, global_blocks: list[int]) -> Keys:
    """The keys that say where the blocks attend."""
    return {} if side == 1 else {"num_windows_side": side, "global_attn_indexes": global_blocks}


def _globals(description: Description, depth: int, outputs: list[int]) -> list[int]:
    """The blocks that attend to all tokens: those with the numbers of the outputs, which are counted from 1 there."""
    windowed = set(range(outputs[-1] + 2)) - {index + 1 for index in outputs}
    if "window_block_indexes" in description.entries:
        windowed = set(description.integers("window_block_indexes"))
    return [index for index in range(depth) if index not in windowed]


SHOWING = ("embeddings.mask_token", "encoder.layer.0.layer_scale1.lambda1")
"""How names of weights end that the backbone has."""
PROJECTOR = re.compile(r"(?:.*\.)?projector\.(?:projector_layer\.conv1|stages\.0\.0\.cv1)\.conv\.weight")


def is_rf_detr(shapes: Shapes) -> bool:
    """Whether it has DINOv2's names, and a projector with those of transformers or of rfdetr."""
    names = tuple(shapes)
    has_backbone = all(any(name.endswith(end) for name in names) for end in SHOWING)
    return has_backbone and any(map(PROJECTOR.fullmatch, names))


def names(_: Shapes) -> Callable[[str], str | None]:
    """Names of both codes; a detector's other weights are not the encoder's."""
    neck, block = r"(?:.*\.)?projector\.", r"(?:.*\.)?encoder\.layer\.(\d+)\."
    of_roboflow = rf"{neck}stages\.0\.0\."
    conv = (("conv", "conv"), ("bn", "norm"))
    return renamer(
        (r"(?:.*\.)?embeddings\.patch_embeddings\.projection\.(weight|bias)", r"patch_embed.proj.\1"),
        (r"(?:.*\.)?embeddings\.(cls_token|mask_token|position_embeddings)", r"pos_embed.\1"),
        *(
            (rf"{block}attention\.attention\.{theirs}\.(weight|bias)", rf"blocks.\1.attn.{theirs[0]}_proj.\2")
            for theirs in ("query", "key", "value")
        ),
        (rf"{block}attention\.output\.dense\.(weight|bias)", r"blocks.\1.attn.o_proj.\2"),
        (rf"{block}attention\.(.*)", r"blocks.\1.attn.\2"),
        (rf"{block}(.*)", r"blocks.\1.\2"),
        *((rf"{of_roboflow}cv(\d)\.{theirs}\.(.*)", rf"neck.projector_layer.conv\1.{ours}.\2") for theirs, ours in conv),
        *(
            (rf"{of_roboflow}m\.(\d)\.cv(\d)\.{theirs}\.(.*)", rf"neck.projector_layer.bottlenecks.\1.conv\2.{ours}.\3")
            for theirs, ours in conv
        ),
        (rf"{neck}stages\.0\.1\.(weight|bias)", r"neck.layer_norm.\1"),
        (rf"{neck}((?:projector_layer|layer_norm)\..*)", r"neck.\1"),
        (r"(?:.*\.)?(?:backbone|encoder)\.layernorm\.(weight|bias)", r"neck.layernorm.\1"),
        (r".*", None),
    )  # fmt: skip


def from_weights(weights: Weights) -> Keys:
    """Weights show neither windows nor image size nor heads: these are those of published models with such patches."""
    refuse_others(weights)
    patch = weights.square("patch_embed.proj.weight")
    (width,), (hidden, _) = (
        weights.shape("blocks.0.norm1.weight", 1),
        weights.shape("blocks.0.mlp.fc1.weight", 2),
    )
    made_for = patch * _side(weights)
    published = _published(weights, patch, width, made_for)
    stage, depth = published.stages[0], weights.count_at_least_one("blocks.{}.norm1.weight")
    count = (stage.num_windows_side or (1, 1))[0]
    is_its_size = published.pretrain_image_size == (made_for, made_for)
    size = (
        as_size(published.image_size)
        if is_its_size
        else image_size_for(weights.notes, made_for, count * patch)
    )
    weights.notes.append(
        f"Weights do not show image size, heads, windows and outputs: these are those of {published.name}."
    )
    return {
        "image_size": size,
        "in_chans": weights.shape("patch_embed.proj.weight", 4)[1],
        "patch_size": patch,
        "pos_embed": WORD,
        "pretrain_image_size": made_for,
        "block": WORD,
        "embed_dim": width,
        "depth": depth,
        "num_heads": stage.num_heads,
        "mlp_ratio": ratio_of(hidden, width),
        "qkv_bias": "blocks.0.attn.q_proj.bias" in weights,
        **windows(count, list(stage.global_attn_indexes)),
        "neck": WORD,
        "out_indices": list(published.out_indices),
        "out_chans": weights.shape("neck.layer_norm.weight", 1)[0],
        "run": {"attention": "sdpa"},  # of both codes
    }


def refuse_others(weights: Weights) -> None:
    """Refuse models of rfdetr that samattn cannot express.

    Raises:
        ImportFailedError: for register tokens, or a projector to several maps.
    """
    for end, what in (
        ("embeddings.register_tokens", "register tokens in each window"),
        (
            "projector.stages.1.0.cv1.conv.weight",
            "a projector to several maps, as the first rf-detr-large had",
        ),
    ):
        if any(name.endswith(end) for name in weights.others):
            raise weights.error(
                "unsupported-model", f"is of an RF-DETR with {what}, which samattn does not have"
            )


def _side(weights: Weights) -> int:
    """Patches along a side of the images that the positions are made for."""
    _, vectors, _ = weights.shape("pos_embed.position_embeddings", 3)
    side = square_side(vectors - 1)
    if side is None:
        text = f"has {vectors} position embeddings, which is not a class token and a square grid"
        raise weights.error("unsupported-model", text)
    return side


def _published(weights: Weights, patch: int, width: int, made_for: int) -> EncoderConfig:
    """The published model with these positions, or else the first with these patches."""
    alike = [
        config
        for config in published_models(WORD)
        if (config.patch_size, config.stages[0].embed_dim) == (patch, width)
    ]
    alike.sort(key=lambda config: config.pretrain_image_size != (made_for, made_for))
    if not alike:
        text = (
            f"weights do not show heads and windows, and no published model has patches of {patch} and width {width}: import "
            "its config.json, or write the config by hand (`samattn configs --show rf_detr_nano`)"
        )
        raise weights.error("not-in-shapes", text)
    return alike[0]


HUGGING_FACE = {WORD: from_detector, BACKBONE: from_backbone}
CHECKPOINTS = (CheckpointKind(is_rf_detr, names, from_weights),)
