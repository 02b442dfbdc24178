"""DaViT and Florence-2's encoder: transformers' Florence2VisionConfig, Microsoft's, checkpoints of both, and timm's models.

Sources: transformers 5.23.0, models/florence2; microsoft/Florence-2-base on the hub, configuration_florence2.py and
modeling_florence2.py; dingmyu/davit and timm 1.0.31, models/davit.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ...encoder.model import EncoderConfig
from ...importing.checkpoint import Shapes
from ...importing.description import Description, Keys, ratio_of
from ...importing.published_models import published_models
from ...importing.weights import CheckpointKind, Weights, renamer

DEFAULTS = {
    "in_channels": 3, "depths": [1, 1, 9, 1], "patch_size": [7, 3, 3, 3], "patch_stride": [4, 2, 2, 2],
    "patch_padding": [3, 1, 1, 1], "patch_prenorm": [False, True, True, True], "embed_dim": [128, 256, 512, 1024],
    "num_heads": [4, 8, 16, 32], "num_groups": [4, 8, 16, 32], "window_size": 12, "mlp_ratio": 4.0, "qkv_bias": True,
}  # fmt: skip
IMAGE_SIZE = 768
"""Of Florence-2's processor; the model's description does not say it."""

EMBEDDINGS = {"florence2": "conv_embed", "davit": "conv_embed_2x2"}
SHOWN = {"florence2": "florence2_base", "davit": "davit_t"}
"""A preset of each."""

KERNELS = {3: "florence2", 2: "davit"}
"""The block that goes with a convolution of this side between stages, in published models."""

SPATIAL = ("0", "spatial_block")
"""Names of the first block of a layer."""

HALVES = {"spatial_block": 0, "channel_block": 1, "0": 0, "1": 1}
"""The two blocks of a layer, by their names."""

BLOCK = re.compile(
    r"(?:stages\.(?P<stage>\d{1,4})\.blocks|(?:main_)?blocks\.(?P<number>\d{1,4}))"
    r"\.(?P<layer>\d{1,4})\.(?P<half>spatial_block|channel_block|[01])\.(?P<rest>.*)"
)
EMBED = re.compile(
    r"(?:stages\.(\d{1,4})\.downsample|(?:convs|patch_embeds)\.(\d{1,4}))\.(?:(norm)|conv|proj)\.(\w+)"
)
WITHIN = renamer(
    (r"conv([12])\.(?:fn\.dw\.)?(weight|bias)", r"cpe\1.proj.\2"),
    (r"cpe\.([01])\.proj\.(.*)", r"cpe[\1].proj.\2"),
    (r"(?:window|channel)_attn\.norm\.(.*)", r"norm1.\1"),
    (r"(?:window|channel)_attn\.(?:fn\.)?(.*)", r"attn.\1"),
    (r"ffn\.norm\.(.*)", r"norm2.\1"),
    (r"ffn\.fn\.net\.(.*)", r"mlp.\1"),
    (r"ffn\.(.*)", r"mlp.\1"),
)
"""Names within a block in transformers, in Microsoft's code and in dingmyu's, as timm's."""
COUNTED_FROM_1 = {"cpe[0]": "cpe1", "cpe[1]": "cpe2"}


def from_florence2(description: Description) -> Keys:
    """A Florence2VisionConfig of transformers."""
    return _from_config(description.with_defaults(**DEFAULTS))


def from_microsoft(description: Description) -> Keys:
    """The vision config of Microsoft's own code, which calls the widths dim_embed."""
    renamed = {"embed_dim": "dim_embed", "in_channels": "in_chans"}
    entries = {
        ours: description.entries[theirs] for ours, theirs in renamed.items() if theirs in description.entries
    }
    description.read |= {theirs for theirs in renamed.values() if theirs in description.entries}
    return _from_config(description.with_defaults(**{**DEFAULTS, **entries}))


