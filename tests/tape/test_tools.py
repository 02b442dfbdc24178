"""What other tools say of a pass: worked out by hand, and by the tools themselves."""

from __future__ import annotations

from importlib.metadata import version

import pytest
import torch
from calflops.pytorch_ops import _upsample_flops_compute

from samattn_cli import load_config
from samattn_cli.tape import conventions
from samattn_cli.tape.encoder import forward
from samattn_cli.tape.tool_rules import MOST_DOUBLINGS
from samattn_cli.tape.tools import TOOLS, what_others_say
from tests.support.other_tools import of_aten, of_modules_and_functions
from tests.support.running import ROOT

FVCORE, FLOP_COUNTER, TORCHINFO, PTFLOPS, CALFLOPS, CALFLOPS_MACS = range(len(TOOLS))

NARROW = {"embed_dim": 16, "num_heads": 2, "depth": 2}
WINDOWED = {**NARROW, "window_size": 3, "global_attn_indexes": [1]}
SAM = {"image_size": [64, 80], "pos_embed": "learned", "rel_pos": "decomposed", "neck": "sam", "out_chans": 4}
SWIN = {
    "image_size": [20, 28],
    "patch_size": 4,
    "patch_embed": "patch_norm",
    "pos_embed": "none",
    "norm": True,
}
PYRAMID = {"image_size": 64, "out_chans": 4}


def stages(block, transition, **changes):
    first = {"block": block, "embed_dim": 8, "num_heads": 2, "depth": 2, "window_size": 2} | changes
    return {"stages": [first, {**first, "embed_dim": 16, **transition}]}


def hiera(width, **changes):
    return {"block": "hiera", "embed_dim": width, "num_heads": 2, "depth": 2, "window_size": 2} | changes


CONFIGS = {
    "sam": {**SAM, **WINDOWED},
    "sam, two images": {**SAM, **WINDOWED, "run": {"batch_size": 2}},
    "sam, joint positions": {**SAM, **WINDOWED, "rel_pos": "joint", "rel_pos_grid": 5},
    "sam, sdpa": {**SAM, **WINDOWED, "run": {"attention": "sdpa"}},
    "sam, fused": {**SAM, **WINDOWED, "run": {"attention": "fused"}},
    "sam, bfloat16": {**SAM, **WINDOWED, "run": {"dtype": "bfloat16"}},
    "sam, autocast": {**SAM, **WINDOWED, "run": {"autocast": "bfloat16"}},
    "sam, checkpointing": {**SAM, **WINDOWED, "run": {"checkpointing": True}},
    "lora": {**SAM, **WINDOWED, "block": "sam_lora", "lora_rank": 2},
    "adapters": {**SAM, **WINDOWED, "block": "sam_adapter"},
    "adapters over depth": {
        **SAM,
        **WINDOWED,
        "block": "sam_adapter",
        "depth_slices": 3,
        "run": {"batch_size": 3},
    },
    "vitdet": {
        **PYRAMID,
        **WINDOWED,
        "block": "vitdet",
        "pos_embed": "pretrained",
        "pretrain_image_size": 48,
        "residual_block_indexes": [1],
        "neck": "simple_fpn",
    },
    "swin": {**SWIN, **stages("swin", {"transition": "patch_merging"})},
    "swin, sdpa": {**SWIN, **stages("swin", {"transition": "patch_merging"}), "run": {"attention": "sdpa"}},
    "swin v2, three images": {
        **SWIN,
        **stages("swinv2", {"transition": "patch_merging_v2"}),
        "run": {"batch_size": 3},
    },
    "tiny vit": {
        "image_size": [24, 40],
        "patch_size": 4,
        "patch_embed": "conv_stem",
        "pos_embed": "none",
        "stages": [
            {"block": "mbconv", "embed_dim": 8, "depth": 1, "num_heads": 1},
            {"block": "tiny_vit", "embed_dim": 16, "depth": 1, "num_heads": 2, "window_size": 2}
            | {"transition": "conv_merging"},
        ],
        "run": {"batch_size": 2},
    },
    "hiera": {
        **PYRAMID,
        "patch_size": 4,
        "patch_embed": "overlapping",
        "pos_embed": "hiera",
        "pos_embed_background": 3,
        "pos_embed_window": 2,
        "neck": "sam2_fpn",
        "stages": [hiera(8), *(hiera(width, q_stride=2) for width in (16, 32, 64))],
        "run": {"batch_size": 2},
    },
    "vit": {**NARROW, "image_size": 48, "block": "plain", "pos_embed": "class_token", "norm": True},
    "mae": {
        "image_size": 48,
        "pos_embed": "mae",
        "mask_ratio": 0.75,
        "stages": [{**NARROW, "block": "plain"}, {**NARROW, "block": "plain", "transition": "mae_decoder"}],
        "neck": "mae_pred",
    },
    "sam 3": {
        **PYRAMID,
        **WINDOWED,
        "block": "rope_vit",
        "patch_embed": "patch_no_bias",
        "pos_embed": "tiled",
        "pretrain_image_size": 48,
        "pre_norm": True,
        "neck": "sam3_fpn",
    },
    "qwen": {
        "image_size": [56, 84],
        "patch_size": 14,
        "patch_embed": "qwen2_5_vl",
        "pos_embed": "window_order",
        **WINDOWED,
        "window_size": 4,
        "block": "qwen2_5_vl",
        "neck": "patch_merger",
        "out_chans": 8,
    },
    "deep encoder": {
        "image_size": 64,
        "pos_embed": "learned",
        "stages": [
            {**WINDOWED, "rel_pos": "decomposed"},
            {**NARROW, "transition": "deepseek_compressor", "block": "clip"},
        ],
        "neck": "deepseek",
        "out_chans": 8,
    },
}


