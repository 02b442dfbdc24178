"""SAM 2's Hiera: transformers' Sam2Config with its vision and backbone parts, checkpoints of SAM 2, and timm's models.

Sources: transformers, models/sam2/configuration_sam2.py and modeling_sam2.py; facebookresearch/sam2,
sam2/modeling/backbones/hieradet.py and image_encoder.py; timm, models/hieradet_sam2.py.
"""

from __future__ import annotations

from collections.abc import Callable

from ...encoder.model import EncoderConfig
from ...importing.checkpoint import Shapes
from ...importing.description import Description, Keys, ratio_of
from ...importing.published_models import published_models
from ...importing.weights import CheckpointKind, Weights, renamer

TRUNK, NECK = "trunk.", "neck."
ENCODER = "image_encoder."
"""Prefix of the encoder's weights in a checkpoint of the whole model."""
POOLED = 2
"""The stride of pooled queries."""
RUN = {"attention": "sdpa"}
"""SAM 2's own code has no other kernel."""
LAST = ("stages", "run")
"""Keys that are written after the neck's."""


def from_model(description: Description) -> Keys:
    """A Sam2Config."""
    return from_vision(description.inner("vision_config", "sam2_vision_model"))


def from_vision(description: Description) -> Keys:
    """A Sam2VisionConfig: backbone and neck."""
    keys = from_backbone(description.inner("backbone_config", "sam2_hiera_det_model"))
    description = description.with_defaults(fpn_hidden_size=256)
    description.expect("backbone_channel_list", [stage["embed_dim"] for stage in reversed(keys["stages"])])
    description.expect("fpn_kernel_size", 1)
    description.expect("fpn_stride", 1)
    description.expect("fpn_padding", 0)
    description.expect("fpn_top_down_levels", [2, 3])
    description.expect("num_feature_levels", 3)
    return with_neck(keys, description.integer("fpn_hidden_size"))


def with_neck(keys: Keys, channels: int) -> Keys:
    """The keys with SAM 2's neck."""
    return {key: keys[key] for key in keys if key not in LAST} | {
        "neck": "sam2_fpn",
        "out_chans": channels,
        **{key: keys[key] for key in LAST if key in keys},
    }


def from_backbone(description: Description) -> Keys:
    """A Sam2HieraDetConfig."""
    description = description.with_defaults(
        hidden_size=96, num_channels=3, image_size=[1024, 1024], patch_stride=[4, 4], query_stride=[2, 2],
        window_positional_embedding_background_size=[7, 7], num_query_pool_stages=3, mlp_ratio=4.0,
        blocks_per_stage=[1, 2, 7, 2], embed_dim_per_stage=[96, 192, 384, 768],
        num_attention_heads_per_stage=[1, 2, 4, 8], window_size_per_stage=[8, 4, 14, 7],
        global_attention_blocks=[5, 7, 9],
    )  # fmt: skip
    description.expect("hidden_act", "gelu")
    patch, stages = description.side("patch_stride"), _stages(description)
    for key, expected in (("patch_kernel_size", 2 * patch - 1), ("patch_padding", patch - 1)):
        description.expect(key, [expected, expected], expected)
    description.expect("hidden_size", stages[0]["embed_dim"])
    return {
        "image_size": description.size("image_size"),
        "in_chans": description.integer("num_channels"),
        "patch_size": patch,
        "patch_embed": "overlapping",
        "pos_embed": "hiera",
        "pos_embed_background": description.size("window_positional_embedding_background_size"),
        "pos_embed_window": stages[0]["window_size"],
        "stages": stages,
    }


def _stages(description: Description) -> list[Keys]:
    """The stages. `num_query_pool_stages` of them, from the second on, pool queries."""
    depths, ratio = _depths(description), description.number("mlp_ratio")
    stride, global_blocks = description.side("query_stride"), description.integers("global_attention_blocks")
    pooled = range(1, description.integer("num_query_pool_stages", 0) + 1)
    columns = [
        description.integers(key, len(depths))
        for key in ("embed_dim_per_stage", "num_attention_heads_per_stage", "window_size_per_stage")
    ]
    stages = []
    for number, (depth, width, heads, window) in enumerate(zip(depths, *columns, strict=True)):
        first = sum(depths[:number])
        stages.append({
            "block": "hiera", "embed_dim": width, "depth": depth, "num_heads": heads, "mlp_ratio": ratio,
            "window_size": window, "q_stride": stride if number in pooled else 1,
            "global_attn_indexes": [index for index in global_blocks if first <= index < first + depth],
        })  # fmt: skip
    return stages


def _depths(description: Description) -> list[int]:
    depths = description.integers("blocks_per_stage")
    if not depths:
        raise description.wrong("blocks_per_stage", "a list with a number for each stage")
    return depths


def is_hiera(shapes: Shapes) -> bool:
    """Whether it has the two position embeddings of SAM 2's trunk."""
    found = {name.removeprefix(ENCODER).removeprefix(TRUNK) for name in shapes}
    return {"pos_embed", "pos_embed_window", "blocks.0.attn.qkv.weight"} <= found


