"""Hiera: transformers' HieraConfig; checkpoints of facebookresearch/hiera, transformers and timm; timm's models.

Sources: transformers 5.23.0, models/hiera/configuration_hiera.py and modeling_hiera.py; facebookresearch/hiera,
hiera/hiera.py and hiera_mae.py; timm 1.0.31, models/hiera.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from itertools import accumulate, pairwise
from math import isqrt
from typing import Any

from ...encoder.model import EncoderConfig
from ...errors import ImportFailedError
from ...importing.checkpoint import Shapes
from ...importing.description import Description, Keys, Size, ratio_of
from ...importing.published_models import published_models
from ...importing.weights import CheckpointKind, Weights, renamer, square_side

DEFAULTS = {
    "embed_dim": 96, "image_size": [224, 224], "patch_size": [7, 7], "patch_stride": [4, 4], "patch_padding": [3, 3],
    "mlp_ratio": 4.0, "depths": [2, 3, 16, 3], "num_heads": [1, 2, 4, 8], "embed_dim_multiplier": 2.0, "num_query_pool": 3,
    "query_stride": [2, 2], "masked_unit_size": [8, 8], "masked_unit_attention": [True, True, False, False],
    "num_channels": 3, "mask_ratio": 0.6, "architectures": ["HieraModel"],
}  # fmt: skip
NECKS = {"HieraForImageClassification": "hiera_classifier", "HieraModel": "hiera_pool"}
PRETRAINING, BACKBONE = "HieraForPreTraining", "HieraBackbone"
RUN = {"attention": "sdpa"}
"""Hiera's own code has it where torch has; transformers' is eager."""
ABSWIN_SIZE = 256
LABELS = 2
"""Classes of a config of transformers that names none."""
WIDENS = re.compile(r"blocks\.[0-9]{1,4}\.proj\.weight")
DECODERS_BLOCK = re.compile(r"(?:decoder_blocks|decoder\.decoder_block\.layers)\.([0-9]{1,4})\.(.*)")
DECODER = re.compile(r"transitions\.([0-9]{1,3})\.decoder_embed\.weight")
PUBLISHED_MASK_RATIO = 0.6
DECODERS_HEADS = 16
"""Of all published models."""
FUSION = "multi_scale_fusion_heads"
BLOCK_OF_TRANSFORMERS = re.compile(r"(?:hiera\.)?encoder\.stages\.([0-9]{1,3})\.layers\.([0-9]{1,4})\.(.*)")


def from_hiera(description: Description) -> Keys:
    """A HieraConfig: the model that `architectures` names, with its pooling, its classifier or its pretraining."""
    description = description.with_defaults(**DEFAULTS)
    if description.entries["architectures"] == [BACKBONE]:
        text = (
            f"{description.label}: {BACKBONE} has a LayerNorm for the output of each stage in out_features, which samattn does not "
            'have for Hiera: with architectures ["HieraModel"] samattn reads its encoder without them'
        )
        raise ImportFailedError("unsupported-model", text)
    description.expect("architectures", *([name] for name in (*NECKS, PRETRAINING)))
    description.expect("hidden_act", "gelu")
    description.ignore("drop_path_rate")
    (architecture,) = description.entries["architectures"]
    encoder = _image(description) | {"pos_embed": "mask_units"}
    if architecture == PRETRAINING:
        return encoder | _pretraining(description)
    neck = NECKS.get(architecture, "none")
    classes = {"out_chans": _labels(description)} if neck == "hiera_classifier" else {}
    return {**encoder, "neck": neck, **classes, "stages": _stages(description)}


def _image(description: Description) -> Keys:
    stride = description.side("patch_stride")
    for key, value in (("patch_size", 2 * stride - 1), ("patch_padding", stride - 1)):
        description.expect(key, [value, value], (value, value), value)
    return {
        "image_size": description.size("image_size"),
        "in_chans": description.integer("num_channels"),
        "patch_size": stride,
        "patch_embed": "overlapping",
    }


def _labels(description: Description) -> int:
    """The classes, which transformers saves as their names."""
    names = description.entries.get("id2label")
    description.read |= {"id2label", "label2id"}
    if isinstance(names, dict) and names:
        return len(names)
    return description.with_defaults(num_labels=LABELS).integer("num_labels")


def _stages(description: Description) -> list[Keys]:
    depths, side = description.integers("depths"), description.side("query_stride")
    if not depths:
        raise description.wrong("depths", "a list with a number for each stage")
    heads = description.integers("num_heads", len(depths))
    unit = side ** (len(depths) - 1)
    description.expect("masked_unit_size", [unit, unit], (unit, unit), unit)
    in_units = description.entries["masked_unit_attention"]
    description.read.add("masked_unit_attention")
    if not isinstance(in_units, list) or [type(each) for each in in_units] != [bool] * len(depths):
        raise description.wrong("masked_unit_attention", f"a list of {len(depths)} times true or false")
    width, factor = description.integer("embed_dim"), description.number("embed_dim_multiplier")
    pools, ratio = description.integer("num_query_pool", 0), description.number("mlp_ratio")
    stages = []
    for number, depth in enumerate(depths):
        window = unit // side ** min(number, pools)
        stages.append({
            "block": "mask_unit", "embed_dim": int(width * factor**number), "depth": depth, "num_heads": heads[number],
            "mlp_ratio": ratio, "window_size": window if in_units[number] else 0,
            **({"q_stride": side} if 0 < number <= pools else {}),
        })  # fmt: skip
    return stages


def _pretraining(description: Description) -> Keys:
    """The encoder that sees the units that are not masked, and the decoder."""
    stages = _stages(description)
    description.read.add("normalize_pixel_loss")
    decoder = {
        "transition": "hiera_decoder", "block": "mask_unit", "embed_dim": description.integer("decoder_hidden_size"),
        "depth": description.integer("decoder_depth"), "num_heads": description.integer("decoder_num_heads"),
        "mlp_ratio": stages[0]["mlp_ratio"],
    }  # fmt: skip
    return {
        "patch_embed": "masked_overlapping",
        "pos_embed": "mask_units_mae",
        "mask_ratio": description.number("mask_ratio"),
        "neck": "hiera_pred",
        "stages": [*stages, decoder],
        "run": {"mode": "training"},
    }


def is_hiera(shapes: Shapes) -> bool:
    """Whether it has Hiera's blocks, of which some change the width, without SAM 2's windowed positions."""
    names = {name.removeprefix("hiera.") for name in shapes}
    if {"embeddings.position_embeddings", "encoder.stages.0.layers.0.layernorm_before.weight"} <= names:
        return True
    widens = any(map(WIDENS.fullmatch, names))
    known = {"pos_embed", "patch_embed.proj.weight", "blocks.0.attn.qkv.weight", "blocks.0.mlp.fc1.weight"}
    return known <= names and widens and not {"cls_token", "pos_embed_window"} & names


def differences(shapes: Shapes, _attributes: Mapping[str, Any]) -> list[str]:
    """What Hiera abswin has that samattn cannot express: a block that widens without a projection."""
    is_abswin = "pos_embed_win" in shapes and not is_hiera(shapes)
    return ["shortcuts widened by maxima and means side by side, without a projection"] if is_abswin else []


def names(shapes: Shapes) -> Callable[[str], str | None]:
    """Names of transformers, of facebookresearch/hiera and of timm."""
    depths: dict[int, int] = {}
    for match in filter(None, map(BLOCK_OF_TRANSFORMERS.fullmatch, shapes)):
        stage = int(match[1])
        depths[stage] = max(depths.get(stage, 0), int(match[2]) + 1)
    firsts = [0, *accumulate(depths[stage] for stage in sorted(depths))]
    own = Weights("", shapes)
    depth = firsts[-1] or own.count("blocks.{}.attn.qkv.weight")
    stages = len(depths) or 1 + sum(bool(WIDENS.fullmatch(name)) for name in shapes)
    name_of = renamer(
        (r"(?:decoder\.)?(mask_token)", rf"transitions.{stages}.\1"),
        (r"(?:decoder\.)?decoder_(?:embeddings|embed)\.(.*)", rf"transitions.{stages}.decoder_embed.\1"),
        (
            r"(?:decoder\.decoder_position_embeddings|decoder_pos_embed)",
            f"transitions.{stages}.decoder_pos_embed",
        ),
        (r"(?:multiscale_fusion\.)?(multi_scale_fusion_heads\..*)", rf"transitions.{stages}.\1"),
        (r"(encoder_norm\..*)", rf"transitions.{stages}.\1"),
        (r"(?:decoder\.)?(decoder_norm|decoder_pred)\.(.*)", r"neck.\1.\2"),
        (r"(?:hiera\.)?embeddings\.patch_embeddings\.projection\.(.*)", r"patch_embed.proj.\1"),
        (r"(?:hiera\.)?embeddings\.position_embeddings", "pos_embed.pos_embed"),
        (r"pos_embed", "pos_embed.background" if "pos_embed_win" in shapes else "pos_embed.pos_embed"),
        (r"pos_embed_win", "pos_embed.window"),
        (r"(?:(?:hiera\.)?pooler\.layernorm|head\.norm|norm|fc_norm)\.(.*)", r"neck.norm.\1"),
        (r"(?:classifier|head\.projection|head\.fc)\.(.*)", r"neck.head.\1"),
    )

    def name(theirs: str) -> str | None:
        if match := DECODERS_BLOCK.fullmatch(theirs):
            return f"blocks.{depth + int(match[1])}.{_in_a_block(match[2])}"
        if (match := BLOCK_OF_TRANSFORMERS.fullmatch(theirs)) and int(match[1]) < len(firsts):
            return f"blocks.{firsts[int(match[1])] + int(match[2])}.{_in_a_block(match[3])}"
        return name_of(theirs)

    return name


def _in_a_block(name: str) -> str:
    return name.replace("layernorm_before", "norm1").replace("layernorm_after", "norm2")


def from_weights(weights: Weights) -> Keys:
    """Widths show where stages begin; pooling, heads and mask units are those of a timm model, or of the published ones."""
    *_, kernel = weights.shape("patch_embed.proj.weight", 4)
    patch = (kernel + 1) // 2
    windowed = "pos_embed.window" in weights
    stages = _stages_of_timm(weights) if weights.attributes else _published_stages(weights)
    hidden, width = weights.shape("blocks.0.mlp.fc1.weight", 2)
    keys: Keys = {
        "image_size": _image_size(weights, patch),
        "in_chans": weights.shape("patch_embed.proj.weight", 4)[1],
        "patch_size": patch,
        "patch_embed": "overlapping",
        "pos_embed": "mask_units_window" if windowed else "mask_units",
    }
    if windowed:
        keys |= {
            "pos_embed_background": list(weights.shape("pos_embed.background", 4)[2:]),
            "pos_embed_window": weights.square("pos_embed.window"),
        }
    keys["neck"] = "none"
    if "neck.head.weight" in weights:
        keys |= {"neck": "hiera_classifier", "out_chans": weights.shape("neck.head.weight", 2)[0]}
    elif "neck.norm.weight" in weights:
        keys["neck"] = "hiera_pool"
    common = {"mlp_ratio": ratio_of(hidden, width)}
    common |= {"layer_scale": True} if "blocks.0.ls1.gamma" in weights else {}
    keys["stages"] = [{**stage, **common} for stage in stages]
    if any(map(DECODER.fullmatch, weights.shapes)):
        keys |= _masked(weights)
        return keys if _is_of_transformers(weights) else keys | {"run": {**keys["run"], **RUN}}
    return keys if weights.attributes or _is_of_transformers(weights) else keys | {"run": RUN}


def _masked(weights: Weights) -> Keys:
    """What pretraining has besides: the decoder is the last stage, whose transition has its embedding."""
    weights.notes.append(
        f"Weights do not show mask_ratio: {PUBLISHED_MASK_RATIO} is that of the published models."
    )
    return {
        "patch_embed": "masked_overlapping",
        "pos_embed": "mask_units_mae",
        "mask_ratio": PUBLISHED_MASK_RATIO,
        "neck": "hiera_pred",
        "run": {"mode": "training"},
    }


def _is_of_transformers(weights: Weights) -> bool:
    return any("layernorm_before" in name for name in weights.original_names.values())


def _image_size(weights: Weights, patch: int) -> Size:
    """The image size by a timm model's card, or by a square of positions."""
    if size := weights.attributes.get("input_size"):
        return size if isinstance(size, int) else list(size)
    if "pos_embed.window" in weights:
        weights.notes.append(
            f"Weights do not show the image size: {ABSWIN_SIZE} is that of timm's models. --image-size takes another."
        )
        return ABSWIN_SIZE
    _, tokens, _ = weights.shape("pos_embed.pos_embed", 3)
    side = square_side(tokens)
    if side is None:
        raise weights.error("unsupported-model", f"has {tokens} positions, which is not a square of tokens")
    return side * patch


