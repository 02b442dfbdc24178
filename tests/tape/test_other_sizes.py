"""Which other image sizes the weights of an encoder take."""

import json

import pytest

from samattn_cli import load_config
from samattn_cli.importing.importer import imported
from samattn_cli.reports.other_sizes import in_words
from samattn_cli.tape.other_sizes import other_sizes
from tests.support.checkpoints import of_sam, write_safetensors
from tests.support.running import samattn


def test_sam_resizes_positions_and_the_tables_of_global_blocks():
    sizes = other_sizes(load_config("sam_vit_b"))
    tables = [f"blocks.{block}.attn.rel_pos_{axis}" for block in (2, 5, 8, 11) for axis in "hw"]
    assert sizes.resized == ("pos_embed", *tables)
    assert sizes.has_padding  # 64 patches are four windows of 14 and 8 more
    smaller, larger = sizes.without_padding
    assert (smaller.image_size, larger.image_size) == ((896, 896), (1120, 1120))
    assert smaller.params_change == -(768 * (64**2 - 56**2) + 8 * 64 * 2 * (64 - 56))
    assert larger.params_change == 768 * (70**2 - 64**2) + 8 * 64 * 2 * (70 - 64)
    assert larger.params == 89_670_912 + larger.params_change


def test_sam_that_keeps_its_positions_takes_any_size():
    sizes = other_sizes(load_config("sam_vit_b", ["pretrain_image_size=1024", "rel_pos_grid=64"]))
    assert sizes.resized == ()
    assert {size.params_change for size in sizes.without_padding} == {0}


@pytest.mark.parametrize(
    ("preset", "nearest", "said"),
    [
        ("sam2_hiera_b_plus", [(896, 896), (1120, 1120)], "a background of 14x14 and a window of 8x8"),
        ("swinv2_l", [(128, 128), (512, 512)], "pretrained_window_sizes is [16, 16, 16, 8]"),
        ("rf_detr_base", [(504, 504), (616, 616)], "resized in each forward"),
        ("sam3_vision", [(672, 672), (1344, 1344)], "rotary tables are made for 1008x1008"),
    ],
)
def test_weights_that_fit_other_sizes(preset, nearest, said):
    sizes = other_sizes(load_config(preset))
    assert (sizes.resized, [size.image_size for size in sizes.without_padding]) == ((), nearest)
    assert said in " ".join(in_words(sizes))


def test_a_smaller_image_shrinks_windows_of_swin_and_their_tables():
    smaller, larger = other_sizes(load_config("swin_t")).without_padding
    assert smaller.image_size == (112, 112)  # the last grid is 4x4, smaller than the window of 7
    assert smaller.params_change == -2 * 24 * (13**2 - 7**2)
    assert larger.resized == ()


def test_import_says_it_in_a_comment(tmp_path):
    write_safetensors(tmp_path / "sam.safetensors", of_sam(load_config("sam_vit_b")))
    comments = " ".join(
        line.removeprefix("# ") for line in imported(str(tmp_path / "sam.safetensors")).splitlines()
    )
    assert "must be resized: pos_embed; attn.rel_pos_h and attn.rel_pos_w of blocks 2, 5, 8, 11." in comments
    assert "896x896 (745,472 parameters fewer)" in comments


def test_analyze_says_it_in_json_and_if_asked_for_everything():
    found = json.loads(samattn("analyze", "sam_vit_b", "--no-verify", "--format", "json").stdout)
    sizes = found["other_sizes"]
    assert sizes["without_padding"][1]["image_size"] == [1120, 1120]
    assert "Other image sizes" in samattn("analyze", "sam_vit_b", "--no-verify", "--full").stdout
    assert "Other image sizes" not in samattn("analyze", "sam_vit_b", "--no-verify").stdout
