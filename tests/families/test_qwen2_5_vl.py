"""Qwen2.5-VL's vision encoder: against transformers' in numbers, values and memory, against the real stack byte for byte."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from samattn_cli import EncoderConfig, analyze, load_config
from samattn_cli.stack.trace import Tracer
from samattn_cli.tape.encoder import forward
from samattn_cli.tape.memory import live_over
from tests.public.qwen2_5_vl import RECORDS, public_encoder

FLOAT32_BYTES = 4


def small(**changes: object) -> EncoderConfig:
    return RECORDS[0].config(changes)


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


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("index", [1, 2])
def test_memory_of_a_block_is_that_of_transformers(index: int, dtype: str) -> None:
    """Each allocation and what is live after it, of a block with windows and of a global one."""
    config = small(**{"run.dtype": dtype})
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
    assert small(**{"run.batch_size": 3}).input_shape == (3 * 18 * 14, 3 * 2 * 4 * 4)
    assert forward(small(**{"run.batch_size": 3})).segments[-1].outputs[0].shape == (3 * 9 * 7, 12)
