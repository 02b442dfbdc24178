"""Qwen2.5-VL's vision encoder: against transformers' in numbers, values and memory, against the real stack byte for byte."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from samattn_cli import EncoderConfig, analyze, load_config
from samattn_cli.errors import ConfigError
from samattn_cli.stack.encoder import build
from samattn_cli.stack.trace import Tracer
from samattn_cli.studies.verify import verify
from samattn_cli.tape.encoder import forward
from samattn_cli.tape.memory import live_over
from tests.public.qwen2_5_vl import PRESETS, count, grids_of, public_encoder
from tests.support.problems import Known, problems_of
from tests.support.score_matrices import assert_scores_are_those_of_the_layers

FLOAT32_BYTES = 4
SMALL = {
    "image_size": [72, 56],
    "patch_size": 4,
    "patch_embed": "qwen2_5_vl",
    "pos_embed": "window_order",
    "block": "qwen2_5_vl",
    "embed_dim": 16,
    "depth": 5,
    "num_heads": 2,
    "mlp_ratio": 2.625,
    "window_size": 8,
    "global_attn_indexes": [2, 4],
    "neck": "patch_merger",
    "out_chans": 12,
}
VARIANTS = {
    "smaller windows at both ends": {},
    "windows that divide the grid": {"image_size": 64},
    "a window larger than the image": {"image_size": [24, 8]},
    "wide, a batch of three, one channel, heads of four channels": {
        "image_size": [16, 104],
        "in_chans": 1,
        "num_heads": 4,
        "run": {"batch_size": 3},
    },
}


def small(**changes: object) -> EncoderConfig:
    return load_config({**SMALL, **changes})


@pytest.mark.parametrize("preset", PRESETS)
def test_counts_are_those_of_transformers(preset: str) -> None:
    passed = forward(load_config(preset))
    assert (passed.params, passed.flops) == count(preset)


def test_counts_worked_out_by_hand() -> None:
    """76 x 56 tokens: 9 x 7 windows of 8 x 8, and a row of 7 of 4 x 8."""
    T, C, hidden, patch, out = 76 * 56, 1280, 3420, 14, 3584
    squares = 9 * 7 * 64**2 + 7 * 32**2
    block = T * (4 * C * C + 3 * C * hidden)
    macs = 32 * block + 28 * 2 * C * squares + 4 * 2 * C * T**2
    macs += T * C * 3 * 2 * patch**2 + T // 4 * (4 * C) * (4 * C + out)
    assert forward(load_config("qwen2_5_vl_vision", ["image_size=[1064, 784]"])).macs == macs


def test_parameters_follow_neither_the_resolution_nor_the_windows() -> None:
    changes: tuple[list[str], ...] = ([], ["image_size=[28, 2800]"], ["window_size=4"], ["window_size=0"])
    assert {forward(load_config("qwen2_5_vl_vision", change)).params for change in changes} == {676_550_144}


def test_the_mlp_is_as_wide_as_the_codes() -> None:
    assert {layer.stage.mlp_dim for layer in load_config("qwen2_5_vl_vision").layers} == {3420}


def with_same_weights(config: EncoderConfig) -> tuple[nn.Module, nn.Module]:
    """Theirs, and ours with its weights."""
    torch.manual_seed(0)
    theirs, ours = public_encoder(config, "cpu", config.run.attention), build(config)
    for weight in theirs.parameters():
        nn.init.normal_(weight, std=0.3)
    state = {name.replace("merger.", "neck."): weight for name, weight in theirs.state_dict().items()}
    ours.load_state_dict(state, strict=True)
    return theirs, ours


def assert_same_values(config: EncoderConfig) -> None:
    theirs, ours = with_same_weights(config)
    patches = torch.randn(config.input_shape)
    with torch.no_grad():
        made, wanted = ours(patches), theirs(patches, grid_thw=grids_of(config)).pooler_output
    torch.testing.assert_close(made, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_values_are_those_of_transformers(variant: str) -> None:
    assert_same_values(small(**VARIANTS[variant]))


def test_values_are_those_of_transformers_with_sdpa() -> None:
    assert_same_values(small(run={"attention": "sdpa"}))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("index", [1, 2])
def test_memory_of_a_block_is_that_of_transformers(index: int, dtype: str) -> None:
    """Each allocation and what is live after it, of a block with windows and of a global one."""
    config = small(run={"dtype": dtype})
    theirs = public_encoder(config, "meta").to(getattr(torch, dtype)).blocks[index]
    traced = trace_of_block(theirs, config, index)
    segment = next(each for each in forward(config).segments if each.name == f"blocks.{index}")
    made = [storage.nbytes for op in segment.recording.ops for storage in op.allocates]
    assert made == traced.allocations
    assert [live for _, live in live_over(segment.recording).steps] == traced.live


def trace_of_block(block: nn.Module, config: EncoderConfig, index: int) -> Tracer:
    tokens, channels = config.input_shape[0], config.layers[index].in_dim
    positions = [torch.empty(tokens, channels // 2, device="meta") for _ in ("cos", "sin")]
    x = torch.empty(tokens, channels, dtype=getattr(torch, config.run.dtype), device="meta")
    ends = torch.tensor([0, *lengths_by_hand(config, index)]).cumsum(0)
    tracer = Tracer("meta", 0)
    tracer.ignore(x, *positions, *block.parameters())
    with torch.no_grad(), tracer:
        tracer.enter(("block", "forward"))
        block(x, cu_seqlens=ends, position_embeddings=tuple(positions))
    return tracer.sections["block", "forward"]


def lengths_by_hand(config: EncoderConfig, index: int) -> list[int]:
    """An 18 x 14 grid in windows of 8 x 8."""
    assert config.grid == (18, 14)
    whole, windows = [18 * 14], [64, 48, 64, 48, 16, 12]
    return whole if index in config.stages[0].global_attn_indexes else windows


RUNS = [
    {"dtype": "bfloat16"},
    {"dtype": "float16"},
    {"autocast": "bfloat16"},
    {"autocast": "float16", "checkpointing": True},
    {"attention": "sdpa", "batch_size": 2},
    {"attention": "sdpa", "dtype": "bfloat16", "checkpointing": True},
]


def assert_exact(config: EncoderConfig, *, every_layer: bool = False) -> None:
    verdict = verify(config, every_layer=every_layer)
    assert {name: check.differences for name, check in verdict.checks.items() if check.differences} == {}
    assert verdict.status == "exact"


@pytest.mark.parametrize("run", RUNS, ids=str)
def test_the_tape_equals_the_real_stack(run: dict[str, object]) -> None:
    assert_exact(small(run=run))


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_tape_equals_the_real_stack_at_odd_sizes(variant: str) -> None:
    assert_exact(small(**VARIANTS[variant]), every_layer=True)


def test_the_tape_equals_the_real_stack_without_a_neck() -> None:
    """The last block lets go of the positions."""
    assert_exact(load_config(SMALL | {"depth": 4, "global_attn_indexes": [2]}, "neck=none"), every_layer=True)


def test_the_tape_equals_the_real_stack_of_the_preset() -> None:
    assert_exact(load_config("qwen2_5_vl_vision", ["image_size=[364, 476]"]))


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_size_of_score_matrices_is_what_the_blocks_make(variant: str) -> None:
    assert_scores_are_those_of_the_layers(forward(small(**VARIANTS[variant])))


def test_windows_do_not_pad() -> None:
    report = analyze(small(), verify=False)
    windowed, whole = report.layers[0], report.layers[2]
    assert (windowed.windows, windowed.grid, windowed.padded_grid) == (6, (18, 14), (18, 14))
    squares = sum(length**2 for length in (64, 48, 64, 48, 16, 12))
    assert windowed.attention_bytes_per_head == squares * FLOAT32_BYTES
    assert whole.attention_bytes_per_head == (18 * 14) ** 2 * FLOAT32_BYTES
    assert windowed.vs_global.scores_flops_ratio == (18 * 14) ** 2 / squares
    assert "padding" not in {finding.code for finding in report.findings}


def test_blocks_share_the_positions_that_are_made_once() -> None:
    segments = {segment.name: segment for segment in forward(small()).segments}
    cos, sin, order = segments["pos_embed"].outputs[1:]
    assert cos.shape == sin.shape == (252, 8)
    assert order.shape == (63,)
    made_again = [op.name for op in segments["blocks.3"].recording.ops if op.name.endswith("halves")]
    assert made_again == []
    assert segments["blocks.1"].recording is segments["blocks.3"].recording
    freed = {name: {s for op in each.recording.ops for s in op.frees} for name, each in segments.items()}
    assert {name for name, gone in freed.items() if {cos.storage, sin.storage, order.storage} & gone} == {
        "neck"
    }


def test_a_batch_is_packed_into_one_sequence() -> None:
    assert small(run={"batch_size": 3}).input_shape == (3 * 18 * 14, 3 * 2 * 4 * 4)
    assert forward(small(run={"batch_size": 3})).segments[-1].outputs[0].shape == (3 * 9 * 7, 12)


BAD = {
    "image_size: [72, 60]": "1:13: [image-not-divisible] image_size 72 60 8 2 4 56 64",
    "image_size: 4": "1:13: [image-not-divisible] image_size 4 8 2",
    "image_size: 16384": "1:13: [too-many-windows] image_size 16384 262,144 4,096",
    "run: {batch_size: 6000}": "14:19: [too-many-windows] image_size 72 56 36,000 4,096",
    "window_size: 7": "10:14: [window-not-even] window_size 7",
    "overrides: [{blocks: [3], window_size: 4}]": "14:40: [window-differs] window_size 4 8",
    "overrides: [{blocks: [3], num_heads: 4}]": "14:38: [heads-differ] num_heads 4 8",
    "num_heads: 8": "8:12: [rotary-head-width] num_heads 8 2 4",
    "shift_size: 4": "14:13: [unused-key] qwen2_5_vl shift_size",
    "run: {attention: fused}": "14:18: [kernel-not-modelled] run.attention qwen2_5_vl",
    "pos_embed: none": "5:8: [needs-pos-embed] block qwen2_5_vl pos_embed window_order",
    "patch_embed: patch": "4:12: [layout-mismatch] pos_embed window_order patch_embed",
    "neck: sam": "12:7: [layout-mismatch] neck qwen2_5_vl",
    "rel_pos: decomposed": "14:10: [unused-key] qwen2_5_vl rel_pos sam_adapter sam_lora",
    "block: vit": "5:8: [layout-mismatch] block pos_embed window_order",
}
YAML = "".join(f"{key}: {json.dumps(value)}\n" for key, value in SMALL.items())


def problems_with(line: str, path: Path) -> list[Known]:
    key = line.partition(":")[0]
    lines = [line if old.startswith(f"{key}:") else old for old in YAML.splitlines()]
    path.write_text("\n".join(lines if key in SMALL else [*lines, line]))
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    return problems_of(caught)


@pytest.mark.parametrize("line", BAD)
def test_what_is_wrong_is_said_where_it_stands(line: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    assert f"{path}:{BAD[line]}" in problems_with(line, path)