BY_HAND = {"image_size": 32, "embed_dim": 4, "num_heads": 1, "depth": 1, "mlp_ratio": 2, "qkv_bias": True}
"""A block of 2x2 tokens of 4 numbers, 8 inside the MLP, all in one head."""


def config(given):
    return load_config(given if isinstance(given, str) else {"patch_size": 16} | given)


def of(given, layer="", inner=""):
    return what_others_say(forward(config(given)), layer, inner)


def values(*given):
    return tuple(figure.value for figure in of(*given))


@pytest.mark.parametrize("given", CONFIGS.values(), ids=CONFIGS.keys())
def test_tools_of_modules_and_functions_say_so(given):
    assert values(given)[TORCHINFO:] == of_modules_and_functions(config(given))


@pytest.mark.parametrize("name", ["sam, two images", "sam, sdpa", "hiera"])
def test_tools_of_aten_say_so(name):
    assert values(CONFIGS[name])[:TORCHINFO] == of_aten(config(CONFIGS[name]))


def test_versions_are_those_installed():
    found = {tool.name: tool.version for tool in TOOLS if tool.name != "FlopCounterMode"}
    assert found == {name: version(name) for name in found}
    pins = (ROOT / ".ci" / "constraints.txt").read_text("utf-8").splitlines()
    assert (
        TOOLS[FLOP_COUNTER].version.replace(" ", "==") in pins
    )  # that of the tests, which run with others too


def test_a_block_by_hand():
    linear = 4 * 4 * 12 + 4 * 4 * 4 + 2 * (4 * 4 * 8)  # qkv, proj, both of the MLP
    attention = 2 * (4 * 4 * 4)  # QK^T, AV
    biases = 4 * (12 + 4 + 8 + 4)
    norms = 2 * (4 * 4)
    gelu = 4 * 8
    assert values(BY_HAND, "blocks.0") == (
        linear + attention + 5 * norms,
        2 * (linear + attention),
        4 * (12 + 4 + 8) + 8 * 4 + (12 + 4 + 8 + 4) + 2 * (4 + 4),  # each weight and bias once
        linear + biases + norms + 2 * gelu,
        2 * linear + 5 * norms + gelu,
        linear,
    )