def names(shapes: Shapes) -> Callable[[str], str | None]:
    """Names of the encoder's weights only. timm has no neck, and names the MLP's layers fc1 and fc2."""
    prefix = ENCODER if any(name.startswith(ENCODER) for name in shapes) else ""
    trunk = rf"{prefix}(?:{TRUNK})?"
    return renamer(
        (rf"(?!{prefix}).*", None),
        (rf"{trunk}head\..*", None),
        (rf"{trunk}pos_embed", "pos_embed.background"),
        (rf"{trunk}pos_embed_window", "pos_embed.window"),
        (rf"{trunk}(blocks\.\d+\.mlp\.)fc1(\..*)", r"\1layers.0\2"),
        (rf"{trunk}(blocks\.\d+\.mlp\.)fc2(\..*)", r"\1layers.1\2"),
        (rf"{trunk}(.*)", r"\1"),
    )


def from_weights(weights: Weights) -> Keys:
    """Windows and heads are those of a timm model, or of the published model with the same widths and depths."""
    width, in_chans, *_ = weights.shape("patch_embed.proj.weight", 4)
    kernel = weights.square("patch_embed.proj.weight")
    *_, background, _ = weights.shape("pos_embed.background", 4)
    stages = _stages_of_timm(weights) if weights.attributes else _published_stages(weights)
    hidden, _ = weights.shape("blocks.0.mlp.layers.0.weight", 2)
    keys = {
        "image_size": weights.attributes.get("input_size") or _published_size(weights),
        "in_chans": in_chans,
        "patch_size": (kernel + 1) // 2,
        "patch_embed": "overlapping",
        "pos_embed": "hiera",
        "pos_embed_background": background,
        "pos_embed_window": weights.square("pos_embed.window"),
        "stages": [{**stage, "mlp_ratio": ratio_of(hidden, width)} for stage in stages],
        "run": RUN,
    }
    if "neck.convs.0.conv.weight" in weights:
        return with_neck(keys, weights.shape("neck.convs.0.conv.weight", 4)[0])
    return keys


def _runs(weights: Weights) -> list[tuple[int, int]]:
    """(width, depth) of each run of blocks with the same output width."""
    runs: list[tuple[int, int]] = []
    for index in range(weights.count_at_least_one("blocks.{}.attn.proj.weight")):
        width = weights.shape(f"blocks.{index}.attn.proj.weight", 2)[0]
        depth = runs.pop()[1] if runs and runs[-1][0] == width else 0
        runs.append((width, depth + 1))
    return runs


def _published_model(weights: Weights) -> EncoderConfig:
    """The published model with these widths and depths."""
    runs = _runs(weights)
    for config in published_models("hiera"):
        if [(stage.embed_dim, stage.depth) for stage in config.stages] == runs:
            return config
    blocks = ", ".join(f"{depth} of width {width}" for width, depth in runs)
    raise weights.error(
        "not-in-shapes",
        "shapes do not show heads, windows and global blocks, and none of SAM 2's published models has these blocks: "
        f"{blocks}. Write the config by hand (`samattn configs --show sam2_hiera_t`)",
    )


def _published_stages(weights: Weights) -> list[Keys]:
    weights.notes.append(
        "Weights do not show image size, heads, windows and global blocks: these are those of the published model."
    )
    return [
        {
            "block": stage.block, "embed_dim": stage.embed_dim, "depth": stage.depth, "num_heads": stage.num_heads,
            "window_size": stage.window_size[0], "q_stride": stage.q_stride,
            "global_attn_indexes": list(stage.global_attn_indexes),
        }
        for stage in _published_model(weights).stages
    ]  # fmt: skip


def _published_size(weights: Weights) -> int:
    return _published_model(weights).image_size[0]


def _stages_of_timm(weights: Weights) -> list[Keys]:
    """The stages by the attributes of timm's blocks; the window of a stage is that of its last windowed block."""
    attributes, stages, first = weights.attributes, [], 0
    for width, depth in _runs(weights):
        blocks = range(first, first + depth)
        windows = {index: attributes[f"blocks.{index}.window_size"][0] for index in blocks}
        own = [window for window in list(windows.values())[bool(first) :] if window]
        stages.append({
            "block": "hiera", "embed_dim": width, "depth": depth,
            "num_heads": attributes[f"blocks.{first}.attn.num_heads"], "window_size": own[-1] if own else 0,
            "q_stride": POOLED if attributes.get(f"blocks.{first}.q_stride") else 1,
            "global_attn_indexes": [index for index, window in windows.items() if not window],
        })  # fmt: skip
        first += depth
    return stages


HUGGING_FACE = {
    "sam2": from_model,
    "sam2_video": from_model,
    "sam2_vision_model": from_vision,
    "sam2_hiera_det_model": from_backbone,
}
CHECKPOINTS = (CheckpointKind(is_hiera, names, from_weights),)
