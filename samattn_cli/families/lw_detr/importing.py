"""LW-DETR: transformers' LwDetrConfig and LwDetrViTConfig, and checkpoints of the authors' code.

Sources: transformers 5.23.0, models/lw_detr; Atten4Vis/LW-DETR, models/backbone/vit.py and projector.py, whose checkpoints have
the entries `model` and `ema_model`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from ...encoder.model import EncoderConfig
from ...importing.checkpoint import Shapes
from ...importing.description import Description, Keys, as_size, ratio_of
from ...importing.published_models import published_models
from ...importing.weights import CheckpointKind, Weights, renamer, square_side
from ..rf_detr.importing import image_size_for, outputs_of, windows

WORD, BACKBONE = "lw_detr", "lw_detr_vit"
DEFAULTS = {
    "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "mlp_ratio": 4, "image_size": 256,
    "pretrain_image_size": 224, "patch_size": 16, "num_channels": 3, "qkv_bias": True, "num_windows": 16,
    "window_block_indices": [],
}  # fmt: skip
DEFAULT_BACKBONE = {
    "model_type": BACKBONE, "image_size": 1024, "hidden_size": 192, "num_hidden_layers": 10,
    "window_block_indices": [0, 1, 3, 6, 7, 9], "out_indices": [2, 4, 5, 9],
}  # fmt: skip


def from_detector(description: Description) -> Keys:
    """An LwDetrConfig: its backbone and its projector; without scales there are no maps of a projector."""
    description = description.with_defaults(d_model=256, projector_scale_factors=[])
    description.expect("hidden_expansion", 0.5)
    description.expect("c2f_num_blocks", 3)
    description.expect("activation_function", "silu")
    description.read.add("projector_scale_factors")
    scales = description.entries["projector_scale_factors"]
    if not isinstance(scales, list) or not scales or any(each not in {0.5, 1.0, 2.0} for each in scales):
        raise description.wrong("projector_scale_factors", "a list of some of 2.0, 1.0 and 0.5")
    inner = description.inner_or("backbone_config", DEFAULT_BACKBONE)
    inner.expect("model_type", BACKBONE)
    projector = {
        "neck": WORD,
        "neck_scales": list(map(float, scales)),
        "out_chans": description.integer("d_model"),
    }
    return {**from_backbone(inner), **projector}


def from_backbone(description: Description) -> Keys:
    """An LwDetrViTConfig, whose num_windows counts all windows of an image."""
    description = description.with_defaults(**DEFAULTS)
    description.expect("hidden_act", "gelu")
    description.expect("use_absolute_position_embeddings", True)
    description.ignore("dropout_prob")
    depth, patch = description.integer("num_hidden_layers"), description.side("patch_size")
    side = square_side(description.integer("num_windows"))
    if side is None:
        raise description.wrong("num_windows", "a square number, such as 16")
    windowed = description.integers("window_block_indices")
    return {
        "image_size": image_size_for(description.notes, description.side("image_size"), side * patch),
        "in_chans": description.integer("num_channels"),
        "patch_size": patch,
        "pos_embed": WORD,
        "pretrain_image_size": description.side("pretrain_image_size"),
        "block": WORD,
        "embed_dim": description.integer("hidden_size"),
        "depth": depth,
        "num_heads": description.integer("num_attention_heads"),
        "mlp_ratio": description.number("mlp_ratio"),
        "qkv_bias": description.flag("qkv_bias"),
        **windows(side, [index for index in range(depth) if index not in windowed]),
        "neck": "lw_detr_maps",
        "out_indices": outputs_of(description, depth),
    }


IN_DETECTOR = r"backbone\.0\."
SHOWING = re.compile(
    rf"{IN_DETECTOR}(?:encoder\.blocks\.0\.(?:gamma_1|attn\.q_bias)|projector\.stages\.0\.0\.cv1\.conv\.weight)"
)
HOW_MANY = 3


def is_lw_detr(shapes: Shapes) -> bool:
    """Whether it has scaled blocks with a bias of queries, and a projector, as a detector has them in the authors' code."""
    return len({name.rpartition("backbone.")[2] for name in filter(SHOWING.fullmatch, shapes)}) == HOW_MANY


