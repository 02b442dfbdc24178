"""Swin and Swin V2: transformers' SwinConfig and Swinv2Config; checkpoints of Microsoft's code, and timm's models.

Sources: transformers, models/swin and models/swinv2; microsoft/Swin-Transformer, models/swin_transformer.py and
swin_transformer_v2.py; timm, models of the same names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import accumulate, count, takewhile

from ...importing.checkpoint import Shapes
from ...importing.description import Given, Keys, Size, one, patches, ratio_of
from ...importing.weights import Checkpoint, Weights, renamed, side_of
from .as_transformers import otherwise_windowed, unrunnable

DEFAULTS = {
    "image_size": 224, "patch_size": 4, "num_channels": 3, "embed_dim": 96, "depths": [2, 2, 6, 2],
    "num_heads": [3, 6, 12, 24], "window_size": 7, "mlp_ratio": 4.0, "qkv_bias": True,
    "use_absolute_embeddings": False,
}  # fmt: skip

BLOCK = re.compile(r"layers\.([0-9]{1,4})\.blocks\.([0-9]{1,4})\.(.*)")
MERGING = re.compile(r"layers\.([0-9]{1,4})\.downsample\.(.*)")
BUFFERS = r".*(relative_position_index|relative_coords_table|attn_mask|k_bias)"
"""Of blocks; released checkpoints hold them."""


def from_v1(given: Given) -> Keys:
    """A SwinConfig."""
    return _from_config(given, "swin", "patch_merging")


def from_v2(given: Given) -> Keys:
    """A Swinv2Config; the windows of its pretraining scale positions, at no cost."""
    return _from_config(given, "swinv2", "patch_merging_v2")


def _from_config(given: Given, block: str, merging: str) -> Keys:
    given = given.with_defaults(**DEFAULTS)
    given.expect("hidden_act", "gelu")
    given.leave_out("hidden_dropout_prob", "attention_probs_dropout_prob", "drop_path_rate")
    depths = given.wholes("depths")
    heads = given.wholes("num_heads", len(depths))
    every = {
        "window_size": given.sides("window_size"),
        "mlp_ratio": given.number("mlp_ratio"),
        "qkv_bias": given.flag("qkv_bias"),
    }
    width = given.whole("embed_dim")
    return {
        "image_size": given.sides("image_size"),
        "in_chans": given.whole("num_channels"),
        "patch_size": given.side("patch_size"),
        "patch_embed": "patch_norm",
        "pos_embed": "learned" if given.flag("use_absolute_embeddings") else "none",
        "norm": True,
        "stages": [
            _stage(block, merging, number, (width << number, depth, heads[number]), every)
            for number, depth in enumerate(depths)
        ],
    }


def _stage(block: str, merging: str, number: int, shape: tuple[int, int, int], every: Keys) -> Keys:
    """A stage of (width, depth, heads); all but the first begin with a merging."""
    keys = dict(zip(("embed_dim", "depth", "num_heads"), shape, strict=True))
    return {"block": block, **keys, **every, **({"transition": merging} if number else {})}


def is_swin(shapes: Shapes) -> bool:
    """Blocks within layers, with tables of biases, or with the MLP of V2's."""
    return bool(
        {f"layers.0.blocks.0.{name}" for name in ("attn.relative_position_bias_table", "attn.logit_scale")}
        & shapes.keys()
    )


def names(shapes: Shapes) -> Callable[[str], str | None]:
    """Blocks are counted over the whole encoder. Microsoft's merging ends a layer, timm's begins the next."""
    depths: dict[int, int] = {}
    for match in filter(None, map(BLOCK.fullmatch, shapes)):
        layer, index = int(match[1]), int(match[2])
        depths[layer] = max(depths.get(layer, 0), index + 1)
    firsts = [*accumulate(takewhile(bool, (depths.get(layer, 0) for layer in count())), initial=0)]
    of_next = int("layers.0.downsample.reduction.weight" in shapes)
    name_of = renamed((BUFFERS, None), (r"head\..*", None), (r"(absolute_pos_embed)", "pos_embed"))

    def name(theirs: str) -> str | None:
        if (match := BLOCK.fullmatch(theirs)) and int(match[1]) < len(firsts) and name_of(theirs):
            return f"blocks.{firsts[int(match[1])] + int(match[2])}.{match[3]}"
        if match := MERGING.fullmatch(theirs):
            return f"transitions.{int(match[1]) + of_next}.{match[2]}"
        return name_of(theirs)

    return name


