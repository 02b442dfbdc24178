"""Receptive fields: by hand, against sets of tokens, and against gradients on the real stack."""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import combinations, product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from samattn_cli import load_config
from samattn_cli.encoder.presets import presets
from samattn_cli.encoder.registry import TRANSITIONS
from samattn_cli.errors import UsageError
from samattn_cli.families.deep_encoder.words import CONVOLUTIONS
from samattn_cli.reports.flow import FlowFacts
from samattn_cli.stack.encoder import build
from samattn_cli.studies.flow import _slid_by_axis, _themselves, fields_of, flow_of, windowed_flow
from tests.support.gradients_of_tokens import dependence
from tests.support.sampling import examples, sampled

SMALL = {"embed_dim": 16, "num_heads": 2, "mlp_ratio": 1.0}


def encoder(**keys):
    return {"image_size": [32, 48], "patch_size": 4, **SMALL, **keys}  # a grid of 8 x 12


def staged(*stages, **keys):
    return {"image_size": [32, 48], "patch_size": 4, "stages": [{**SMALL, **s} for s in stages], **keys}


def facts(flow):
    return FlowFacts(**{field.name: getattr(flow, field.name) for field in fields(FlowFacts)})


# By hand


def test_sams_windows_of_14_on_64_leave_a_last_one_of_8():
    config = load_config("sam_vit_h")
    _, seen = next(fields_of(config))
    tokens = [len(seen[0][i]) * len(seen[1][j]) for i, j in ((0, 0), (0, 60), (60, 60))]
    assert tokens == [14 * 14, 14 * 8, 8 * 8]  # the padding is no token
    layer = flow_of(config).layers[0]
    assert (layer.smallest, layer.largest, layer.extent) == (64, 196, (14, 14))
    assert layer.mean == ((56 * 14 + 8 * 8) / 64) ** 2 == 175.5625
    assert (layer.smallest_share, layer.largest_share) == (64 / 4096, 196 / 4096)
    assert (layer.name, layer.stage, layer.attention, layer.grid) == ("blocks.0", 0, "window", (64, 64))


def test_windows_that_do_not_move_see_no_more_with_depth():
    layers = flow_of(load_config("sam_vit_h")).layers
    assert {layer.mean for layer in layers[:7]} == {175.5625}
    assert all(layer.sees_all and layer.extent == (64, 64) for layer in layers[7:])


def test_swins_shift_joins_two_windows_and_keeps_apart_what_it_rolls_round():
    first, shifted = flow_of(load_config("swin_t")).layers[:2]
    assert (first.smallest, first.mean, first.largest) == (49, 49, 49)
    # rows 3 to 51 are in seven windows over two of the layer before each; 0 to 2 and 52 to 55 stay in one
    assert (shifted.smallest, shifted.largest, shifted.extent) == (49, 196, (14, 14))
    assert shifted.mean == ((49 * 14 + 7 * 7) / 56) ** 2


def test_a_convolution_after_windows_sees_the_next_window_from_its_border():
    keys = encoder(image_size=256, block="vitdet", depth=1, window_size=14, residual_block_indexes=[0])
    (layer,) = flow_of(load_config(keys)).layers
    # rows 13, 14, 27, 28, 41, 42 see two windows of 14; 55 and 56 see one and the last of 8; 57 to 63 that alone
    rows = 49 * 14 + 6 * 28 + 2 * 22 + 7 * 8
    assert (layer.smallest, layer.largest, layer.mean) == (64, 28 * 28, (rows / 64) ** 2)


def test_hieras_tokens_see_more_of_the_first_grid_with_each_pooling():
    layers = flow_of(load_config("sam2_hiera_t")).layers
    assert [layer.grid for layer in layers[:6]] == [(256, 256), *[(128, 128)] * 2, *[(64, 64)] * 3]
    # windows of 8; of the stage before where it pools; of 4 on half the grid; then of 14 on a quarter, the last one of 8
    assert [layer.largest for layer in layers[:6]] == [64, 64, 64, 64, 56 * 56, 256 * 256]
    assert layers[4].smallest == 32 * 32