def _from_config(description: Description) -> Keys:
    depths = description.integers("depths")
    if not depths:
        raise description.wrong("depths", "a list with a number for each stage")
    others = depths[1:]
    patch = description.integers("patch_stride", len(depths))[0]
    for key, own, later in (
        ("patch_stride", patch, 2),
        ("patch_size", 2 * patch - 1, 3),
        ("patch_padding", patch - 1, 1),
        ("patch_prenorm", False, True),
    ):
        expected = [own, *(later for _ in others)]
        description.expect(key, expected, tuple(expected))
    description.expect("activation_function", "gelu")
    description.ignore("drop_path_rate")
    description.notes.append(
        f"The description does not say the image size: {IMAGE_SIZE} is that of Florence-2's processor. --image-size takes another."
    )
    description.notes.append(
        "Each layer of the model is two blocks here: a spatial one and one over channels."
    )
    widths, heads, groups = (
        description.integers(key, len(depths)) for key in ("embed_dim", "num_heads", "num_groups")
    )
    common = {
        "window_size": description.side("window_size"),
        "mlp_ratio": description.number("mlp_ratio"),
        "qkv_bias": description.flag("qkv_bias"),
    }
    stages = [
        _stage("florence2", number, (widths[number], depth, heads[number]), common)
        for number, depth in enumerate(depths)
    ]
    return _encoder(IMAGE_SIZE, description.integer("in_channels"), patch, _with_groups(stages, groups))


def _with_groups(stages: list[Keys], groups: list[int]) -> list[Keys]:
    """The stages; where a stage has another number of groups than of heads, its channel blocks have that."""
    made, start = [], 0
    for stage, number in zip(stages, groups, strict=True):
        blocks = list(range(start + 1, start + stage["depth"], 2))
        own = {"overrides": [{"blocks": blocks, "num_heads": number}]} if number != stage["num_heads"] else {}
        made.append({**stage, **own})
        start += stage["depth"]
    return made


def _stage(block: str, number: int, shape: tuple[int, int, int], common: Keys) -> Keys:
    """A stage of (width, layers, heads); each but the first begins with a convolution."""
    width, layers, heads = shape
    keys = {"block": block, "embed_dim": width, "depth": 2 * layers, "num_heads": heads, **common}
    return {**keys, **({"transition": EMBEDDINGS[block]} if number else {})}


def _encoder(image_size: Any, channels: int, patch: int, stages: list[Keys]) -> Keys:
    return {
        "image_size": image_size,
        "in_chans": channels,
        "patch_size": patch,
        "patch_embed": "overlapping_norm",
        "pos_embed": "none",
        "stages": stages,
    }


def is_davit(shapes: Shapes) -> bool:
    """Whether it has a spatial block and a channel block, and a convolution before them."""
    found = {(match["half"], match["rest"]) for match in map(BLOCK.fullmatch, shapes) if match}
    halves = {HALVES[half] for half, rest in found if rest.endswith("qkv.weight")}
    return halves == {0, 1} and any(
        name in shapes
        for name in (
            "stem.conv.weight",
            "convs.0.conv.weight",
            "convs.0.proj.weight",
            "patch_embeds.0.proj.weight",
        )
    )


def names(shapes: Shapes) -> Callable[[str], str | None]:
    """Each layer is two blocks, which are numbered over the whole encoder."""
    layers: dict[int, int] = {}
    for match in filter(None, map(BLOCK.fullmatch, shapes)):
        stage = int(match["stage"] or match["number"])
        layers[stage] = max(layers.get(stage, 0), int(match["layer"]) + 1)

    def name(theirs: str) -> str | None:
        if match := BLOCK.fullmatch(theirs):
            stage = int(match["stage"] or match["number"])
            index = (
                2 * (sum(layers.get(each, 0) for each in range(stage)) + int(match["layer"]))
                + HALVES[match["half"]]
            )
            within = WITHIN(match["rest"]) or ""
            for counted, own in COUNTED_FROM_1.items():
                within = within.replace(counted, own)
            return f"blocks.{index}.{within}"
        if theirs.startswith("stem."):
            return theirs.replace("stem.", "patch_embed.", 1)
        if match := EMBED.fullmatch(theirs):
            stage, part = int(match[1] or match[2]), match[3] or "conv"
            return f"transitions.{stage}.{part}.{match[4]}" if stage else f"patch_embed.{part}.{match[4]}"
        return None

    return name


