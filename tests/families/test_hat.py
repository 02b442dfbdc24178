"""What is true of HAT alone: windows of keys that are larger than those of queries."""

from __future__ import annotations

import pytest

from samattn_cli import analyze, explain, load_config
from samattn_cli.errors import ConfigError, code_of
from samattn_cli.studies.flow import flow_of
from tests.families.contract import assert_exact
from tests.public.hat import FAR, HYBRIDS, RECORDS

RECORD = RECORDS[0]


def test_larger_windows_of_keys_are_named_and_their_cost_is_found():
    """Keys of 12x12 for windows of 8x8: 144 / 64 is 2.25 times the scores, 4 heads' worth in 6 windows of 16x24 pixels."""
    report = analyze(RECORD.config({"image_size": [16, 24]}), verify=False)
    far = report.layers[2]
    assert far.placement == "8x8 keys 12x12"
    assert far.attention_bytes == 2 * 6 * 64 * 144 * 4
    (finding,) = [each for each in report.findings if each.code == "overlapping-windows"]
    assert all(each in finding.message for each in ("2 layers", "8x8", "12x12", "2.25x", "blocks.2"))


def test_a_token_sees_the_larger_window_and_what_channel_attention_pools():
    """Without hybrid blocks a pixel of the first window sees its 8 rows and 2 more below, of the next one 2 on each side."""
    alone = load_config(
        {
            "image_size": 24,
            "patch_size": 1,
            "patch_embed": "hat_pixels",
            "pos_embed": "none",
            "stages": [FAR],
        }
    )
    (layer,) = flow_of(alone).layers
    assert (layer.smallest, layer.largest) == (10 * 10, 12 * 12)
    pooled = flow_of(RECORD.config({"image_size": [16, 24]})).layers[0]
    assert pooled.sees_all
    assert not pooled.mixes_all


def keys(**given):
    return {"image_size": [4, 3], "patch_size": 1, "patch_embed": "hat_pixels", "pos_embed": "none"} | given


def test_a_window_that_is_not_square_stays_whole_where_a_side_of_the_image_is_as_long():
    """4x3 pixels in windows of 5x2 are padded to 5x4: two windows, which are not shifted; the larger ones have keys of 15x6."""
    window = {"window_size": [5, 2]}
    config = load_config(keys(stages=[HYBRIDS | {"depth": 1} | window, FAR | window | {"overlap_ratio": 2}]))
    assert [layer.attends for layer in config.layers] == ["window 5x2", "5x2 keys 15x6"]
    assert_exact(config, every_layer=True)


def test_all_larger_windows_reach_equally_far():
    """The authors' code makes one table of offsets, for one overlap_ratio. 0.5 and 0.6 of 8 tokens are 4 both."""
    with pytest.raises(ConfigError) as refused:
        load_config(keys(image_size=16, stages=[HYBRIDS, FAR, FAR | {"overlap_ratio": 1}]))
    (problem,) = refused.value.problems
    assert code_of(problem.message) == "one-overlap"
    assert "overlap_ratio 0.5" in problem.message
    load_config(keys(image_size=16, stages=[HYBRIDS, FAR, FAR | {"overlap_ratio": 0.6}]))


def test_formulas_of_peaks_know_what_a_part_lets_go():
    """The ends of groups free the tokens that enter them before their convolution allocates."""
    config = load_config(
        keys(stages=[HYBRIDS | {"depth": 1}], neck="hat_pixelshuffle", upscale=2, out_chans=3, image_size=12)
    )
    (*_, end) = analyze(config, verify=False).parts
    formula = explain(config, "neck", metric="peak_bytes").value
    assert (end.name, formula) == ("neck", end.peak_bytes)


def test_one_pixel_in_windows_of_one_pixel():
    """The larger windows of keys are then what unfold made, not a copy."""
    window = {"window_size": 1}
    config = load_config(keys(image_size=1, stages=[HYBRIDS | {"depth": 1} | window, FAR | window]))
    assert_exact(config, every_layer=True)


@pytest.mark.parametrize("size", [8, 4])
def test_a_block_that_is_made_global_over_an_image_of_one_window_has_its_own_offsets(size):
    """Its keys are those of the image, not of a larger window."""
    stages = [HYBRIDS | {"depth": 1, "window_size": 4}, FAR | {"window_size": 4, "global_attn_indexes": [1]}]
    config = load_config(keys(image_size=size, stages=stages))
    assert [layer.attends for layer in config.layers][1] == "global"
    assert_exact(config, every_layer=True)
