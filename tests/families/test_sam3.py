"""SAM 3's vision encoder: against transformers' in numbers and values, against the real stack byte for byte."""

from __future__ import annotations

import json
from math import prod
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from samattn_cli import EncoderConfig, load_config
from samattn_cli.errors import ConfigError
from samattn_cli.stack.encoder import build, image_for
from samattn_cli.stack.rotary import rotate, rotations
from samattn_cli.studies.verify import verify
from samattn_cli.tape.encoder import forward
from tests.public.sam3 import PRESETS, count, public_encoder
from tests.support.problems import problems_of
from tests.support.score_matrices import assert_scores_are_those_of_the_layers

SMALL = {
    "image_size": 24,
    "patch_size": 4,
    "patch_embed": "patch_no_bias",
    "pos_embed": "tiled",
    "pretrain_image_size": 8,
    "pre_norm": True,
    "block": "rope_vit",
    "embed_dim": 16,
    "depth": 3,
    "num_heads": 2,
    "mlp_ratio": 2.625,
    "window_size": 3,
    "global_attn_indexes": [1],
    "neck": "sam3_fpn",
    "out_chans": 8,
}
VARIANTS = {
    "windows that divide the grid": {},
    "windows beyond the grid, a batch of three": {
        "image_size": 28,
        "window_size": 4,
        "run": {"batch_size": 3},
    },
    "a window larger than the grid, which is smaller than that of pretraining": {
        "window_size": 7,
        "pretrain_image_size": 32,
    },
    "a grid as large as that of pretraining, heads of four channels, five channels in": {
        "pretrain_image_size": 24,
        "num_heads": 4,
        "in_chans": 5,
    },
}


def small(**changes: object) -> EncoderConfig:
    return load_config({**SMALL, **changes})


