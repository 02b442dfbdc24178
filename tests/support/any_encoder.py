"""Small encoders of every family, generated: windows of any two sides, one token high or wide among them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import event, reject
from hypothesis import strategies as st

from samattn_cli import EncoderConfig, load_config
from samattn_cli.errors import ConfigError
from tests.support.any_family import OWN_FAMILIES

Keys = dict[str, Any]

PATCH = 2
HEAD = 8
"""Channels of a head: of so many every kernel takes them in every type."""

SIDE = st.integers(1, 6)
NARROW = st.one_of(st.tuples(st.just(1), SIDE), st.tuples(SIDE, st.just(1)))
WINDOWS = st.one_of(NARROW, st.tuples(SIDE, SIDE), SIDE, st.just(0)).map(
    lambda window: list(window) if isinstance(window, tuple) else window
)
NUMBERS = ([1, 2], [2, 1], 2, [3, 1])
"""Windows that a grid may be cut into."""
POOLABLE = st.sampled_from([2, 4, [2, 4], [6, 2], 0])
"""Windows that a block which pools by 2 can have."""

TYPES = ({}, {"dtype": "bfloat16"}, {"autocast": "bfloat16"}, {"autocast": "float16"})
KERNELS = {
    **dict.fromkeys(("vit", "vitdet", "sam_adapter", "sam_lora"), ("eager", "sdpa", "fused")),
    "swinv2": ("eager",),
}
REL_POS = {
    **dict.fromkeys(("vit", "vitdet", "sam_lora"), ("none", "decomposed", "joint")),
    "sam_adapter": ("none", "decomposed"),
}
MERGING = ("patch_merging", "patch_merging_v2")
ON_A_GRID = ("vit", "vitdet", "sam_adapter", "sam_lora", "rope_vit", "eva02_vit", "swin", "swinv2", "hiera")


def run_of(*blocks: str) -> st.SearchStrategy[Keys]:
    """How an encoder of such blocks may be run."""
    modelled = [KERNELS.get(block, ("eager", "sdpa")) for block in blocks]
    kernels = [kernel for kernel in ("eager", "sdpa", "fused") if all(kernel in some for some in modelled)]
    made = {"batch_size": st.integers(1, 3), "attention": st.sampled_from(kernels)}
    made |= {"checkpointing": st.booleans()}
    if {"sam_adapter", "sam_lora"} & {*blocks}:
        made |= {"trains": st.sampled_from(["adapters", "all"])}
    return st.builds(lambda run, types: run | types, st.fixed_dictionaries(made), st.sampled_from(TYPES))


@st.composite
def stages(draw: st.DrawFn, block: str, width: int = 16, first: int = 0) -> Keys:
    """A stage of windowed blocks over a grid."""
    depth = draw(st.integers(1, 2))
    stage: Keys = {
        "block": block,
        "embed_dim": width,
        "depth": depth,
        "num_heads": width // HEAD // draw(st.sampled_from([1, 2] if width > HEAD else [1])),
        "mlp_ratio": draw(st.sampled_from([1, 2.6])),
        "qkv_bias": draw(st.booleans()),
        "window_size": draw(WINDOWS),
        "global_attn_indexes": draw(st.sampled_from([[], [], [first + depth - 1]])),
    }
    if block in REL_POS:
        stage["rel_pos"] = draw(st.sampled_from(REL_POS[block]))
        if number := draw(st.sampled_from([None, None, None, *NUMBERS])):
            del stage["window_size"]
            stage["num_windows_side"] = number
    return stage | draw(st.fixed_dictionaries({}, optional=OWN.get(block, {}))) | _indexed(draw, stage, first)


OWN: dict[str, Keys] = {
    "sam_lora": {"lora_rank": st.integers(1, 3)},
    "sam_adapter": {"adapter_ratio": st.sampled_from([0.25, 1]), "depth_slices": st.sampled_from([0, 2, 3])},
    **{key: {"shift_size": st.just([0, 1]) | st.just([1, 0]) | st.just(1)} for key in ("vit", "vitdet")},
    **{key: {"shift_size": st.just(0) | st.just([0, 1]) | st.just([1, 0])} for key in ("swin", "swinv2")},
}


def _indexed(draw: st.DrawFn, stage: Keys, first: int) -> Keys:
    """Some blocks with a residual one after them."""
    if stage["block"] != "vitdet" or draw(st.booleans()):
        return {}
    return {"residual_block_indexes": [draw(st.integers(first, first + stage["depth"] - 1))]}


@st.composite
def of_one_block(draw: st.DrawFn) -> Keys:
    """A stage of any block over a grid, with any part that goes with it."""
    block = draw(st.sampled_from(ON_A_GRID))
    necks: list[Keys] = [{}, {}, {"neck": "sam"}, {"neck": "simple_fpn"}, {"neck": "sam3_fpn"}]
    neck = draw(st.sampled_from(necks))
    return {
        "stages": [draw(stages(block))],
        "run": draw(run_of(block)),
        **draw(st.sampled_from([{"pos_embed": "none"}, *POSITIONS])),
        "patch_embed": draw(st.sampled_from(["patch", "patch_no_bias", "patch_norm", "overlapping"])),
        **(neck | {"out_chans": 8} if neck else {}),
        "norm": draw(st.booleans()),
    }


POSITIONS: list[Keys] = [
    {"pos_embed": "learned"},
    *({"pos_embed": "pretrained", "pretrain_image_size": PATCH * side} for side in (2, 5)),
    *({"pos_embed": "tiled", "pretrain_image_size": PATCH * side} for side in (2, 5)),
    {"pos_embed": "hiera", "pos_embed_background": 3, "pos_embed_window": [1, 2]},
]


@st.composite
def of_several_blocks(draw: st.DrawFn) -> Keys:
    """Two stages of any blocks over a grid, tokens merged between them or not."""
    one, other = draw(st.sampled_from(ON_A_GRID)), draw(st.sampled_from(ON_A_GRID))
    before = draw(stages(one))
    merging = draw(st.sampled_from(["none", *MERGING]))
    width = 16 if merging == "none" else draw(st.sampled_from([8, 32]))
    after = draw(stages(other, width, before["depth"]))
    return {"stages": [before, after | {"transition": merging}], "run": draw(run_of(one, other))}


@st.composite
def swin(draw: st.DrawFn) -> Keys:
    """Swin or Swin V2 of two or three stages, as they are published."""
    block, merging = draw(st.sampled_from(list(zip(("swin", "swinv2"), MERGING, strict=True))))
    made: list[Keys] = []
    for number in range(draw(st.integers(2, 3))):
        stage = draw(stages(block, HEAD << number, sum(each["depth"] for each in made)))
        made.append(stage | ({"transition": merging} if number else {}))
    return {"stages": made, "run": draw(run_of(block)), "patch_embed": "patch_norm", "norm": True}


@st.composite
def hiera(draw: st.DrawFn) -> Keys:
    """SAM 2's blocks, which pool between stages, in two stages or in four under its neck."""
    count = draw(st.sampled_from([2, 2, 4]))
    made: list[Keys] = []
    for number in range(count):
        stage = draw(stages("hiera", HEAD << number, sum(each["depth"] for each in made)))
        last = number == count - 1
        stride = {"q_stride": draw(st.sampled_from([2, 2, 1])) if count == 2 else 2} if number else {}
        made.append(stage | ({} if last else {"window_size": draw(POOLABLE)}) | stride)
    side = 1 << (count - 1)
    grid = [side * draw(st.integers(1, 3 if count == 2 else 2)) for _ in "hw"]
    return {
        "stages": made,
        "run": draw(run_of("hiera")),
        "image_size": [PATCH * tokens for tokens in grid],
        "patch_embed": "overlapping",
        **draw(st.sampled_from([{"pos_embed": "none"}, POSITIONS[-1]])),
        **({} if count == 2 else {"neck": "sam2_fpn", "out_chans": 8}),
    }