def from_weights(weights: Weights) -> Keys:
    """Widths tell where stages begin, tables or logit scales the heads, buffers of V2's and of shifted blocks the rest."""
    is_v2 = "blocks.0.attn.logit_scale" in weights
    words = ("swinv2", "patch_merging_v2") if is_v2 else ("swin", "patch_merging")
    patch, window = weights.square("patch_embed.proj.weight"), _window(weights, 0, 0)
    image, stages = _image_size(weights, patch, window), _shapes_of_stages(weights)
    (width,), (hidden, _) = (
        weights.shape("blocks.0.norm1.weight", 1),
        weights.shape("blocks.0.mlp.fc1.weight", 2),
    )
    bias = "blocks.0.attn.q_bias" if is_v2 else "blocks.0.attn.qkv.bias"
    every = {"mlp_ratio": ratio_of(hidden, width), "qkv_bias": bias in weights}
    windows = list(_windows(weights, stages, patches(image, patch), window))
    return {
        "image_size": image,
        "in_chans": weights.shape("patch_embed.proj.weight", 4)[1],
        "patch_size": patch,
        "patch_embed": "patch_norm" if "patch_embed.norm.weight" in weights else "patch",
        "pos_embed": "none",
        "norm": "norm.weight" in weights,
        "stages": [
            _stage(*words, number, shape, {"window_size": windows[number], **every})
            for number, shape in enumerate(stages)
        ],
    }


def _shapes_of_stages(weights: Weights) -> list[tuple[int, int, int]]:
    """(width, depth, heads) of each run of blocks of one width."""
    stages: list[tuple[int, int, int]] = []
    for index in range(weights.some("blocks.{}.norm1.weight")):
        (width,) = weights.shape(f"blocks.{index}.norm1.weight", 1)
        if stages and stages[-1][0] == width:
            stages[-1] = (width, stages[-1][1] + 1, stages[-1][2])
        else:
            stages.append((width, 1, _heads(weights, index)))
    return stages


def _heads(weights: Weights, index: int) -> int:
    scale = f"blocks.{index}.attn.logit_scale"
    if scale in weights:
        return weights.shape(scale, 3)[0]
    return weights.shape(f"blocks.{index}.attn.relative_position_bias_table", 2)[1]


def _windows(
    weights: Weights, stages: list[tuple[int, int, int]], grid: Size, window: Size
) -> Iterator[Size]:
    """Of each stage; that of the first where the stage's grid, half of the one before, has cut it."""
    first = 0
    for number, (_, depth, _) in enumerate(stages):
        own = _window(weights, number, first)
        cut = isinstance(grid, int) and isinstance(window, int) and own == min(window, -(-grid // 2**number))
        yield window if cut else own
        first += depth


def _window(weights: Weights, number: int, first: int) -> Size:
    """Of a stage that begins with block `first`.

    By the model's own word, V2's buffer of coordinates, (1, 2h-1, 2w-1, 2), or the table, of (2w-1)(2w-1) rows.
    """
    attention = f"layers.{number}.blocks.0.attn"
    if (said := weights.facts.get(f"{attention}.window_size")) is not None:
        return one(said)
    coordinates = weights.beside.get(f"{attention}.relative_coords_table", ())
    if len(coordinates) == len("1hw2"):
        return one([(side + 1) // 2 for side in coordinates[1:3]])
    table = f"blocks.{first}.attn.relative_position_bias_table"
    if table in weights and (side := side_of(weights.shape(table, 2)[0])):
        return (side + 1) // 2
    raise weights.unfit("its weights do not tell the window: write the config by hand")


def _image_size(weights: Weights, patch: int, window: Size) -> Size:
    """By the model's own word, or the mask of shifted windows, (windows, N, N), at a square grid."""
    if (said := weights.facts.get("patch_embed.img_size")) is not None:
        return one(said)
    mask = weights.beside.get("layers.0.blocks.1.attn_mask", ())
    side = side_of(mask[0]) if len(mask) == len("nNN") else None
    if side is None or not isinstance(window, int):
        raise weights.unfit(
            "without the masks of shifted windows (layers.0.blocks.1.attn_mask) its weights do not tell the image size: "
            "write the config by hand (`samattn configs --show swin_t`)"
        )
    return side * window * patch


HUGGING_FACE = {"swin": from_v1, "swinv2": from_v2}
AS_TRANSFORMERS_RUNS = {"swin": unrunnable, "swinv2": otherwise_windowed}
EAGER_ALONE = ("swinv2",)
CHECKPOINTS = (Checkpoint(is_swin, names, from_weights),)