def test_an_operation_and_a_module_by_hand():
    assert values(BY_HAND, "blocks.0", "attn.scores") == (64, 128, 0, 0, 0, 0)
    mlp = 2 * (4 * 4 * 8)
    assert values(BY_HAND, "blocks.0", "mlp") == (mlp, 2 * mlp, 76, mlp + 48 + 64, 2 * mlp + 32, mlp)


def test_torchinfo_takes_weights_once_a_window():
    windowed = BY_HAND | {"window_size": 1}
    assert (
        values(windowed, "blocks.0", "attn.qkv")[TORCHINFO]
        == 4 * values(BY_HAND, "blocks.0", "attn.qkv")[TORCHINFO]
    )
    assert values(windowed, "blocks.0", "mlp") == values(BY_HAND, "blocks.0", "mlp")


@pytest.mark.parametrize("preset", ["sam_vit_b", "swin_t", "vitdet_b_fpn", "deep_encoder", "sam3_vision"])
def test_parts_add_up_to_the_encoder(preset):
    passed = forward(config(preset))
    parts = [
        [figure.value for figure in what_others_say(passed, segment.name)] for segment in passed.segments
    ]
    whole = [figure.value for figure in what_others_say(passed)]
    assert [sum(column) for column in zip(*parts, strict=True)] == whole
    ops = [op for segment in passed.segments for op in segment.recording.ops]
    assert whole[FVCORE] == sum(map(conventions.fvcore, ops))


def test_reasons_are_of_what_is_asked_about():
    reasons = [figure.reason for figure in of(CONFIGS["sam"])]
    assert reasons[FVCORE] == "its FLOPs count one per MAC; 5 per element of LayerNorm"
    assert reasons[FLOP_COUNTER].endswith(
        "two per MAC of matrix products and convolutions, and nothing else, as samattn does"
    )
    assert "once per image or window, not once per token" in reasons[TORCHINFO]
    assert "torch.bmm" in reasons[PTFLOPS]
    assert "operator @" in reasons[PTFLOPS]
    assert "scaled_dot_product_attention" not in "".join(reasons)
    fused = [figure.reason for figure in of(CONFIGS["sam, sdpa"], "blocks.0", "attn.sdpa")]
    assert (
        fused[FVCORE] == "its FLOPs count nothing for the matrix products inside scaled_dot_product_attention"
    )
    nothing = [figure.reason for figure in of(CONFIGS["sam"], "blocks.0", "attn.softmax")]
    assert nothing[TORCHINFO] == "its mult-adds count nothing"


def test_ptflops_divides_what_modules_count_by_the_batch():
    one, two = (of(CONFIGS[name])[PTFLOPS] for name in ("sam", "sam, two images"))
    assert one.value < two.value < 2 * one.value
    assert two.reason.endswith("over 2, the first dimension of the input, functions in full")


def test_calflops_has_no_figure_of_a_pyramid_for_many_images():
    most = config(CONFIGS["hiera"] | {"run": {"batch_size": MOST_DOUBLINGS}})
    more = config(CONFIGS["hiera"] | {"run": {"batch_size": MOST_DOUBLINGS + 1}})
    assert all(figure.value for figure in what_others_say(forward(most)))
    *others, flops, macs = what_others_say(forward(more))
    assert all(figure.value for figure in others)
    assert flops.value is macs.value is None
    assert flops.reason.startswith("no figure: it raises the resize factor")
    _upsample_flops_compute(torch.empty(MOST_DOUBLINGS, 1, 1, 1), scale_factor=2.0)
    with pytest.raises(OverflowError):
        _upsample_flops_compute(torch.empty(MOST_DOUBLINGS + 1, 1, 1, 1), scale_factor=2.0)