@st.composite
def qwen2_5_vl(draw: st.DrawFn) -> Keys:
    """Packed tokens in windows of whole squares, which are not padded."""
    stage = draw(stages("qwen2_5_vl"))
    return {
        "stages": [stage | {"window_size": draw(st.sampled_from([2, 4, [2, 4], [6, 2], 0]))}],
        "run": draw(run_of("qwen2_5_vl")),
        "image_size": [2 * PATCH * draw(st.integers(1, 5)) for _ in "hw"],
        "patch_embed": "qwen2_5_vl",
        "pos_embed": "window_order",
        **draw(st.sampled_from([{}, {"neck": "patch_merger", "out_chans": 8}])),
    }


MLPS = ("gelu", "gelu_tanh", "swiglu", "swiglu_packed")


def _sequence(block: str, width: int) -> Keys:
    return {"block": block, "embed_dim": width, "depth": 1, "num_heads": width // HEAD, "mlp_ratio": 2}


@st.composite
def plain(draw: st.DrawFn) -> Keys:
    """ViT, MAE's encoder, its pretraining, or DeepSeek-OCR's encoder."""
    block = draw(st.sampled_from(["plain", "clip"]))
    ratio = draw(st.sampled_from([0.25, 0.75]))
    first, decoder = _sequence(block, 16), _sequence("plain", 8) | {"transition": "mae_decoder"}
    masked = {"stages": [first], "pos_embed": "mae", "mask_ratio": ratio}
    before = draw(stages("vit"))
    compressed = _sequence("clip", 16) | {"transition": "deepseek_compressor"}
    scaled = {"layer_scale": draw(st.booleans())}
    mlp = {"mlp": draw(st.sampled_from(MLPS))}
    in_front = {"class_token": draw(st.booleans()), "reg_tokens": draw(st.sampled_from([0, 2]))}
    turned = _sequence("dinov3", 16) | scaled | mlp | {"qkv_bias": draw(st.booleans())}
    kinds: list[Keys] = [
        {"stages": [first], "pos_embed": "class_token", "norm": draw(st.booleans())},
        {
            "stages": [_sequence("plain", 16) | scaled | mlp],
            "pos_embed": draw(st.sampled_from(["patches", "tokens"])),
        }
        | in_front,
        {"stages": [turned], "pos_embed": "rotary", "reg_tokens": in_front["reg_tokens"]},
        {"stages": [turned | {"block": draw(st.sampled_from(["eva", "rope", "pe"]))}]}
        | draw(st.sampled_from([{"pos_embed": "prefix"}, {"pos_embed": "patches", **in_front}])),
        masked,
        masked | {"stages": [first, decoder], "neck": "mae_pred"},
        {"stages": [before, compressed], "pos_embed": "learned", "neck": "deepseek", "out_chans": 8},
    ]
    return draw(st.sampled_from(kinds)) | {"run": draw(run_of("clip"))}


FAMILIES = {
    "one block": of_one_block(),
    "several blocks": of_several_blocks(),
    "swin": swin(),
    "hiera": hiera(),
    "qwen2_5_vl": qwen2_5_vl(),
    "plain": plain(),
    **OWN_FAMILIES,
}


@st.composite
def frozen_but_for_parts(draw: st.DrawFn, config: EncoderConfig) -> EncoderConfig:
    """The encoder of which one to three parts or blocks train, and its adapters or not."""
    names = [part.name for part in config.plan if part.has_weights]
    trained = draw(st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True))
    adapters = ["adapters"] * (config.run.trains == "adapters")
    return replace(config, run=replace(config.run, trains=",".join(trained + adapters)))


@st.composite
def any_encoder(draw: st.DrawFn) -> EncoderConfig:
    """An encoder of any family, at most 12 tokens a side; what samattn refuses is drawn again."""
    family = draw(st.sampled_from(list(FAMILIES)))
    sides = draw(st.tuples(st.integers(2 * PATCH, 12 * PATCH), st.integers(2 * PATCH, 12 * PATCH)))
    keys = {"image_size": list(sides), "patch_size": PATCH} | draw(FAMILIES[family])
    try:
        config = load_config(keys)
    except ConfigError:
        reject()
    config = draw(frozen_but_for_parts(config)) if draw(st.booleans()) else config
    windows = [layer.window_size for layer in config.layers if not layer.is_global]
    event(family)
    event(f"windows one token high: {any(window[-2] == 1 for window in windows)}")
    event(f"windows one token wide: {any(window[-1] == 1 for window in windows)}")
    counted = any(layer.placement.size is None and not layer.is_global for layer in config.layers)
    event(f"a number of windows: {counted}")
    for block in sorted({layer.stage.block for layer in config.layers}):
        event(f"block {block}")
    return config
