"""Operations that move numbers, on the Tape and in torch: see tape_programs."""

from __future__ import annotations

import pytest
import torch

from samattn_cli.stack.rotary import rotate, rotations
from samattn_cli.tape import rotary
from tests.support.tape_programs import RUNS, Program, derived, traced

B, H, W, C = 2, 4, 6, 8


def rolled(tape, x):
    out = tape.roll("roll", x, 1, 2)
    return tape.roll("roll_back", out, 1, 2)


def merged(tape, x):
    parts = [x.slice(1, i, step=2).slice(2, j, step=2) for i, j in ((0, 0), (1, 0), (0, 1), (1, 1))]
    return tape.cat("cat", parts)


def merged_in_torch(x):
    parts = [x[:, i::2, j::2, :] for i, j in ((0, 0), (1, 0), (0, 1), (1, 1))]
    return torch.cat(parts, -1)


def with_class_token(tape, x):
    return tape.cat("cat", (tape.used_weight("cls", 1, 1, C).expand_to(x.shape[0], 1, C), x), 1)


def tiled(tape, x):
    whole = tape.repeat("tile", tape.used_weight("window_embed", 1, C, 2, 2), 1, 1, 2, 3)
    return tape.add("add", x, whole.permute(0, 2, 3, 1))


def filled(tape, x):
    return tape.masked_fill("fill", x, tape.computed("mask", H, 1, C, item_bytes=1))


def split_in_two(tape, x):
    first, second, _ = x.split((3, 3, 2), -1)
    return tape.add("add", first, second)


def split_in_two_in_torch(x):
    first, second, _ = x.split([3, 3, 2], dim=-1)
    return first + second


def pairs_swapped(tape, x):
    a, b = x.view(B, H, C // 2, 2).unbind(-1)
    return tape.stack("stack", (b, a), -1).view(B, H, C)


def pairs_swapped_in_torch(x):
    a, b = x.view(B, H, C // 2, 2).unbind(-1)
    return torch.stack((b, a), -1).flatten(-2)


def rotated(tape, x):
    cos, sin = rotary.rotations(tape, (H, W), C)
    out = rotary.rotate(tape, "rotate", x.permute(0, 2, 1, 3), cos, sin)
    tape.free(cos, sin)
    return out


def rotated_in_torch(x):
    angles = rotations((H, W), (1.0, 0.5), C, x.device)
    return rotate(x.transpose(1, 2), *angles)


PROGRAMS = {
    "roll": Program((B, H, W, C), rolled, lambda x: x.roll((-1, -2), (1, 2)).roll((1, 2), (1, 2))),
    "roll of a transposed": Program(
        (B, W, H, C),
        lambda tape, x: tape.roll("roll", x.permute(0, 2, 1, 3), 1, 2),
        lambda x: torch.roll(x.permute(0, 2, 1, 3), (0, -2), (1, 2)),
    ),
    "roll along one dimension": Program(
        (B, H, W, C), lambda tape, x: tape.roll("roll", x, 1), lambda x: torch.roll(x, -1, 1)
    ),
    "merge patches": Program((B, H, W, C), merged, merged_in_torch),
    "corner": Program((B, H, W, C), lambda _, x: x.narrow((B, 3, W, C)), lambda x: x[:, :3, :W]),
    "class token": Program(
        (B, 5, C),
        with_class_token,
        lambda x, cls: torch.cat((cls.expand(x.shape[0], -1, -1), x), 1),
        ((1, 1, C),),
    ),
    "class token of one image": Program(
        (1, 5, C),
        with_class_token,
        lambda x, cls: torch.cat((cls.expand(x.shape[0], -1, -1), x), 1),
        ((1, 1, C),),
    ),
    "off the front": Program((B, 5, C), lambda _, x: x.slice(1, 1), lambda x: x[:, 1:]),
    "one of them": Program((B, 5, C), lambda _, x: x.select(1), lambda x: x[:, 0]),
    "tile": Program(
        (B, H, W, C), tiled, lambda x, w: x + w.tile((1, 1, 2, 3)).permute(0, 2, 3, 1), ((1, C, 2, 2),)
    ),
    "repeat with a new dimension": Program(
        (H, W), lambda tape, x: tape.repeat("repeat", x, 2, 1, 3), lambda x: x.repeat(2, 1, 3)
    ),
    "repeat nothing": Program(
        (H, W), lambda tape, x: tape.repeat("repeat", x, 1, 1), lambda x: x.repeat(1, 1)
    ),
    "masked fill": Program(
        (B, H, W, C),
        filled,
        lambda x: x.masked_fill(torch.empty(H, 1, C, dtype=torch.bool, device="meta"), -1.0),
    ),
    "split": Program((B, H, C), split_in_two, split_in_two_in_torch),
    "pairs swapped": Program((B, H, C), pairs_swapped, pairs_swapped_in_torch),
    "a middle dimension unbound and stacked": Program(
        (B, 2, C),
        lambda tape, x: tape.stack("stack", x.unbind(1)[::-1], 1),
        lambda x: torch.stack(x.unbind(1)[::-1], 1),
    ),
    "one of those unbound": Program((B, 3, C), lambda _, x: x.unbind(1)[1], lambda x: x.unbind(1)[1]),
    "rotary positions": Program((B, H * W, 2, C), rotated, rotated_in_torch),
    "an unused part": Program((B, H, C), lambda _, x: x.split((4, 4), -1)[1], lambda x: x.chunk(2, -1)[1]),
}


@pytest.mark.parametrize("run", RUNS, ids=str)
@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS.keys())
def test_what_moves_numbers_allocates_keeps_and_frees_what_torch_does(program, run):
    assert derived(program, run) == traced(program, run)
