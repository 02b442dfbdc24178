"""Swin and Swin V2, and Swin's shifted windows in blocks of vit."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from samattn_cli import load_config
from samattn_cli.encoder.placement import NO_WINDOW
from samattn_cli.errors import ConfigError
from samattn_cli.stack.encoder import build
from samattn_cli.stack.windows import shift_mask
from samattn_cli.tape.encoder import forward
from samattn_cli.tape.memory import walk, weights_bytes
from tests.families.contract import assert_exact
from tests.public.swin import encoder
from tests.support.problems import messages_of
from tests.support.running import ROOT
from tests.support.sampling import examples

SHIFTED_VIT = {
    "image_size": [44, 60],
    "patch_size": 4,
    "embed_dim": 32,
    "depth": 3,
    "num_heads": 4,
    "window_size": [4, 3],
    "shift_size": [2, 1],
    "rel_pos": "decomposed",
}


# --- what others count -------------------------------------------------------------------------------------------------


def test_the_bias_mlp_of_v2_costs_the_same_whatever_the_batch():
    """2 (2w - 1)^2 (2 * 512 + 512 h) FLOPs a block: here w is 4 and h 2, then 3, where the grid clamps it, and 4."""

    def of_mlp(batch):
        config = load_config(encoder("swinv2"), [f"run.batch_size={batch}"])
        ops = [op for segment in forward(config).segments for op in segment.recording.ops]
        return [op.flops for op in ops if op.name.startswith("attn.cpb_mlp") and op.flops]

    by_hand = [
        2 * (2 * w - 1) ** 2 * macs
        for w, h in ((4, 2), (4, 2), (3, 4), (3, 4))
        for macs in (2 * 512, 512 * h)
    ]
    assert of_mlp(1) == of_mlp(3) == by_hand


# --- where blocks attend -----------------------------------------------------------------------------------------------


def test_every_other_block_is_shifted_by_half_a_window_and_a_window_as_large_as_the_grid_is_none():
    layers = load_config("swin_t").layers
    assert [layer.shift_size for layer in layers] == [(0, 0), (3, 3)] * 5 + [(0, 0)] * 2
    assert [layer.window_size for layer in layers] == [(7, 7)] * 10 + [NO_WINDOW] * 2


def test_a_window_larger_than_the_shorter_side_is_a_square_of_it_unshifted():
    """Microsoft's: window_size = min(input_resolution), on both axes."""
    last = load_config(encoder()).layers[-1]
    assert (last.grid, last.window_size, last.padded_grid) == ((3, 4), (3, 3), (3, 6))
    assert not last.is_shifted


def test_the_stage_says_by_how_much_else_swin_is_shifted_and_vit_is_not():
    assert load_config(encoder(shift_size=1)).layers[1].shift_size == (1, 1)
    assert load_config(encoder(shift_size=0)).layers[1].shift_size == (0, 0)
    assert [layer.shift_size for layer in load_config(SHIFTED_VIT).layers] == [(0, 0), (2, 1), (0, 0)]
    assert not any(layer.is_shifted for layer in load_config(SHIFTED_VIT, ["shift_size=null"]).layers)


@settings(max_examples=examples(25), deadline=None, derandomize=True)
@given(st.data())
def test_shifted_windows_join_only_neighbours(data):
    """Rolled back, the tokens that a window leaves together lie within a window's length of each other, on each side."""
    window = data.draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    shift = tuple(data.draw(st.integers(0, side - 1)) for side in window)
    rows, columns = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    (h, w), (H, W) = window, (rows * window[0], columns * window[1])
    mask = shift_mask((H, W), window, shift)
    at = torch.stack(torch.meshgrid(torch.arange(H), torch.arange(W), indexing="ij"), -1).roll(
        (-shift[0], -shift[1]), (0, 1)
    )
    places = at.view(rows, h, columns, w, 2).transpose(1, 2).reshape(rows * columns, h * w, 2)
    apart = (places[:, :, None] - places[:, None]).abs()
    near = (apart[..., 0] < h) & (apart[..., 1] < w) & same_side(places, shift)
    assert torch.equal(mask == 0, near)


def same_side(places, shift):
    """Whether two tokens of a window both were rolled round the border, or neither was: by rows and by columns."""
    rolled = places < torch.tensor(shift)
    return (rolled[:, :, None] == rolled[:, None]).all(-1)


# --- values ------------------------------------------------------------------------------------------------------------


