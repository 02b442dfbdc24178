"""Swin and Swin V2: transformers' SwinConfig and Swinv2Config; checkpoints of Microsoft's code, and timm's models.

Sources: transformers, models/swin and models/swinv2; microsoft/Swin-Transformer, models/swin_transformer.py and
swin_transformer_v2.py; timm, models of the same names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import accumulate, count, takewhile
from math import isqrt, prod

from ...encoder.slots import OF_IMAGES
from ...importing.checkpoint import Shapes
from ...importing.description import Description, Keys, Size, as_size, grid_of, ratio_of
from ...importing.published_models import published_models
from ...importing.weights import CheckpointKind, Weights, renamer, square_side
from ...units import format_size
from .transformers_differences import swin_differences, swinv2_differences

DEFAULTS = {
    "image_size": 224, "patch_size": 4, "num_channels": 3, "embed_dim": 96, "depths": [2, 2, 6, 2],
    "num_heads": [3, 6, 12, 24], "window_size": 7, "mlp_ratio": 4.0, "qkv_bias": True,
    "use_absolute_embeddings": False,
}  # fmt: skip

BLOCK = re.compile(r"layers\.([0-9]{1,4})\.blocks\.([0-9]{1,4})\.(.*)")
MERGING = re.compile(r"layers\.([0-9]{1,4})\.downsample\.(.*)")
GRIDS = 32
"""Pixels along an image's side for each token of a window, in published models: 4 px a patch, 8 windows."""

NORM_OF_A_STAGE = re.compile(r"norm(\d)\.(weight|bias)")
"""In Swin's code for detectors and in OpenMMLab's. If there is only one, it is the norm of the last stage."""

ALL_BIASES = "blocks.0.attn.qkv.bias"
"""In torchvision's Swin V2, keys have a bias too."""

BUFFERS = r".*(relative_position_index|relative_coords_table|attn_mask|k_bias)"
"""Buffers of blocks, which released checkpoints have."""


def from_v1(description: Description) -> Keys:
    """A SwinConfig."""
    return _from_config(description, "swin", "patch_merging")


def of_backbone(description: Description, keys: Keys) -> Keys:
    """A norm for each feature map that a backbone returns, and that of SwinModel, which nothing reads; its `out_indices` count the patches as the first map."""
    known = ["stem", *(f"stage{number + 1}" for number in range(len(keys["stages"])))]
    named, counted = (description.entries.get(key) for key in ("out_features", "out_indices"))
    description.read |= {"out_features", "out_indices"}
    names = named if named is not None else [known[-1]]
    if named is None and counted is not None:
        counts = description.integers("out_indices")
        names = [known[index] if index < len(known) else index for index in counts]
    if not isinstance(names, list) or not names or not all(name in known[1:] for name in names):
        key = "out_features" if named is not None else "out_indices"
        raise description.wrong(key, f"a list of some of {', '.join(known[1:])}, or of their numbers from 1")
    stages = sorted(known.index(name) - 1 for name in names)
    description.notes.append(
        "transformers' SwinBackbone keeps copies of what enters and leaves its stages: with `implementation: transformers` memory is "
        "that of its code, if each grid is larger than the window. It also shifts a window that covers the grid (at 224 px that of "
        "the last stage), which samattn does not: give a larger image, as in --image-size 1024."
    )
    return with_norms({**keys, "norm": False}, stages, "swin_backbone")


def of_maskformer(description: Description, keys: Keys) -> Keys:
    """It has a norm for each stage, whichever feature maps it returns."""
    every = [f"stage{number + 1}" for number in range(len(keys["stages"]))]
    description.entries |= {"out_features": every}
    return of_backbone(description, keys)


def of_v2_backbone(description: Description, keys: Keys) -> Keys:
    """Swinv2Backbone has no norms after its blocks."""
    description.read |= {"out_features", "out_indices"}
    return {**keys, "norm": False}


def with_norms(keys: Keys, stages: list[int], neck: str = "stage_norms") -> Keys:
    """The keys with a norm for the output of each of these stages."""
    whole = {key: value for key, value in keys.items() if key != "stages"} | {"neck": neck}
    if stages != list(range(len(keys["stages"]))):
        whole["out_indices"] = stages
    return whole | {"stages": keys["stages"]}


def from_donut(description: Description) -> Keys:
    """A DonutSwinConfig, whose model has no norm at its end."""
    return {**from_v1(description), "norm": False}


def from_v2(description: Description) -> Keys:
    """A Swinv2Config; its pretrained_window_sizes scale positions, which costs nothing."""
    return _from_config(description, "swinv2", "patch_merging_v2")