def as_ours(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """transformers' weights under the names of Meta's code, queries, keys and values packed."""
    names = {
        "backbone.embeddings.patch_embeddings.projection": "patch_embed.proj",
        "backbone.embeddings": "pos_embed",
        "backbone.layer_norm": "pre_norm",
        "backbone.layers": "blocks",
        "layer_norm": "norm",
        "attention.o_proj": "attn.proj",
        "neck.fpn_layers": "neck.convs",
        "convs.0.scale_layers.0": "convs.0.dconv_2x2_0",
        "convs.0.scale_layers.2": "convs.0.dconv_2x2_1",
        "convs.1.scale_layers.0": "convs.1.dconv_2x2",
        "proj1": "conv_1x1",
        "proj2": "conv_3x3",
    }
    ours = {}
    for key, weight in theirs.items():
        name = key
        for old, new in names.items():
            name = name.replace(old, new)
        if "attention.q_proj" in name:
            packed = [theirs[key.replace("q_proj", f"{letter}_proj")] for letter in "qkv"]
            ours[name.replace("attention.q_proj", "attn.qkv")] = torch.cat(packed)
        elif "attention." not in name:
            ours[name] = weight
    return ours


@pytest.mark.parametrize("preset", PRESETS)
def test_counts_are_those_of_transformers(preset: str) -> None:
    passed = forward(load_config(preset))
    assert (passed.params, passed.flops) == count(preset)


def test_counts_are_those_that_others_worked_out() -> None:
    passed = forward(load_config("sam3_vision"))
    assert (passed.params, passed.flops) == (454_038_784, 5_613_458_817_024)  # ENCODERS.md


def test_the_mlp_is_as_wide_as_the_codes() -> None:
    assert {layer.stage.mlp_dim for layer in load_config("sam3_vision").layers} == {4736}


def test_parameters_do_not_follow_the_resolution() -> None:
    params = {forward(load_config("sam3_vision", [f"image_size={size}"])).params for size in (336, 672, 1008)}
    assert params == {454_038_784}


@pytest.mark.parametrize("variant", VARIANTS)
def test_values_are_those_of_transformers(variant: str) -> None:
    assert_same_values(small(**VARIANTS[variant]))


def test_values_are_those_of_transformers_with_sdpa() -> None:
    assert_same_values(small(run={"attention": "sdpa"}))


def assert_same_values(config: EncoderConfig) -> None:
    torch.manual_seed(0)
    theirs, ours = public_encoder(config, "cpu", config.run.attention), build(config)
    for weight in theirs.parameters():
        nn.init.normal_(weight, std=0.3)
    ours.load_state_dict(as_ours(theirs.state_dict()), strict=True)
    image = torch.randn(config.input_shape)
    with torch.no_grad():
        maps, wanted = ours(image), theirs(image).fpn_hidden_states
    assert len(maps) == len(wanted) == 4
    for made, right in zip(maps, wanted, strict=True):
        torch.testing.assert_close(made, right, rtol=1e-5, atol=1e-5)


def test_pairs_of_channels_turn_as_complex_numbers_do() -> None:
    """Meta's code: q as complex numbers, times exp(i * angle), columns first; a 2 x 3 grid, heads of 8 channels."""
    x = torch.randn(5, 2, 6, 8)
    frequencies = 1.0 / 10000.0 ** (torch.arange(0, 8, 4).float() / 8)
    token = torch.arange(6)
    angles = torch.cat(
        [torch.outer(token % 3 * 0.5, frequencies), torch.outer(token // 3, frequencies)], dim=1
    )
    turned = torch.view_as_complex(x.unflatten(-1, (-1, 2))) * torch.polar(torch.ones(6, 4), angles)
    found = rotate(x, *rotations((2, 3), (1.0, 0.5), 8, x.device))
    torch.testing.assert_close(found, torch.view_as_real(turned).flatten(-2), rtol=1e-5, atol=1e-5)


RUNS = [
    {"dtype": "bfloat16"},
    {"autocast": "float16"},
    {"checkpointing": True, "autocast": "bfloat16"},
    {"attention": "sdpa", "batch_size": 2},
    {"attention": "sdpa", "dtype": "bfloat16", "checkpointing": True},
    {"attention": "sdpa", "autocast": "bfloat16"},
]


def assert_exact(config: EncoderConfig, *, every_layer: bool = True) -> None:
    verdict = verify(config, every_layer=every_layer)
    assert {name: check.differences for name, check in verdict.checks.items() if check.differences} == {}
    assert verdict.status == "exact"


@pytest.mark.parametrize("run", RUNS, ids=str)
def test_the_tape_equals_the_real_stack(run: dict[str, object]) -> None:
    assert_exact(small(image_size=[20, 28], window_size=[2, 4], pretrain_image_size=[8, 12], run=run))


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_tape_equals_the_real_stack_at_odd_sizes(variant: str) -> None:
    assert_exact(small(**VARIANTS[variant]))


def test_the_tape_equals_the_real_stack_of_the_preset() -> None:
    assert_exact(load_config("sam3_vision"), every_layer=False)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_size_of_score_matrices_is_what_the_blocks_make(variant: str) -> None:
    assert_scores_are_those_of_the_layers(forward(small(**VARIANTS[variant])))


def test_the_neck_has_four_maps() -> None:
    *_, neck = forward(load_config("sam3_vision")).segments
    sides = [288, 144, 72, 36]
    assert [output.shape for output in neck.outputs] == [(1, 256, side, side) for side in sides]
    assert [tuple(each.shape) for each in build(small(), "meta")(image_for(small(), "meta"))] == [
        (1, 8, side, side) for side in (24, 12, 6, 3)
    ]


def test_rotary_positions_are_no_flops_and_go_with_their_block() -> None:
    block = forward(load_config("sam3_vision")).segments[10]
    made = {op.name: op for op in block.recording.ops}
    assert made["attn.cos"].allocates[0].nbytes == made["attn.sin"].allocates[0].nbytes == 72 * 72 * 64 * 4
    assert made["attn.cos"].elementwise_flops == 0
    freed = {storage for op in block.recording.ops for storage in op.frees}
    assert {*made["attn.cos"].allocates, *made["attn.sin"].allocates} <= freed
    assert prod(block.layer.grid) == 72 * 72


BAD = {
    "num_heads: 8": "10:12: [rotary-head-width] 2 embed_dim 16 num_heads 8 4",
    "overrides: [{blocks: [2], num_heads: 8}]": "16:38: [rotary-head-width] 2 embed_dim 16 num_heads 8 4",
    "pretrain_image_size: 3": "5:22: [image-smaller-than-patch] pretrain_image_size 3 4",
    "image_size: 7": "14:7: [neck-does-not-fit] neck sam3_fpn 2x2 1x1",
    "run: {attention: fused}": "16:18: [kernel-not-modelled] run.attention rope_vit",
    "rel_pos: decomposed": "16:10: [unused-key] rope_vit rel_pos sam_adapter sam_lora",
}
YAML = "".join(f"{key}: {json.dumps(value)}\n" for key, value in SMALL.items())


@pytest.mark.parametrize("line", BAD)
def test_what_is_wrong_is_said_where_it_stands(line: str, tmp_path: Path) -> None:
    key = line.partition(":")[0]
    lines = [line if old.startswith(f"{key}:") else old for old in YAML.splitlines()]
    path = tmp_path / "bad.yaml"
    path.write_text("\n".join(lines if key in SMALL else [*lines, line]))
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert f"{path}:{BAD[line]}" in problems_of(caught)