def _runs(weights: Weights) -> list[tuple[int, int]]:
    """(width, depth) of each run of blocks with the same width."""
    runs: list[tuple[int, int]] = []
    for index in range(weights.count_at_least_one("blocks.{}.attn.proj.weight")):
        width = weights.shape(f"blocks.{index}.attn.proj.weight", 2)[0]
        depth = runs.pop()[1] if runs and runs[-1][0] == width else 0
        runs.append((width, depth + 1))
    return runs


def _stages_of_timm(weights: Weights) -> list[Keys]:
    """The stages by the attributes of timm's blocks; the last block of a stage says where the stage attends."""
    attributes, runs = weights.attributes, _runs(weights)
    ends = [0, *accumulate(depth for _, depth in runs)]
    stages = []
    for (width, depth), (first, after) in zip(runs, pairwise(ends), strict=True):
        of_first, of_last = f"blocks.{first}.attn", f"blocks.{after - 1}.attn"
        in_units = attributes[f"{of_last}.use_mask_unit_attn"]
        side = isqrt(attributes[f"{of_first}.q_stride"])
        stages.append({
            "block": "mask_unit", "embed_dim": width, "depth": depth, "num_heads": attributes[f"{of_first}.heads"],
            "window_size": isqrt(attributes[f"{of_last}.window_size"]) if in_units else 0,
            **({"q_stride": side} if side > 1 else {}),
        })  # fmt: skip
    return stages


