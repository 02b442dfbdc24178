"""SAM 2's Hiera: transformers' Sam2Config, its vision and backbone parts; checkpoints of SAM 2, and timm's models.

Sources: transformers, models/sam2/configuration_sam2.py and modeling_sam2.py; facebookresearch/sam2,
sam2/modeling/backbones/hieradet.py and image_encoder.py; timm, models/hieradet_sam2.py.
"""

from __future__ import annotations

from collections.abc import Callable

from ...encoder.model import EncoderConfig
from ...importing.checkpoint import Shapes
from ...importing.description import Given, Keys, ratio_of
from ...importing.from_presets import published
from ...importing.weights import Checkpoint, Weights, renamed

TRUNK, NECK = "trunk.", "neck."
OF_THE_MODEL = "image_encoder."
POOLED = 2
"""The stride of pooled queries."""
RUN = {"attention": "sdpa"}
"""The only kernel of SAM 2's own code."""
LAST = ("stages", "run")


def from_model(given: Given) -> Keys:
    """A Sam2Config."""
    return from_vision(given.inner("vision_config", "sam2_vision_model"))


def from_vision(given: Given) -> Keys:
    """A Sam2VisionConfig: backbone and neck."""
    keys = from_backbone(given.inner("backbone_config", "sam2_hiera_det_model"))
    given = given.with_defaults(fpn_hidden_size=256)
    given.expect("backbone_channel_list", [stage["embed_dim"] for stage in reversed(keys["stages"])])
    given.expect("fpn_kernel_size", 1)
    given.expect("fpn_stride", 1)
    given.expect("fpn_padding", 0)
    given.expect("fpn_top_down_levels", [2, 3])
    given.expect("num_feature_levels", 3)
    return _with_neck(keys, given.whole("fpn_hidden_size"))


def _with_neck(keys: Keys, channels: int) -> Keys:
    return {key: keys[key] for key in keys if key not in LAST} | {
        "neck": "sam2_fpn",
        "out_chans": channels,
        **{key: keys[key] for key in LAST if key in keys},
    }


def from_backbone(given: Given) -> Keys:
    """A Sam2HieraDetConfig."""
    given = given.with_defaults(
        hidden_size=96, num_channels=3, image_size=[1024, 1024], patch_stride=[4, 4], query_stride=[2, 2],
        window_positional_embedding_background_size=[7, 7], num_query_pool_stages=3, mlp_ratio=4.0,
        blocks_per_stage=[1, 2, 7, 2], embed_dim_per_stage=[96, 192, 384, 768],
        num_attention_heads_per_stage=[1, 2, 4, 8], window_size_per_stage=[8, 4, 14, 7],
        global_attention_blocks=[5, 7, 9],
    )  # fmt: skip
    given.expect("hidden_act", "gelu")
    patch, stages = given.side("patch_stride"), _stages(given)
    for key, taken in (("patch_kernel_size", 2 * patch - 1), ("patch_padding", patch - 1)):
        given.expect(key, [taken, taken], taken)
    given.expect("hidden_size", stages[0]["embed_dim"])
    return {
        "image_size": given.sides("image_size"),
        "in_chans": given.whole("num_channels"),
        "patch_size": patch,
        "patch_embed": "overlapping",
        "pos_embed": "hiera",
        "pos_embed_background": given.sides("window_positional_embedding_background_size"),
        "pos_embed_window": stages[0]["window_size"],
        "stages": stages,
    }


def _stages(given: Given) -> list[Keys]:
    """A stage for each number of blocks; queries are pooled in the stages after the first, as many as it says."""
    depths, ratio = _depths(given), given.number("mlp_ratio")
    stride, everywhere = given.side("query_stride"), given.wholes("global_attention_blocks")
    pooled = range(1, given.whole("num_query_pool_stages", 0) + 1)
    columns = [
        given.wholes(key, len(depths))
        for key in ("embed_dim_per_stage", "num_attention_heads_per_stage", "window_size_per_stage")
    ]
    stages = []
    for number, (depth, width, heads, window) in enumerate(zip(depths, *columns, strict=True)):
        first = sum(depths[:number])
        stages.append({
            "block": "hiera", "embed_dim": width, "depth": depth, "num_heads": heads, "mlp_ratio": ratio,
            "window_size": window, "q_stride": stride if number in pooled else 1,
            "global_attn_indexes": [index for index in everywhere if first <= index < first + depth],
        })  # fmt: skip
    return stages


