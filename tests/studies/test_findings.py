import pytest

from samattn_cli import analyze, load_config


def findings(*overrides):
    report = analyze(load_config("sam_vit_b", overrides), verify=False)
    return {finding.code: finding.message for finding in report.findings}


def test_padding_is_reported_with_the_windows_that_need_none():
    assert findings()["padding"] == (
        "Padding 64x64 to 70x70 makes each of the 8 windowed layers run qkv and proj on 19.63 % more tokens "
        "(4,900 instead of 4,096). A window of 8 or 16 needs no padding."
    )
    assert "padding" not in findings("window_size=8")


def test_a_window_larger_than_the_grid_is_reported_as_one():
    message = findings("image_size=128")["padding"]
    assert message.startswith(
        "The window, 14x14, is larger than the grid, 8x8: each of the 8 windowed layers is one window"
    )


def test_windows_that_cost_more_than_they_save_are_reported():
    assert "windows-cost-more" not in findings()
    # 256 px: grid 16, padded to 28: four windows of 196 tokens, 784 for 256; qkv + proj, QK + AV, rel-pos, MLP
    windowed = 8 * 784 * 768**2 + 4 * 4 * 196**2 * 768 + 2 * 784 * 768 * (14 + 14) + 16 * 256 * 768**2
    as_global = 8 * 256 * 768**2 + 4 * 256**2 * 768 + 2 * 256 * 768 * (16 + 16) + 16 * 256 * 768**2
    assert f"takes {windowed / as_global:.2f}x the FLOPs" in findings("image_size=256")["windows-cost-more"]


def test_dropped_pixels_are_reported():
    assert (
        "drops the last 10 rows and 8 columns of pixels and sees 240x992"
        in findings("image_size=[250, 1000]")["dropped-pixels"]
    )


def test_one_global_layer_is_reported_to_set_the_peak_where_it_does():
    assert "2.68 GiB at blocks.2.attn.add_rel_w" in findings()["global-layer-sets-peak"]
    assert "global-layer-sets-peak" not in findings("global_attn_indexes=[]")


def test_an_encoder_without_a_global_layer_is_reported_as_one():
    assert "no-global-layer" in findings("global_attn_indexes=[]")
    assert "no-global-layer" not in findings()
    assert "no-global-layer" not in findings("global_attn_indexes=[]", "window_size=64")


def test_the_joint_table_is_set_against_the_decomposed_ones():
    # 127 x 127 entries against 127 + 127
    assert (
        "16,129 entries per channel; a decomposed pair has 254, 98.43 % fewer"
        in findings("rel_pos=joint")["joint-rel-pos"]
    )


def test_an_all_global_encoder_has_nothing_to_point_out_but_what_would_lower_its_peak():
    assert findings("window_size=0").keys() == {"best-single-change"}


def test_the_peak_is_not_laid_to_a_global_layer_that_does_not_set_it():
    # the MLP of a windowed layer sets it
    assert "global-layer-sets-peak" not in findings("image_size=256", "window_size=8", "mlp_ratio=16")
    # no layer sets it alone: all global, as it is and all windowed take about the same
    assert "global-layer-sets-peak" not in findings("image_size=64", "window_size=8")
    assert "global-layer-sets-peak" not in findings("image_size=256", "window_size=4", "rel_pos=none")


@pytest.mark.parametrize(
    ("overrides", "advice"),
    [
        (["window_size=7"], "A window of 4 or 8 needs no padding."),
        (["image_size=1072"], "(4,900 instead of 4,489)."),  # 67 is prime: no window but the whole grid
        (["image_size=992"], "(4,900 instead of 3,844)."),  # 62 = 2 x 31: both far from 14
        (["window_size=[8, 14]"], "A window of [8, 16] needs no padding."),
        (
            ["window_size=[1, 7]"],
            "A window of [1, 8] needs no padding.",
        ),  # a side that divides the grid stays
        (["window_size=[13, 1]"], "A window of [16, 1] needs no padding."),
        # 64 and 65 have no divisor in common
        (["image_size=[1024, 1040]"], "A window of [16, 13] needs no padding."),
        (["image_size=[1024, 976]"], "(4,900 instead of 3,904)."),  # 61 is prime: no advice
    ],
)
def test_windows_without_padding_are_named_where_there_are_any(overrides, advice):
    assert findings(*overrides)["padding"].endswith(advice)


def test_kinds_of_windows_are_told_apart_by_their_stages():
    stage = {"embed_dim": 64, "num_heads": 2, "depth": 2}
    stages = [{**stage, "window_size": 8}, {**stage, "window_size": 12}, {**stage, "depth": 1}]
    report = analyze(load_config({"image_size": 512, "patch_size": 16, "stages": stages}), verify=False)
    found = {finding.code: finding.message for finding in report.findings}
    assert found["padding"].startswith(
        "Padding 32x32 to 36x36 makes each of the 2 windowed layers of stage 1 run"
    )
    whole = found["saving-of-encoder"]
    assert whole.startswith("8x8 windows make a layer's score products 16.00x cheaper")
    assert "; 12x12 windows make" in whole


def test_windows_of_one_size_in_two_stages_are_reported_as_a_range():
    stage = {"embed_dim": 64, "num_heads": 2, "depth": 1, "window_size": 8}
    stages = [stage, {**stage, "transition": "patch_merging", "embed_dim": 128}]
    report = analyze(load_config({"image_size": 512, "patch_size": 16, "stages": stages}), verify=False)
    found = {finding.code: finding.message for finding in report.findings}
    assert found["saving-of-encoder"].startswith(
        "Windows make a layer's score products 4.00x to 16.00x cheaper"
    )


def test_one_windowed_layer_is_one():
    found = findings("depth=2", "global_attn_indexes=[1]", "image_size=160")
    assert found["padding"].startswith(
        "The window, 14x14, is larger than the grid, 10x10: the one windowed layer is"
    )
    assert ": the one windowed layer takes " in found["windows-cost-more"]


def test_a_joint_table_that_is_not_larger_is_not_pointed_out():
    # 1 x 23 entries against 1 + 23
    config = ["rel_pos=joint", "image_size=[16, 160]", "window_size=[1, 12]", "global_attn_indexes=[]"]
    assert "joint-rel-pos" not in findings(*config)


def test_one_axis_of_dropped_pixels_is_one():
    assert (
        "drops the last 1 column of pixels and sees 64x64"
        in findings("image_size=[64, 65]")["dropped-pixels"]
    )
