from samattn_cli import analyze, load_config


def findings(*overrides):
    report = analyze(load_config("sam_vit_b", overrides), verify=False)
    return {finding.code: finding.message for finding in report.findings}


def test_padding_is_said_with_the_windows_that_need_none():
    assert findings()["padding"] == (
        "Padding 64x64 to 70x70 makes the 8 windowed layers run qkv and proj on 19.63 % more tokens "
        "(4,900 for 4,096). A window of 8 or 16 needs none."
    )
    assert "padding" not in findings("window_size=8")


def test_a_window_larger_than_the_grid_is_said_to_be_one():
    message = findings("image_size=128")["padding"]
    assert message.startswith(
        "The window, 14x14, is larger than the grid, 8x8: each windowed layer is one window"
    )


def test_windows_that_cost_more_than_they_save_are_said_to():
    assert "windows-cost-more" not in findings()
    # 256 px: grid 16, padded to 28: four windows of 196 tokens, 784 for 256; qkv + proj, QK + AV, rel-pos, MLP
    windowed = 8 * 784 * 768**2 + 4 * 4 * 196**2 * 768 + 2 * 784 * 768 * (14 + 14) + 16 * 256 * 768**2
    as_global = 8 * 256 * 768**2 + 4 * 256**2 * 768 + 2 * 256 * 768 * (16 + 16) + 16 * 256 * 768**2
    assert f"takes {windowed / as_global:.2f}x the FLOPs" in findings("image_size=256")["windows-cost-more"]


def test_dropped_pixels_are_said():
    assert (
        "drops the last 10 rows and 8 columns of pixels and sees 240x992"
        in findings("image_size=[250, 1000]")["dropped-pixels"]
    )


def test_one_global_layer_is_said_to_set_the_peak_where_it_does():
    assert "2.68 GiB at blocks.2.attn.add_rel_w" in findings()["one-global-layer-sets-the-peak"]
    assert "one-global-layer-sets-the-peak" not in findings("global_attn_indexes=[]")


def test_an_encoder_without_a_global_layer_is_said_to_be_one():
    assert "no-global-layer" in findings("global_attn_indexes=[]")
    assert "no-global-layer" not in findings()
    assert "no-global-layer" not in findings("global_attn_indexes=[]", "window_size=64")


def test_the_joint_table_is_set_against_the_decomposed_ones():
    # 127 x 127 entries against 127 + 127
    assert (
        "16,129 entries a channel; decomposed ones have 254, 98.43 % fewer"
        in findings("rel_pos=joint")["joint-rel-pos"]
    )


def test_an_all_global_encoder_has_nothing_to_point_out():
    assert findings("window_size=0") == {}