def test_a_shift_lets_blocks_of_vit_pass_on_what_windows_hold_back():
    """A change of one patch reaches the next window, by the second block, and no token of the far corner."""
    config = load_config(
        SHIFTED_VIT | {"image_size": [48, 48], "depth": 2, "window_size": 4, "shift_size": 2}
    )
    torch.manual_seed(0)
    model = build(config)
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.2)
    image = torch.randn(1, 3, 48, 48)
    changed = image.clone()
    changed[..., 12:16, 12:16] += 1  # token (3, 3), of window (0, 0)
    with torch.no_grad():
        reached = (model(changed) - model(image)).abs().amax(-1)[0] > 0
    assert reached[:6, :6].all()
    assert not reached[6:].any()
    assert not reached[:, 6:].any()


# --- the Tape against torch --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "overrides"),
    [
        (SHIFTED_VIT, ["run.autocast=float16"]),
        (SHIFTED_VIT, ["run.attention=sdpa", "run.batch_size=2"]),
        pytest.param(SHIFTED_VIT, ["run.attention=sdpa", "rel_pos=none"], marks=pytest.mark.exhaustive),
        pytest.param(ROOT / "examples" / "vit_shifted_windows.yaml", [], marks=pytest.mark.exhaustive),
    ],
)
def test_shifted_blocks_of_vit_are_torchs_to_the_byte(given, overrides):
    assert_exact(load_config(given, overrides), every_layer=False)


NARROW, KINDS = ([1, 7], [7, 1], [1, 4], [1, 1]), (("swin", "eager"), ("swin", "sdpa"), ("swinv2", "eager"))
IN_THE_SUITE = {
    ("swin", "eager", 1, 7),
    ("swin", "sdpa", 1, 4),
    ("swinv2", "eager", 7, 1),
    ("swinv2", "eager", 1, 1),
}


@pytest.mark.parametrize(
    ("block", "kernel", "window"),
    [
        pytest.param(
            *kind,
            window,
            id=f"{'-'.join(kind)}-{window}",
            marks=[] if (*kind, *window) in IN_THE_SUITE else [pytest.mark.exhaustive],
        )
        for kind in KINDS
        for window in NARROW
    ],
)
def test_windows_one_token_high_or_wide_are_torchs_to_the_byte(block, kernel, window):
    """Of windows one token high the cut is a view, so that what was rolled lives as long as its windows."""
    config = load_config(narrow(block, window, embed_dim=12), [f"run.attention={kernel}"])
    assert_exact(config, every_layer=True)


def narrow(block, window, **keys):
    """A grid of 14 x 14 tokens, the second block shifted where the window is smaller than the grid."""
    return {
        "image_size": 56,
        "patch_size": 4,
        "block": block,
        "embed_dim": 96,
        "depth": 2,
        "num_heads": 3,
        "window_size": window,
        **keys,
    }


def test_the_shifted_block_of_windows_1x7_peaks_at_what_the_real_stack_takes():
    """1,940,992 B is what the trace of the real stack found where the Tape derived 1,865,728."""
    passed = forward(load_config(narrow("swin", [1, 7], patch_embed="patch_norm", pos_embed="none")))
    peaks = {part.name: used.peak_bytes for part, used in zip(passed.segments, walk(passed), strict=True)}
    assert peaks["blocks.1"] == 1_940_992


def test_indexes_and_masks_are_memory_of_the_encoder():
    """Block 0: indexes of 16x16 offsets; block 1: its own, and masks of 2x2 windows of 16x16, in float32."""
    config = load_config(encoder(windows=(4,), widths=(16,)))
    weights = sum(-(-weight.nbytes // 512) * 512 for weight in build(config, "meta").parameters())
    assert weights_bytes(forward(config)) == weights + 2 * 16 * 16 * 8 + 2 * 2 * 16 * 16 * 4


@pytest.mark.parametrize("num_heads", [1, 2])
def test_a_bias_of_one_key_is_not_dense_for_several_heads(num_heads):
    """(1, h, 1, 1) with a last stride of h: kernels of attention take it for one head alone, as torch's checks say."""
    stage = {
        "block": "swin",
        "embed_dim": 8 * num_heads,
        "depth": 1,
        "num_heads": num_heads,
        "window_size": 1,
    }
    run = {"attention": "sdpa", "dtype": "bfloat16"}
    config = load_config(
        {"image_size": 8, "patch_size": 4, "pos_embed": "none", "stages": [stage], "run": run}
    )
    ops = (op for segment in forward(config).segments for op in segment.recording.ops)
    kernels = {op.choice.kernel for op in ops if op.choice}
    assert kernels == ({"efficient"} if num_heads == 1 else {"math"})
    assert_exact(config, every_layer=True)


# --- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (SHIFTED_VIT | {"shift_size": 3}, "[shift-too-large] shift_size 3x3 1 3x3"),
        (
            SHIFTED_VIT | {"run": {"attention": "fused"}},
            "[kernel-shift] fused sdpa eager",
        ),
    ],
)
def test_what_cannot_be_is_reported(given, message):
    with pytest.raises(ConfigError) as error:
        load_config(given)
    assert message in messages_of(error)
