"""Operations on images, on the Tape and in torch: see tape_programs."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tests.support.tape_programs import RUNS, Program, derived, traced

B, C, H, W = 2, 4, 12, 8


def conv(out, kernel, **options):
    """Of an image in row-major order, with a bias."""
    return lambda tape, x: tape.conv2d("conv", x, out, kernel, **options)


def of_tokens(convolution):
    """Of (B, H, W, C), which is an image with its channels last."""
    return lambda tape, x: convolution(tape, x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def of_tokens_in_torch(convolution):
    return lambda x, *weights: convolution(x.permute(0, 3, 1, 2), *weights).permute(0, 2, 3, 1)


def pooled(tape, x):
    return tape.max_pool2d("pool", x, 2)


def pooled_in_torch(x):
    return F.max_pool2d(x, 2, 2)


def with_position(mode, tokens):
    """A position embedding (1, 3, 3, C), or (1, C, 3, 3), resized to the grid of x (B, H, W, C)."""

    def on_tape(tape, x):
        shape = (1, 3, 3, C) if tokens else (1, C, 3, 3)
        table = tape.used_weight("pos_embed", *shape)
        table = table.permute(0, 3, 1, 2) if tokens else table
        resized = tape.interpolate("resize", table, x.shape[1:3], mode)
        return tape.add("add", x, resized.permute(0, 2, 3, 1))

    def in_torch(x, table):
        table = table.permute(0, 3, 1, 2) if tokens else table
        return x + F.interpolate(table, size=x.shape[1:3], mode=mode).permute(0, 2, 3, 1)

    return Program((B, H, W, C), on_tape, in_torch, ((1, 3, 3, C) if tokens else (1, C, 3, 3),))


def up(tape, x):
    return tape.interpolate("up", x, (2 * x.shape[2], 2 * x.shape[3]), "nearest")


def up_in_torch(x):
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def up_product(tape, x):
    made = tape.conv2d("conv", x, C, 1, bias=False)
    out = up(tape, made)
    tape.free(made)
    return out


def resized_rows(tape):
    """A table (5, W) as (H, W)."""
    channels = tape.used_weight("rel_pos", 5, W).permute(1, 0).view(1, W, 5)
    return tape.interpolate("resize", channels, (H,), "linear").view(W, H).permute(1, 0)


PROGRAMS = {
    "7x7, stride 4": Program(
        (B, C, H, W),
        conv(6, 7, stride=4, padding=3),
        lambda x, w, b: F.conv2d(x, w, b, 4, 3),
        ((6, C, 7, 7), (6,)),
    ),
    "3x3 of tokens, stride 2, without a bias": Program(
        (B, H, W, C),
        of_tokens(conv(5, 3, stride=2, padding=1, bias=False)),
        of_tokens_in_torch(lambda x, w: F.conv2d(x, w, None, 2, 1)),
        ((5, C, 3, 3),),
    ),
    "depthwise": Program(
        (B, C, H, W),
        conv(C, 3, padding=1, groups=C),
        lambda x, w, b: F.conv2d(x, w, b, padding=1, groups=C),
        ((C, 1, 3, 3), (C,)),
    ),
    "depthwise of tokens": Program(
        (B, H, W, C),
        of_tokens(conv(C, 3, padding=1, groups=C)),
        of_tokens_in_torch(lambda x, w, b: F.conv2d(x, w, b, padding=1, groups=C)),
        ((C, 1, 3, 3), (C,)),
    ),
    "in two groups": Program(
        (B, C, H, W),
        conv(6, 3, padding=1, groups=2),
        lambda x, w, b: F.conv2d(x, w, b, padding=1, groups=2),
        ((6, C // 2, 3, 3), (6,)),
    ),
    "over three dimensions": Program(
        (B, C, 6, H, W),
        lambda tape, x: tape.conv3d("conv", x, 5, (3, 4, 2)),
        lambda x, w, b: F.conv3d(x, w, b, (3, 4, 2)),
        ((5, C, 3, 4, 2), (5,)),
    ),
    "transposed": Program(
        (B, C, H, W),
        lambda tape, x: tape.conv_transpose2d("up", x, 6, 2, stride=2),
        lambda x, w, b: F.conv_transpose2d(x, w, b, stride=2),
        ((C, 6, 2, 2), (6,)),
    ),
    "transposed of tokens": Program(
        (B, H, W, C),
        of_tokens(lambda tape, x: tape.conv_transpose2d("up", x, 6, 2, stride=2, bias=False)),
        of_tokens_in_torch(lambda x, w: F.conv_transpose2d(x, w, stride=2)),
        ((C, 6, 2, 2),),
    ),
    "max pool": Program((B, C, H, W), pooled, pooled_in_torch),
    "max pool of tokens": Program((B, H, W, C), of_tokens(pooled), of_tokens_in_torch(pooled_in_torch)),
    "every other one": Program(
        (B, H, W, C),
        of_tokens(lambda tape, x: tape.max_pool2d("pool", x, 1, stride=2)),
        of_tokens_in_torch(lambda x: F.max_pool2d(x, 1, 2)),
    ),
    "max pool of an odd size": Program((B, C, 7, 5), pooled, pooled_in_torch),
    "linear, a table of rows": Program(
        (B, H, W),
        lambda tape, x: tape.add("add", x, resized_rows(tape)),
        lambda x, table: x + F.interpolate(table.T[None], size=H, mode="linear").view(-1, H).T,
        ((5, W),),
    ),
    "nearest": Program((B, C, H, W), up, up_in_torch),
    "nearest of tokens": Program((B, H, W, C), of_tokens(up), of_tokens_in_torch(up_in_torch)),
    "nearest of a product": Program(
        (B, C, H, W), up_product, lambda x, w: up_in_torch(F.conv2d(x, w)), ((C, C, 1, 1),)
    ),
    **{
        f"position embedding, {mode}, {'tokens' if tokens else 'image'}": with_position(mode, tokens)
        for mode in ("nearest", "bilinear", "bicubic")
        for tokens in (False, True)
    },
}


@pytest.mark.parametrize("run", RUNS, ids=str)
@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS.keys())
def test_operations_on_images_allocate_keep_and_multiply_what_torch_does(program, run):
    assert derived(program, run) == traced(program, run)


def test_a_convolution_multiplies_each_output_with_the_weights_that_it_sees():
    # 3 x 2 places of 6 channels, of 4 x 7 x 7 numbers each; in two groups of half as many
    for groups in (1, 2):
        program = Program((1, C, H, W), conv(6, 7, stride=4, padding=3, groups=groups), torch.clone)
        macs = 3 * 2 * 6 * (C // groups) * 7 * 7
        found = derived(program, RUNS[0])
        assert found["inference products"] == [2 * macs]
        assert found["backward products"] == [2 * 2 * macs]