def _from_config(description: Description, block: str, merging: str) -> Keys:
    description = description.with_defaults(**DEFAULTS)
    description.expect("hidden_act", "gelu")
    description.ignore("hidden_dropout_prob", "attention_probs_dropout_prob", "drop_path_rate")
    depths = description.integers("depths")
    heads = description.integers("num_heads", len(depths))
    common = {
        "window_size": description.size("window_size"),
        "mlp_ratio": description.number("mlp_ratio"),
        "qkv_bias": description.flag("qkv_bias"),
    }
    width = description.integer("embed_dim")
    return {
        "image_size": description.size("image_size"),
        "in_chans": description.integer("num_channels"),
        "patch_size": description.side("patch_size"),
        "patch_embed": "patch_norm",
        "pos_embed": "learned" if description.flag("use_absolute_embeddings") else "none",
        "norm": True,
        "stages": [
            _stage(block, merging, number, (width << number, depth, heads[number]), common)
            for number, depth in enumerate(depths)
        ],
    }


def _stage(block: str, merging: str, number: int, shape: tuple[int, int, int], common: Keys) -> Keys:
    """A stage of (width, depth, heads); each but the first begins with a merging. `common` are keys of all stages."""
    keys = dict(zip(("embed_dim", "depth", "num_heads"), shape, strict=True))
    return {"block": block, **keys, **common, **({"transition": merging} if number else {})}


def is_swin(shapes: Shapes) -> bool:
    """Whether it has blocks within layers, with tables of biases or the logit scales of V2."""
    return bool(
        {f"layers.0.blocks.0.{name}" for name in ("attn.relative_position_bias_table", "attn.logit_scale")}
        & shapes.keys()
    )


def names(shapes: Shapes) -> Callable[[str], str | None]:
    """Blocks are numbered over the whole encoder. Microsoft's merging ends a layer; timm's begins the next."""
    depths: dict[int, int] = {}
    for match in filter(None, map(BLOCK.fullmatch, shapes)):
        layer, index = int(match[1]), int(match[2])
        depths[layer] = max(depths.get(layer, 0), index + 1)
    firsts = [*accumulate(takewhile(bool, (depths.get(layer, 0) for layer in count())), initial=0)]
    of_next = int("layers.0.downsample.reduction.weight" in shapes)
    own_norms = sum(bool(NORM_OF_A_STAGE.fullmatch(name)) for name in shapes)
    norms = r"neck.norms.\1.\2" if own_norms > len(("weight", "bias")) else r"norm.\2"
    name_of = renamer(
        (BUFFERS, None),
        (r"head\..*", None),
        (r"(absolute_pos_embed)", "pos_embed"),
        (NORM_OF_A_STAGE.pattern, norms),
    )

    def name(theirs: str) -> str | None:
        if (match := BLOCK.fullmatch(theirs)) and int(match[1]) < len(firsts) and name_of(theirs):
            return f"blocks.{firsts[int(match[1])] + int(match[2])}.{match[3]}"
        if match := MERGING.fullmatch(theirs):
            return f"transitions.{int(match[1]) + of_next}.{match[2]}"
        return name_of(theirs)

    return name


def from_weights(weights: Weights) -> Keys:
    """Widths show where stages begin, tables or logit scales show the heads, buffers show windows and image size."""
    is_v2 = "blocks.0.attn.logit_scale" in weights
    words = ("swinv2", "patch_merging_v2") if is_v2 else ("swin", "patch_merging")
    patch, window = _patch(weights), _window(weights, 0, 0)
    image, stages = _image_size(weights, patch, window), _shapes_of_stages(weights)
    (width,), (hidden, _) = (
        weights.shape("blocks.0.norm1.weight", 1),
        weights.shape("blocks.0.mlp.fc1.weight", 2),
    )
    bias = "blocks.0.attn.q_bias" if is_v2 else "blocks.0.attn.qkv.bias"
    common = {"mlp_ratio": ratio_of(hidden, width), "qkv_bias": bias in weights}
    if is_v2 and ALL_BIASES in weights:
        common |= {"qkv_bias": True, "zeroed_key_bias": True}
    windows = list(_windows(weights, stages, image, patch, window))
    normed = [number for number in range(len(stages)) if f"neck.norms.{number}.weight" in weights]
    keys = {
        "image_size": image,
        "in_chans": weights.shape("patch_embed.proj.weight", 5 if _is_of_videos(weights) else 4)[1],
        "patch_size": patch,
        "patch_embed": "patch_norm" if "patch_embed.norm.weight" in weights else "patch",
        "pos_embed": "none",
        "norm": "norm.weight" in weights,
        "stages": [
            _stage(*words, number, shape, {"window_size": windows[number], **common})
            for number, shape in enumerate(stages)
        ],
    }
    return with_norms(keys, normed) if normed else keys