@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        ("sam_vit_h", (7, 7, 25 / 32, 0)),
        ("sam_vit_h_all_windowed", (None, 32, 0, None)),
        ("sam_vit_h_all_global", (0, 0, 1, 31 - 31)),
        ("sam2_hiera_t", (5, 5, 7 / 12, 2)),
        ("swin_t", (6, 10, 0.5, 0)),  # its last stage is one window of 7 on 7 x 7
    ],
)
def test_facts_of_presets(preset, expected):
    flow = flow_of(load_config(preset))
    assert tuple(getattr(flow, field.name) for field in fields(FlowFacts)) == expected


def test_a_window_that_covers_the_grid_is_global_unless_a_shift_cuts_it():
    covering = encoder(depth=2, window_size=14)
    assert flow_of(load_config(covering)).longest_without_global == 0
    layers = flow_of(load_config({**covering, "shift_size": 3})).layers
    assert [layer.mixes_all for layer in layers] == [True, False]
    assert {layer.attention for layer in layers} == {"window"}


def test_masked_patches_are_not_seen():
    flow = flow_of(load_config("mae_b_pretrain"))
    assert flow.first_grid == (1, 49)
    assert flow.layers[-1].grid == (14, 14)
    assert {layer.smallest for layer in flow.layers} == {49}


@pytest.mark.parametrize("preset", presets())
def test_every_preset_has_a_flow_or_has_a_reason(preset):
    config = load_config(preset)
    if preset.endswith("_3d"):
        with pytest.raises(UsageError, match=r"blocks\.0 .* runs of 96 windows"):
            flow_of(config)
        flow_of(config.all_global())
    else:
        assert len(flow_of(config).layers) == len(config.layers)


def test_a_transition_that_does_not_say_what_it_mixes_is_refused(monkeypatch):
    keys = staged(
        *(
            {"block": "swin", "depth": 1, "window_size": 2, **more}
            for more in ({}, {"transition": "patch_merging"})
        )
    )
    config = load_config(keys)
    flow_of(config)
    says_nothing = replace(TRANSITIONS["patch_merging"], slides=None)
    monkeypatch.setitem(TRANSITIONS._declared, "patch_merging", says_nothing)
    with pytest.raises(UsageError, match=r"transition patch_merging .*\[no-receptive-fields\]"):
        flow_of(config)


# Against the real stack


