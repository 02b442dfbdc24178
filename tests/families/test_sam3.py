"""SAM 3's vision encoder: against transformers' in numbers and values, against the real stack byte for byte."""

from __future__ import annotations

from math import prod

import torch

from samattn_cli import load_config
from samattn_cli.stack.encoder import build, image_for
from samattn_cli.stack.rotary import rotate, rotations
from samattn_cli.tape.encoder import forward
from tests.public.sam3 import RECORDS


def test_the_mlp_is_as_wide_as_the_codes() -> None:
    assert {layer.stage.mlp_dim for layer in load_config("sam3_vision").layers} == {4736}


def test_parameters_do_not_follow_the_resolution() -> None:
    params = {forward(load_config("sam3_vision", [f"image_size={size}"])).params for size in (336, 672, 1008)}
    assert params == {454_038_784}


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


def test_the_neck_has_four_maps() -> None:
    *_, neck = forward(load_config("sam3_vision")).segments
    sides = [288, 144, 72, 36]
    assert [output.shape for output in neck.outputs] == [(1, 256, side, side) for side in sides]
    small = RECORDS[0].config()
    assert [tuple(each.shape) for each in build(small, "meta")(image_for(small, "meta"))] == [
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