def from_weights(weights: Weights) -> Keys:
    """Widths and kernels are read off the shapes; heads and windows are a timm model's, or those of the published model."""
    width, channels, *_ = weights.shape("patch_embed.conv.weight", 4)
    patch = (weights.square("patch_embed.conv.weight") + 1) // 2
    block = _block(weights)
    layers = _layers(weights)
    hidden, _ = weights.shape("blocks.0.mlp.fc1.weight", 2)
    common = {"mlp_ratio": ratio_of(hidden, width), "qkv_bias": "blocks.0.attn.qkv.bias" in weights}
    size, window, heads = (
        _of_timm(weights, layers) if weights.attributes else _published(weights, block, layers)
    )
    stages = [
        _stage(block, number, (width, depth, heads[number]), {"window_size": window, **common})
        for number, (width, depth) in enumerate(layers)
    ]
    return _encoder(size, channels, patch, stages)


def _block(weights: Weights) -> str:
    """The kind of block, by the kernel between stages."""
    kernel = weights.square("transitions.1.conv.weight")
    if kernel not in KERNELS:
        raise weights.error(
            "unsupported-model",
            f"has convolutions of {kernel}x{kernel} between stages; samattn supports 2x2 (DaViT) and 3x3 (Florence-2)",
        )
    return KERNELS[kernel]


def _layers(weights: Weights) -> list[tuple[int, int]]:
    """(width, layers) of each stage, by the convolutions that lead into stages."""
    count = 1
    while f"transitions.{count}.conv.weight" in weights:
        count += 1
    widths = [weights.shape("patch_embed.conv.weight", 4)[0]]
    widths += [weights.shape(f"transitions.{number}.conv.weight", 4)[0] for number in range(1, count)]
    of_blocks = [
        weights.shape(f"blocks.{index}.norm1.weight", 1)[0]
        for index in range(weights.count_at_least_one("blocks.{}.norm1.weight"))
    ]
    return [(width, of_blocks.count(width) // 2) for width in widths]


def _of_timm(weights: Weights, layers: list[tuple[int, int]]) -> tuple[Any, int, list[int]]:
    """The image size, the window, and the heads of each stage."""
    found = weights.attributes
    spatial = next(half for half in SPATIAL if f"stages.0.blocks.0.{half}.num_heads" in found)
    heads = [found[f"stages.{number}.blocks.0.{spatial}.num_heads"] for number in range(len(layers))]
    return found.get("input_size"), found[f"stages.0.blocks.0.{spatial}.window_size"][0], heads


def _published(weights: Weights, block: str, layers: list[tuple[int, int]]) -> tuple[int, int, list[int]]:
    """The same of the published model with these widths and depths."""
    for config in published_models(block):
        if [(stage.embed_dim, stage.depth // 2) for stage in config.stages] == layers:
            weights.notes.append(
                "Weights do not show image size, heads and windows: these are those of the published model."
            )
            return config.image_size[0], _window(config), [stage.num_heads for stage in config.stages]
    stages = ", ".join(f"{depth} of width {width}" for width, depth in layers)
    raise weights.error(
        "not-in-shapes",
        "shapes do not show heads and windows, and no published model has these layers: "
        f"{stages}. Write the config by hand (`samattn configs --show {SHOWN[block]}`)",
    )


def _window(config: EncoderConfig) -> int:
    return config.stages[0].window_size[0]


HUGGING_FACE = {"florence_vision": from_florence2}
COPIES = {"davit": from_microsoft, "florence2_vision": from_microsoft}
EAGER_ONLY = ("davit", "florence2_vision")
CHECKPOINTS = (CheckpointKind(is_davit, names, from_weights),)