@pytest.fixture(autouse=True)
def one_thread():
    """Operations this small wait for a second thread, where tests run beside each other, far longer than they take."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


PYRAMID = {
    "pos_embed": "hiera",
    "pos_embed_background": 3,
    "pos_embed_window": 4,
    "patch_embed": "overlapping",
}
PLAIN = {"block": "plain", "depth": 1}
SWIN = {"block": "swin", "depth": 2, "window_size": 3}
ENCODERS = {
    "padding": encoder(depth=3, window_size=[3, 5], global_attn_indexes=[2], rel_pos="decomposed"),
    "padding, shifted": encoder(depth=4, window_size=[3, 5], shift_size=[1, 2]),
    "windows beyond the grid, shifted": encoder(depth=3, window_size=[14, 5], shift_size=[3, 0]),
    "a window of each layer's own": encoder(  # tokens that no window held before are rolled round together
        image_size=[24, 44],
        depth=4,
        window_size=3,
        shift_size=2,
        overrides=[{"blocks": [0], "window_size": 1}, {"blocks": [1], "window_size": 5}],
    ),
    "vitdet": encoder(block="vitdet", depth=4, window_size=4, residual_block_indexes=[0, 2]),
    "rope_vit": encoder(block="rope_vit", depth=2, window_size=5, pos_embed="tiled", pre_norm=True),
    "sam_adapter": encoder(block="sam_adapter", depth=2, window_size=[3, 5]),
    "sam_lora": encoder(block="sam_lora", depth=2, window_size=[3, 5]),
    "swin, odd grids": staged(
        {**SWIN, "depth": 3},
        {**SWIN, "transition": "patch_merging"},
        {**SWIN, "transition": "patch_merging"},
        image_size=[36, 52],
        patch_embed="patch_norm",
        pos_embed="none",
    ),
    "swinv2": staged(
        {"block": "swinv2", "depth": 3, "window_size": 4},
        {"block": "swinv2", "depth": 2, "window_size": 2, "transition": "patch_merging_v2"},
        pos_embed="none",
    ),
    "hiera": staged(
        {"block": "hiera", "depth": 2, "window_size": [6, 8]},
        {"block": "hiera", "depth": 2, "window_size": [4, 2], "q_stride": 2, "embed_dim": 32},
        {"block": "hiera", "depth": 2, "window_size": 2, "q_stride": 2, "embed_dim": 64},
        **PYRAMID,
    ),
    "deep_encoder": staged(
        {"depth": 2, "window_size": 3},
        {"block": "clip", "depth": 1, "transition": "deepseek_compressor"},
        image_size=[44, 48],
    ),
    "qwen2_5_vl": encoder(
        block="qwen2_5_vl",
        depth=3,
        window_size=[4, 6],
        global_attn_indexes=[2],
        patch_embed="qwen2_5_vl",
        pos_embed="window_order",
        image_size=[24, 32],
    ),
    "plain": encoder(**PLAIN, pos_embed="class_token"),
    "mae": staged(PLAIN, {**PLAIN, "transition": "mae_decoder"}, pos_embed="mae", mask_ratio=0.75),
    "vit, swin, hiera": staged(
        {"depth": 2, "window_size": 3},
        {**SWIN, "window_size": 4, "transition": "patch_merging"},
        {"block": "hiera", "depth": 2, "window_size": 2, "q_stride": 2, "embed_dim": 32},
        patch_size=2,
        image_size=[24, 32],
    ),
}


@pytest.mark.parametrize("name", sampled(ENCODERS, 2))
def test_a_token_depends_on_what_it_sees(name):
    keys = ENCODERS[name]
    found = dict(fields_of(load_config(keys)))
    for (layer, depends), seen in zip(dependence(keys), found.values(), strict=True):
        sees = torch.zeros_like(depends)
        for i, j in product(range(len(seen[0])), range(len(seen[1]))):
            sees[i, j, seen[0][i].start : seen[0][i].stop, seen[1][j].start : seen[1][j].stop] = True
        assert torch.equal(sees, depends), layer.name


def test_the_compressor_slides_as_it_says():
    """Behind it all blocks are global: no layer shows what it mixes."""
    config = load_config(ENCODERS["deep_encoder"])
    x = torch.randn(1, 11, 12, 16, requires_grad=True)
    features = build(config).transitions["1"]._compressed(x)[0]  # (D, h, w)
    rows, columns = _slid_by_axis((_themselves(11), _themselves(12)), CONVOLUTIONS)
    assert features.shape[1:] == (len(rows), len(columns)) == (3, 3)
    for i, j in product(range(3), range(3)):
        (grad,) = torch.autograd.grad((features[:, i, j] * torch.randn(16)).sum(), x, retain_graph=True)
        depends = {tuple(place) for place in grad[0].abs().sum(-1).nonzero().tolist()}
        assert depends == set(product(rows[i], columns[j]))


# Invariants

SIDES = st.integers(1, 7)


@st.composite
def windowed(draw):
    """A grid of up to 9 x 9 and four layers, windows of which are shifted."""
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    window = [draw(SIDES), draw(SIDES)]
    shift = [draw(st.integers(0, side - 1)) for side in window]
    return encoder(
        image_size=[4 * height, 4 * width],
        depth=4,
        block=draw(st.sampled_from(["vit", "vitdet"])),
        window_size=window,
        shift_size=shift,
        global_attn_indexes=draw(st.lists(st.integers(0, 3), unique=True, max_size=1)),
    )


def by_sets(keys):
    """What each token sees behind each layer, of windows cut out of a padded, rolled grid of tokens, one by one."""
    config = load_config(keys)
    H, W = config.grid
    seen = {place: {place} for place in product(range(H), range(W))}
    for layer in config.layers:
        (h, w), (down, right) = (layer.window_size if any(layer.window_size) else (H, W)), layer.shift_size
        rows, columns = (list(range(-(-length // side) * side)) for length, side in ((H, h), (W, w)))
        rolled = {
            (i, j): (rows[(i + down) % len(rows)], columns[(j + right) % len(columns)])
            for i, j in product(rows, columns)
        }
        held = {}
        for (i, j), token in rolled.items():
            round_ = (
                token[0] < down and i >= len(rows) - down,
                token[1] < right and j >= len(columns) - right,
            )
            held.setdefault((i // h, j // w, round_), []).append(token)
        sees = {}
        for tokens in held.values():
            there = [token for token in tokens if token in seen]
            sees.update({token: set().union(*(seen[other] for other in there)) for token in there})
        seen = sees
        yield seen


@settings(max_examples=examples(40), deadline=None)
@given(windowed())
def test_rectangles_are_the_sets_of_tokens(keys):
    config = load_config(keys)
    for (_, seen), expected, flow in zip(
        fields_of(config), by_sets(keys), flow_of(config).layers, strict=True
    ):
        rectangles = {
            (i, j): set(product(seen[0][i], seen[1][j]))
            for i, j in product(range(len(seen[0])), range(len(seen[1])))
        }
        assert rectangles == expected
        sizes = [len(tokens) for tokens in expected.values()]
        assert (flow.smallest, flow.largest) == (min(sizes), max(sizes))
        assert flow.mean == sum(sizes) / len(sizes)


@settings(max_examples=examples(40), deadline=None)
@given(windowed(), st.integers(0, 3))
def test_a_global_layer_more_takes_nothing_away(keys, index):
    more = {**keys, "global_attn_indexes": sorted({*keys["global_attn_indexes"], index})}
    before, after = (dict(enumerate(fields_of(load_config(each)))) for each in (keys, more))
    for (_, fewer), (_, seen) in zip(before.values(), after.values(), strict=True):
        for axis, other in zip(fewer, seen, strict=True):
            assert all(set(a) <= set(b) for a, b in zip(axis, other, strict=True))
    assert all(
        len(axis) == size
        for _, seen in after.values()
        for axis, size in zip(seen, load_config(more).grid, strict=True)
    )


PLACED = {
    "windows": encoder(depth=5, window_size=3),
    "convolutions make windows see everything": encoder(
        block="vitdet", depth=5, window_size=4, residual_block_indexes=[0, 1]
    ),
    "the last stage is one window": staged(
        {"block": "swin", "depth": 3, "window_size": 4}, {**SWIN, "window_size": 6, "transition": "patch_merging"},
        image_size=48,
    ),
    "a stage has no window": staged({"depth": 3, "window_size": 3, "shift_size": 1}, {"depth": 2}),
    "pooled": ENCODERS["hiera"],
}  # fmt: skip


@pytest.mark.parametrize("keys", PLACED.values(), ids=PLACED)
def test_facts_of_a_placement_are_those_of_its_flow(keys):
    start = windowed_flow(load_config(keys))
    stages = keys.get("stages", [keys])
    for number in range(start.depth + 1):
        for placed in combinations(range(start.depth), number):
            config = load_config(keys)
            first, made = 0, []
            for stage, given_ in zip(config.stages, stages, strict=True):
                blocks = range(first, first + given_["depth"])
                made.append(replace(stage, global_attn_indexes=tuple(i for i in placed if i in blocks)))
                first = blocks.stop
            assert start.facts(placed) == facts(flow_of(replace(config, stages=tuple(made)))), placed
