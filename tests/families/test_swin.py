"""Swin and Swin V2, and Swin's shifted windows in blocks of vit."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers.models.swin.modeling_swin import SwinAttention

from samattn_cli import load_config
from samattn_cli.encoder.placement import NO_WINDOW
from samattn_cli.errors import ConfigError
from samattn_cli.stack.encoder import build, image_for
from samattn_cli.stack.windows import shift_mask
from samattn_cli.studies.verify import verify
from samattn_cli.tape.encoder import forward
from samattn_cli.tape.memory import walk, weights_bytes
from tests.public.swin import count, public_encoder
from tests.support.problems import messages_of
from tests.support.running import ROOT
from tests.support.score_matrices import assert_scores_are_those_of_the_layers

MERGING = {"swin": "patch_merging", "swinv2": "patch_merging_v2"}


def encoder(block="swin", image=(20, 28), windows=(4, 4), widths=(16, 32), depth=2, **stage):
    """Grids of 5x7 and 3x4 tokens: odd sides, padded windows, and one that the last grid clamps."""
    return {
        "image_size": list(image),
        "patch_size": 4,
        "patch_embed": "patch_norm",
        "pos_embed": "none",
        "norm": True,
        "stages": [
            {
                "block": block,
                "embed_dim": width,
                "depth": depth,
                "num_heads": 2 << number,
                "window_size": window,
                "transition": MERGING[block] if number else "none",
                **stage,
            }
            for number, (width, window) in enumerate(zip(widths, windows, strict=True))
        ],
    }


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


@pytest.mark.parametrize("preset", ["swin_t", "swin_t_384", "swinv2_t", "swinv2_l"])
def test_parameters_and_flops_are_those_of_transformers(preset):
    passed = forward(load_config(preset))
    assert (passed.params, passed.flops) == count(preset)


@pytest.mark.parametrize(
    ("preset", "params", "flops"),
    [
        ("swin_t", 27_519_354, 8_979_597_312),
        ("swin_s", 48_837_258, 17_480_214_528),
        ("swin_b", 86_743_224, 30_859_845_632),
        ("swin_l", 194_995_476, 68_948_447_232),
        ("swinv2_t", 27_578_154, 11_877_844_992),
        ("swinv2_s", 48_959_418, 23_090_178_048),
        ("swinv2_b", 86_893_816, 40_648_220_672),
    ],
)
def test_the_usual_sizes_cost_what_was_counted_before(preset, params, flops):
    passed = forward(load_config(preset))
    assert (passed.params, passed.flops) == (params, flops)


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


@pytest.mark.parametrize("block", ["swin", "swinv2"])
def test_score_matrices_are_of_the_size_that_is_reported(block):
    assert_scores_are_those_of_the_layers(forward(load_config(encoder(block, windows=(4, [2, 3])))))


@settings(max_examples=25, deadline=None, derandomize=True)
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

V1_NAMES = {
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "attn.proj": "attention.o_proj",
    "attn": "attention.relative_position_bias",
}
V2_NAMES = {
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "attn.proj": "attention.output.dense",
    "attn.cpb_mlp": "attention.self.continuous_position_bias_mlp",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
    "attn": "attention.self",
}
QKV = {
    "swin": [f"attention.{part}_proj" for part in "qkv"],
    "swinv2": [f"attention.self.{part}" for part in ("query", "key", "value")],
}
OF_PARTS = {
    "patch_embed.proj": "embeddings.patch_embeddings.projection",
    "patch_embed.norm": "embeddings.norm",
    "norm": "layernorm",
}


def their_names(config, weights):
    """The weights by transformers' names, which projects queries, keys and values apart."""
    result = {}
    for name, weight in weights.items():
        where, _, kind = name.rpartition(".")
        if name.startswith("blocks."):
            result |= _of_block(config, name, weight)
        elif name.startswith("transitions."):
            _, stage, part, kind = name.split(".")
            result[f"encoder.layers.{int(stage) - 1}.downsample.{part}.{kind}"] = weight
        else:
            result[f"{OF_PARTS[where]}.{kind}"] = weight
    return result


def _of_block(config, name, weight):
    _, index, rest = name.split(".", 2)
    layer = config.layers[int(index)]
    first = next(each.index for each in config.layers if each.stage_index == layer.stage_index)
    block = f"encoder.layers.{layer.stage_index}.blocks.{layer.index - first}"
    kind, named = layer.stage.block, rest.rpartition(".")[2]
    if rest.startswith("attn.qkv"):
        parts = zip(QKV[kind], weight.chunk(3), strict=True)
        return {f"{block}.{part}.{named}": piece for part, piece in parts}
    if named in {"q_bias", "v_bias"}:
        return {f"{block}.{QKV[kind]['qkv'.index(named[0])]}.bias": weight}
    names = V1_NAMES if kind == "swin" else V2_NAMES
    module = next((part for part in names if rest.startswith(f"{part}.")), "")
    return {f"{block}.{names.get(module, module)}{rest.removeprefix(module)}": weight}


