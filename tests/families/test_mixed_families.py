"""Stages of several families in one encoder, against the real stack: what a fuzz over all of them found, and its like."""

from __future__ import annotations

import pytest

from samattn_cli import analyze, load_config
from samattn_cli.errors import ConfigError
from samattn_cli.studies.verify import verify
from tests.support.problems import messages_of

LORA = {"block": "sam_lora", "embed_dim": 16, "num_heads": 2, "depth": 1}
SWIN = {"block": "swin", "embed_dim": 16, "num_heads": 2, "depth": 2, "window_size": 2}
SWIN_V2 = {**SWIN, "block": "swinv2"}
VIT = {"embed_dim": 16, "num_heads": 2, "depth": 2, "window_size": 3, "global_attn_indexes": [1]}
HIERA = {"block": "hiera", "embed_dim": 32, "num_heads": 2, "depth": 2, "window_size": 2}
QWEN = {"block": "qwen2_5_vl", "embed_dim": 16, "num_heads": 2, "depth": 2, "window_size": 2}
MERGING, MERGING_V2 = {"transition": "patch_merging"}, {"transition": "patch_merging_v2"}

MIXES = {
    "norms behind, on a patch convolution": ([SWIN_V2], {}, {"batch_size": 2}),
    "the same under autocast": ([SWIN_V2], {}, {"autocast": "bfloat16"}),
    "one head, a mask in rows that are aligned but for their count": (
        [{**SWIN, "num_heads": 1, "window_size": 8}],
        {"image_size": 64},
        {"attention": "sdpa"},
    ),
    "frozen behind what trains": ([LORA, SWIN_V2], {}, {"trains": "adapters"}),
    "heads of a channel under autocast": (
        [{"embed_dim": 8, "num_heads": 8, "depth": 2}],
        {},
        {"batch_size": 2, "autocast": "bfloat16"},
    ),
    "no neck behind the last that taps": (
        [QWEN, QWEN],
        {"patch_embed": "qwen2_5_vl", "pos_embed": "window_order", "image_size": 40},
        {},
    ),
    "twins but for the type of what enters": (
        [LORA, {**SWIN_V2, **MERGING, "embed_dim": 8}, {**SWIN, **MERGING_V2}],
        {"pos_embed": "tiled"},
        {"autocast": "float16", "trains": "adapters", "checkpointing": True},
    ),
    "windows, then shifted ones, then pooled queries": (
        [VIT, {**SWIN, **MERGING}, {**HIERA, "q_stride": 2}],
        {"neck": "sam", "out_chans": 8},
        {"batch_size": 2},
    ),
    "pooled queries, then a pyramid": (
        [{**HIERA, "embed_dim": 16}, {**HIERA, "q_stride": 2}],
        {"patch_embed": "overlapping", "pos_embed": "learned", "neck": "simple_fpn", "out_chans": 8},
        {"attention": "sdpa", "dtype": "bfloat16"},
    ),
    "rotary windows, then a token sequence": (
        [
            {**VIT, "block": "rope_vit"},
            {
                "block": "clip",
                "embed_dim": 16,
                "num_heads": 2,
                "depth": 2,
                "transition": "deepseek_compressor",
            },
        ],
        {"neck": "deepseek", "out_chans": 8, "norm": True},
        {"autocast": "bfloat16"},
    ),
}


def mixed(stages: list[dict[str, object]], keys: dict[str, object], run: dict[str, object]):
    first, numbered = 0, []
    for stage in stages:
        indexes = [first + index for index in stage.get("global_attn_indexes", ())]
        numbered.append({**stage, "global_attn_indexes": indexes} if indexes else stage)
        first += stage["depth"]
    return load_config({"image_size": 32, "patch_size": 4, "stages": numbered, "run": run, **keys})


EACH_WEEK = {
    "the same under autocast",
    "pooled queries, then a pyramid",
    "one head, a mask in rows that are aligned but for their count",
}
"""Mixes of which each part is in another mix, or in a test of its own."""


@pytest.mark.parametrize("every_layer", [False, pytest.param(True, marks=pytest.mark.exhaustive)])
@pytest.mark.parametrize(
    "mix",
    [
        pytest.param(mix, id=name, marks=[pytest.mark.exhaustive] if name in EACH_WEEK else [])
        for name, mix in MIXES.items()
    ],
)
def test_every_parameter_flop_and_byte_is_torchs(mix, every_layer):
    verdict = verify(mixed(*mix), every_layer=every_layer)
    assert {name: check.differences for name, check in verdict.checks.items() if check.differences} == {}
    assert verdict.status == "exact"


@pytest.mark.parametrize("mix", MIXES.values(), ids=MIXES)
def test_parts_and_layers_are_all_there_is(mix):
    report = analyze(mixed(*mix), verify=False)
    assert sum(part.flops for part in (*report.parts, *report.layers)) == report.totals.flops


@pytest.mark.parametrize("preset", ["sam_vit_b_lora", "med_sam_adapter_b"])
def test_what_autocast_copies_for_frozen_weights_is_reported(preset):
    report = analyze(load_config(preset, ["run.autocast=bfloat16", "run.mode=training"]), verify=False)
    layer = report.layers[-1]
    assert sum(op.saved_bytes for op in layer.ops) == layer.saved_bytes


def test_a_block_that_pools_a_window_it_cannot_stays_global_where_all_are_asked_to_be_windowed():
    changes = ["stages.0.window_size=7", "stages.1.global_attn_indexes=[1]"]
    config = load_config("sam2_hiera_t", changes).all_windowed()
    assert [layer.is_global for layer in config.layers[:3]] == [False, True, False]


@pytest.mark.parametrize(
    ("preset", "change", "said"),
    [
        ("sam_vit_b", "stages.0.transition=patch_merging", "[transition-of-first-stage] patch_merging"),
        ("sam_vit_b", "pos_embed_window=4", "[unused-key] pos_embed learned pos_embed_window hiera"),
        (
            "sam2_hiera_t",
            "pretrain_image_size=224",
            "[unused-key] pos_embed hiera pretrain_image_size pretrained",
        ),
        ("vit_b", "global_attn_indexes=[3]", "[always-global] plain global_attn_indexes"),
        ("swin_t", "stages.1.transition=none", "[width-changes] 96 patch_merging patch_merging_v2"),
    ],
)
def test_what_would_change_nothing_or_chain_nothing_is_reported(preset, change, said):
    with pytest.raises(ConfigError) as caught:
        load_config(preset, change)
    assert said in messages_of(caught)