def _shapes_of_stages(weights: Weights) -> list[tuple[int, int, int]]:
    """(width, depth, heads) of each run of blocks with the same width."""
    stages: list[tuple[int, int, int]] = []
    for index in range(weights.count_at_least_one("blocks.{}.norm1.weight")):
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
    weights: Weights, stages: list[tuple[int, int, int]], image: Size, patch: Size, window: Size
) -> Iterator[Size]:
    """The window of each stage. One that only the small grid has cut is that of the first stage; grids halve."""
    first, grid = 0, grid_of(image, patch) if isinstance(patch, int) else image
    for number, (_, depth, _) in enumerate(stages):
        own = _window(weights, number, first)
        is_cut = (
            isinstance(grid, int) and isinstance(window, int) and own == min(window, -(-grid // 2**number))
        )
        yield window if is_cut else own
        first += depth


def _window(weights: Weights, number: int, first: int) -> Size:
    """The window of a stage that begins with block `first`.

    It is read from a timm model's attribute, V2's buffer of coordinates, (1, 2h-1, 2w-1, 2), or the table, whose rows are
    (2w-1)(2w-1).
    """
    attention = f"layers.{number}.blocks.0.attn"
    if (size := weights.attributes.get(f"{attention}.window_size")) is not None:
        return as_size(size)
    coordinates = weights.others.get(f"{attention}.relative_coords_table", ())
    if len(coordinates) == len("1hw2"):
        return as_size([(side + 1) // 2 for side in coordinates[1:3]])
    table = f"blocks.{first}.attn.relative_position_bias_table"
    if table in weights and _is_of_videos(weights):
        tokens, *_ = weights.others.get(f"{attention}.relative_position_index") or (0,)
        if size := window_of_video(weights.shape(table, 2)[0], tokens):
            return size
    elif table in weights and (side := square_side(weights.shape(table, 2)[0])):
        return (side + 1) // 2
    raise weights.error("not-in-shapes", "its weights do not show the window: write the config by hand")


def window_of_video(entries: int, tokens: int) -> Size:
    """A window with square frames, by the entries of its table, (2t-1)(2h-1)(2h-1), and its tokens; 0 if there is none.

    With 0 tokens, which are not known then, it is the window with the largest frames.
    """
    sides = (side for side in range(1, isqrt(entries) // 2 + 2) if entries % (2 * side - 1) ** 2 == 0)
    windows = ([(entries // (2 * side - 1) ** 2 + 1) // 2, side, side] for side in sides)
    return next((size for size in reversed([*windows]) if tokens in {0, prod(size)}), 0)


def _is_of_videos(weights: Weights) -> bool:
    return len(weights.shapes.get("patch_embed.proj.weight", ())) == len("oithw")


def _patch(weights: Weights) -> Size:
    """The side of the patch; of videos its sides along all axes."""
    if not _is_of_videos(weights):
        return weights.square("patch_embed.proj.weight")
    return list(weights.shape("patch_embed.proj.weight", 5)[2:])


def _image_size(weights: Weights, patch: Size, window: Size) -> Size:
    """The image size by a timm model's attribute, or by the mask of shifted windows, (windows, N, N), of a square grid."""
    if (size := weights.attributes.get("patch_embed.img_size")) is not None:
        return as_size(size)
    if not isinstance(patch, int):
        return _size_of_video(weights)
    mask = weights.others.get("layers.0.blocks.1.attn_mask", ())
    side = square_side(mask[0]) if len(mask) == len("nNN") else None
    if not isinstance(window, int):
        raise weights.error(
            "not-in-shapes", "its weights do not show the image size: write the config by hand"
        )
    return side * window * patch if side else _published_size(weights, window)


def _size_of_video(weights: Weights) -> Size:
    """That of Video Swin's published models."""
    size = next(list(model.image_size) for model in published_models("swin") if len(model.image_size) == 3)  # noqa: PLR2004
    weights.notes.append(
        f"Weights do not show the size of videos: {format_size(size)}, frames first, is that of published models. --image-size takes "
        "another, such as 16x224x224."
    )
    return size


def _published_size(weights: Weights, window: int) -> int:
    """The image size of the published models with such windows; detectors take images of any size."""
    block = "swinv2" if "blocks.0.attn.logit_scale" in weights else "swin"
    sizes = {
        model.stages[0].window_size[0]: model.image_size[0]
        for model in published_models(block)
        if model.patch_embed == "patch_norm"
        and len(model.image_size) in OF_IMAGES  # models of others have the same blocks
    }
    size = sizes.get(window, window * GRIDS)
    weights.notes.append(
        f"Weights do not show the image size: {size} is that of published models with windows of {window}. "
        "--image-size takes another."
    )
    return size


HUGGING_FACE = {"swin": from_v1, "swinv2": from_v2}
BACKBONES = {"swin": of_backbone, "swinv2": of_v2_backbone, "maskformer-swin": of_maskformer}
COPIES = {"maskformer-swin": from_v1, "donut-swin": from_donut}
TRANSFORMERS_DIFFERENCES = {"swin": swin_differences, "swinv2": swinv2_differences}
EAGER_ONLY = ("swinv2", "maskformer-swin", "donut-swin")
CHECKPOINTS = (CheckpointKind(is_swin, names, from_weights),)