def _depths(given: Given) -> list[int]:
    found = given.wholes("blocks_per_stage")
    if not found:
        raise given.wrong("blocks_per_stage", "a list of a number for each stage")
    return found


def is_hiera(shapes: Shapes) -> bool:
    """The two position embeddings of SAM 2's trunk."""
    found = {name.removeprefix(OF_THE_MODEL).removeprefix(TRUNK) for name in shapes}
    return {"pos_embed", "pos_embed_window", "blocks.0.attn.qkv.weight"} <= found


def names(shapes: Shapes) -> Callable[[str], str | None]:
    """The encoder's alone. timm has no neck, and calls the MLP's layers fc1 and fc2."""
    before = OF_THE_MODEL if any(name.startswith(OF_THE_MODEL) for name in shapes) else ""
    trunk = rf"{before}(?:{TRUNK})?"
    return renamed(
        (rf"(?!{before}).*", None),
        (rf"{trunk}head\..*", None),
        (rf"{trunk}pos_embed", "pos_embed.background"),
        (rf"{trunk}pos_embed_window", "pos_embed.window"),
        (rf"{trunk}(blocks\.\d+\.mlp\.)fc1(\..*)", r"\1layers.0\2"),
        (rf"{trunk}(blocks\.\d+\.mlp\.)fc2(\..*)", r"\1layers.1\2"),
        (rf"{trunk}(.*)", r"\1"),
    )


def from_weights(weights: Weights) -> Keys:
    """Windows and heads are those of the published model of those widths and depths, or timm's own word."""
    width, in_chans, *_ = weights.shape("patch_embed.proj.weight", 4)
    kernel = weights.square("patch_embed.proj.weight")
    *_, background, _ = weights.shape("pos_embed.background", 4)
    stages = _told(weights) if weights.facts else _known(weights)
    hidden, _ = weights.shape("blocks.0.mlp.layers.0.weight", 2)
    keys = {
        "image_size": weights.facts.get("input_size") or _published_size(weights),
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
        return _with_neck(keys, weights.shape("neck.convs.0.conv.weight", 4)[0])
    return keys


def _runs(weights: Weights) -> list[tuple[int, int]]:
    """(width, depth) of each run of blocks that leave one width."""
    runs: list[tuple[int, int]] = []
    for index in range(weights.some("blocks.{}.attn.proj.weight")):
        width = weights.shape(f"blocks.{index}.attn.proj.weight", 2)[0]
        depth = runs.pop()[1] if runs and runs[-1][0] == width else 0
        runs.append((width, depth + 1))
    return runs


def _twin(weights: Weights) -> EncoderConfig:
    """The published model of these widths and depths."""
    runs = _runs(weights)
    for config in published("hiera"):
        if [(stage.embed_dim, stage.depth) for stage in config.stages] == runs:
            return config
    said = ", ".join(f"{depth} of {width}" for width, depth in runs)
    raise weights.unfit(
        "heads, windows and global blocks cannot be told from shapes, and are known of SAM 2's published models, none of "
        f"which has blocks as this one ({said}): write the config by hand (`samattn configs --show sam2_hiera_t`)"
    )


def _known(weights: Weights) -> list[Keys]:
    weights.notes.append(
        "Weights do not tell image size, heads, windows and global blocks: they are those of the published model."
    )
    return [
        {
            "block": stage.block, "embed_dim": stage.embed_dim, "depth": stage.depth, "num_heads": stage.num_heads,
            "window_size": stage.window_size[0], "q_stride": stage.q_stride,
            "global_attn_indexes": list(stage.global_attn_indexes),
        }
        for stage in _twin(weights).stages
    ]  # fmt: skip


def _published_size(weights: Weights) -> int:
    return _twin(weights).image_size[0]


def _told(weights: Weights) -> list[Keys]:
    """As timm's blocks say: the window of a stage is that of its last block that has any."""
    facts, stages, first = weights.facts, [], 0
    for width, depth in _runs(weights):
        blocks = range(first, first + depth)
        windows = {index: facts[f"blocks.{index}.window_size"][0] for index in blocks}
        own = [window for window in list(windows.values())[bool(first) :] if window]
        stages.append({
            "block": "hiera", "embed_dim": width, "depth": depth,
            "num_heads": facts[f"blocks.{first}.attn.num_heads"], "window_size": own[-1] if own else 0,
            "q_stride": POOLED if facts.get(f"blocks.{first}.q_stride") else 1,
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
CHECKPOINTS = (Checkpoint(is_hiera, names, from_weights),)