def as_constructed(model, config):
    """Their Swin makes its tables for the window before it is clamped, and cannot run then: give it Microsoft's."""
    for layer in config.layers:
        first = next(each.index for each in config.layers if each.stage_index == layer.stage_index)
        block = model.encoder.layers[layer.stage_index].blocks[layer.index - first]
        size = min(layer.grid) if layer.is_global else layer.window_size[0]
        block.attention = SwinAttention(model.config, layer.stage.embed_dim, layer.stage.num_heads, size)


@pytest.mark.parametrize(
    ("given", "kernel"),
    [
        pytest.param(encoder(), "eager", id="padded, odd, shifted, clamped"),
        pytest.param(encoder(), "sdpa", id="the same by sdpa"),
        pytest.param(encoder(image=(16, 16)), "eager", id="the window is the grid, then larger than it"),
        pytest.param(encoder(windows=(3,), widths=(16,), qkv_bias=False), "eager", id="no bias of qkv"),
        pytest.param(encoder("swinv2", image=(24, 32)), "eager", id="v2, padded, shifted, clamped"),
        pytest.param(encoder("swinv2", image=(44, 60)), "eager", id="v2, odd"),
        pytest.param(
            encoder("swinv2", windows=(3,), widths=(16,), qkv_bias=False), "eager", id="v2, no bias of qkv"
        ),
    ],
)
def test_the_output_is_that_of_transformers_with_the_same_weights(given, kernel):
    block = given["stages"][0]["block"]
    config = load_config(given, [f"run.attention={kernel}"])
    torch.manual_seed(0)
    ours, theirs = build(config), public_encoder(config)
    for weight in ours.parameters():
        nn.init.normal_(weight, std=0.2)
    if block == "swin":
        as_constructed(theirs, config)
    theirs.load_state_dict(their_names(config, ours.state_dict()))
    image = torch.randn(2, *image_for(config).shape[1:])
    with torch.no_grad():
        expected = theirs(image).last_hidden_state
        found = ours(image)
    torch.testing.assert_close(found.flatten(1, 2), expected, atol=1e-5, rtol=1e-5)


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
        (encoder(), ["run.batch_size=2", "run.autocast=bfloat16"]),
        (encoder(windows=([3, 4], 2), shift_size=[1, 0], qkv_bias=False), ["run.checkpointing=true"]),
        (encoder(), ["run.attention=sdpa", "run.batch_size=2"]),
        (encoder(), ["run.attention=sdpa", "run.autocast=float16"]),
        (encoder("swinv2"), []),
        (encoder("swinv2", qkv_bias=False), ["run.dtype=bfloat16", "run.batch_size=2"]),
        (encoder("swinv2"), ["run.autocast=bfloat16", "run.checkpointing=true"]),
        (SHIFTED_VIT, ["run.autocast=float16"]),
        (SHIFTED_VIT, ["run.attention=sdpa", "run.batch_size=2"]),
        (SHIFTED_VIT, ["run.attention=sdpa", "rel_pos=none"]),
        (ROOT / "examples" / "vit_shifted_windows.yaml", []),
        ("swin_t", []),
    ],
)
def test_every_parameter_flop_and_byte_is_torchs(given, overrides):
    verdict = verify(load_config(given, overrides), every_layer=False)
    assert not {name: check.differences for name, check in verdict.checks.items() if check.differences}
    assert {check.status for check in verdict.checks.values()} == {"exact"}


@pytest.mark.parametrize("window", [[1, 7], [7, 1], [1, 4], [1, 1]], ids=str)
@pytest.mark.parametrize(("block", "kernel"), [("swin", "eager"), ("swin", "sdpa"), ("swinv2", "eager")])
def test_windows_one_token_high_or_wide_are_torchs_to_the_byte(block, kernel, window):
    """Of windows one token high the cut is a view, so that what was rolled lives as long as its windows."""
    verdict = verify(load_config(narrow(block, window, embed_dim=12), [f"run.attention={kernel}"]))
    assert {name: check.differences for name, check in verdict.checks.items() if check.differences} == {}
    assert verdict.status == "exact"


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


# --- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (encoder(shift_size=5), "[shift-too-large] shift_size 5x5 1 4x4"),
        (SHIFTED_VIT | {"shift_size": 3}, "[shift-too-large] shift_size 3x3 1 3x3"),
        (
            SHIFTED_VIT | {"run": {"attention": "fused"}},
            "[kernel-shift] fused sdpa eager",
        ),
        (
            encoder() | {"run": {"attention": "fused"}},
            "[kernel-not-modelled] fused swin",
        ),
        (
            encoder("swinv2") | {"run": {"attention": "sdpa"}},
            "[kernel-not-modelled] sdpa swinv2",
        ),
        (encoder(rel_pos="decomposed"), "[unused-key] swin rel_pos"),
    ],
)
def test_what_cannot_be_is_said(given, message):
    with pytest.raises(ConfigError) as error:
        load_config(given)
    assert message in messages_of(error)
