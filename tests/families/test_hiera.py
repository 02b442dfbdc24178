"""SAM 2's encoders: counts and values against transformers', memory against the real stack, what a config may not say."""

from __future__ import annotations

import pytest

from samattn_cli import analyze, load_config
from samattn_cli.tape.encoder import forward
from tests.families.contract import assert_exact
from tests.public.hiera import EAGER, FIRST, LAST, RECORDS, SECOND, THIRD, VARIANTS
from tests.support.score_matrices import assert_scores_are_those_of_the_layers

"""Grids 16x24, 8x12, 4x6 and 2x3; blocks 3, 6 and 8 pad."""


def small(**changes):
    return RECORDS[0].config(changes)


def test_a_pooling_block_made_global_is_exact_against_the_real_stack():
    assert_exact(small().all_global(), every_layer=True)


def test_windows_lag_a_block_and_queries_are_pooled_at_the_first_of_a_stage():
    layers = load_config("sam2_hiera_t").layers
    assert [layer.window_size[0] for layer in layers] == [8, 8, 4, 4, 14, 0, 14, 0, 14, 0, 14, 7]
    assert [layer.q_stride for layer in layers] == [1, 2, 1, 2, 1, 1, 1, 1, 1, 1, 2, 1]
    assert [layer.grid[0] for layer in layers] == [256, 256, *[128] * 2, *[64] * 7, 32]
    assert [layer.in_dim for layer in layers] == [96, 96, *[192] * 2, *[384] * 7, 768]


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_scores_of_the_encoder_made_global_are_those_of_its_layers(changes):
    assert_scores_are_those_of_the_layers(forward(small(**EAGER, **changes).all_global()))


def test_a_pooling_block_made_global_costs_all_keys_for_a_quarter_of_the_queries():
    layers = analyze(load_config("sam2_hiera_t"), verify=False).layers
    for index, grid, window in ((1, 256, 8), (3, 128, 4), (10, 64, 14)):
        windowed = (-(-grid // window)) ** 2 * window**4
        assert layers[index].vs_global.scores_flops_ratio == pytest.approx(grid**4 / windowed)
        assert layers[index].attention_bytes == 4 * layers[index].num_heads * windowed // 4


def test_parameters_do_not_follow_the_resolution():
    assert forward(load_config("sam2_hiera_t", ["image_size=512"])).params == 27_219_136


@pytest.mark.parametrize("size", [1021, 1023, 1024])
def test_overlapping_patches_drop_no_pixels(size):
    config = load_config("sam2_hiera_t", [f"image_size={size}"])
    assert config.grid == (256, 256)
    assert "dropped-pixels" not in {finding.code for finding in analyze(config, verify=False).findings}


def test_padding_of_the_block_that_pools_is_told_apart_from_that_of_the_rest_of_its_stage():
    found = analyze(
        small(stages=[FIRST, SECOND, THIRD | {"window_size": 6, "global_attn_indexes": []}, LAST]),
        verify=False,
    ).findings
    told = [finding.message for finding in found if finding.code == "padding"]
    assert any(
        message.startswith("Padding 8x12 to 12x12 makes the one windowed layer of stage 2")
        for message in told
    )
    assert any(
        message.startswith(
            "The window, 6x6, is larger than the grid, 4x6: each of the 2 windowed layers of stage 2"
        )
        for message in told
    )