def _published_stages(weights: Weights) -> list[Keys]:
    weights.notes.append(
        "Weights do not show heads, pooling and mask units: these are those of the published model."
    )
    runs = _runs(weights)
    decoder = next(filter(None, map(DECODER.fullmatch, weights.shapes)), None)
    encoder = runs if decoder is None else runs[:-1]
    pools = (
        len(encoder) if decoder is None else weights.count(f"transitions.{decoder[1]}.{FUSION}.{{}}.weight")
    )
    stages: list[Keys] = [
        {
            "block": stage.block, "embed_dim": stage.embed_dim, "depth": stage.depth, "num_heads": stage.num_heads,
            "window_size": stage.window_size[0],
            **({"q_stride": stage.q_stride} if stage.q_stride > 1 and number <= pools else {}),
        }
        for number, stage in enumerate(_published_model(weights, encoder).stages)
    ]  # fmt: skip
    if decoder is not None:
        width, depth = runs[-1]
        own = {"transition": "hiera_decoder", "block": "mask_unit", "embed_dim": width, "depth": depth}
        stages.append({**own, "num_heads": DECODERS_HEADS})
    return stages


def _published_model(weights: Weights, runs: list[tuple[int, int]]) -> EncoderConfig:
    """The published model with these widths and depths."""
    for config in published_models("mask_unit"):
        if [(stage.embed_dim, stage.depth) for stage in config.stages] == runs:
            return config
    blocks = ", ".join(f"{depth} of width {width}" for width, depth in runs)
    raise weights.error(
        "not-in-shapes",
        "shapes do not show heads, pooling and mask units, and none of Hiera's published models has these blocks: "
        f"{blocks}. Write the config by hand (`samattn configs --show hiera_t`)",
    )


HUGGING_FACE = {"hiera": from_hiera}
EAGER_ONLY = ("hiera",)
CHECKPOINTS = (CheckpointKind(is_hiera, names, from_weights, differences=differences),)