def names(_: Shapes) -> Callable[[str], str | None]:
    """The authors' names; a detector's other weights are not the encoder's."""
    encoder, neck = rf"{IN_DETECTOR}encoder\.", rf"{IN_DETECTOR}projector\."
    stage, sampling = rf"{neck}stages\.(\d)\.0\.", rf"{neck}stages_sampling\.(\d)\.(\d)\.(\d)\."
    conv = (("conv", "conv"), ("bn", "norm"))
    ours = r"neck.scale_layers.\1"
    return renamer(
        (r".*\.(?:running_mean|running_var|num_batches_tracked)", None),
        (rf"{encoder}pos_embed", "pos_embed.pos_embed"),
        (rf"{encoder}((?:patch_embed|blocks)\..*)", r"\1"),
        *((rf"{stage}cv(\d)\.{theirs}\.(.*)", rf"{ours}.projector_layer.conv\2.{each}.\3") for theirs, each in conv),
        *(
            (rf"{stage}m\.(\d)\.cv(\d)\.{theirs}\.(.*)", rf"{ours}.projector_layer.bottlenecks.\2.conv\3.{each}.\4")
            for theirs, each in conv
        ),
        (rf"{neck}stages\.(\d)\.1\.(weight|bias)", rf"{ours}.layer_norm.\2"),
        *((rf"{sampling}{theirs}\.(.*)", rf"{ours}.sampling_layers.\2.layers.\3.{each}.\4") for theirs, each in conv),
        (rf"{sampling}(weight|bias)", rf"{ours}.sampling_layers.\2.layers.\3.\4"),
        (r".*", None),
    )  # fmt: skip


def from_weights(weights: Weights) -> Keys:
    """Weights show neither windows nor image size nor heads nor outputs: these are those of published models of this shape."""
    patch = weights.square("patch_embed.proj.weight")
    (width,), (hidden, _) = (
        weights.shape("blocks.0.norm1.weight", 1),
        weights.shape("blocks.0.mlp.fc1.weight", 2),
    )
    depth = weights.count_at_least_one("blocks.{}.norm1.weight")
    scales = [
        _scale(weights, number)
        for number in range(weights.count_at_least_one("neck.scale_layers.{}.layer_norm.weight"))
    ]
    published = _published(weights, width, depth, scales)
    stage = published.stages[0]
    weights.notes.append(
        f"Weights do not show image size, heads, windows and outputs: these are those of {published.name}."
    )
    return {
        "image_size": as_size(published.image_size),
        "in_chans": weights.shape("patch_embed.proj.weight", 4)[1],
        "patch_size": patch,
        "pos_embed": WORD,
        "pretrain_image_size": patch * _side(weights),
        "block": WORD,
        "embed_dim": width,
        "depth": depth,
        "num_heads": stage.num_heads,
        "mlp_ratio": ratio_of(hidden, width),
        "qkv_bias": "blocks.0.attn.q_bias" in weights,
        **windows((stage.num_windows_side or (1, 1))[0], list(stage.global_attn_indexes)),
        "neck": WORD,
        "neck_scales": scales,
        "out_indices": list(published.out_indices),
        "out_chans": weights.shape("neck.scale_layers.0.layer_norm.weight", 1)[0],
    }


def _scale(weights: Weights, number: int) -> float:
    """The scale of a map: 2 if its layers have a transposed convolution, 0.5 if they have another one, 1 if they have none."""
    layers = f"neck.scale_layers.{number}.sampling_layers.0.layers"
    if any(f"{layers}.{at}.weight" in weights for at in range(2)):
        return 2.0
    return 0.5 if f"{layers}.0.conv.weight" in weights else 1.0


def _side(weights: Weights) -> int:
    """Patches along a side of the images that the positions are made for."""
    _, vectors, _ = weights.shape("pos_embed.pos_embed", 3)
    side = square_side(vectors - 1)
    if side is None:
        text = f"has {vectors} position embeddings, which is not a class token and a square grid"
        raise weights.error("unsupported-model", text)
    return side


def _published(weights: Weights, width: int, depth: int, scales: list[float]) -> EncoderConfig:
    """The published model of this width and depth, with these maps if there is one."""
    alike = [
        config
        for config in published_models(WORD)
        if (config.stages[0].embed_dim, config.stages[0].depth) == (width, depth)
    ]
    alike.sort(key=lambda config: list(config.neck_scales) != scales)
    if not alike:
        text = (
            f"weights do not show heads and windows, and no published model has {depth} blocks of width {width}: write the config "
            "by hand (`samattn configs --show lw_detr_small`)"
        )
        raise weights.error("not-in-shapes", text)
    return alike[0]


CHECKPOINTS = (CheckpointKind(is_lw_detr, names, from_weights),)
HUGGING_FACE = {WORD: from_detector, BACKBONE: from_backbone}
