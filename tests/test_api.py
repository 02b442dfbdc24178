import numpy as np
import pytest

import samattn_cli
from samattn_cli import SamattnError, analyze, from_json, load_config, to_json


def test_every_name_of_the_api_is_there():
    for name in samattn_cli.__all__:
        assert getattr(samattn_cli, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'analyse'"):
        _ = samattn_cli.analyse


def test_a_report_goes_to_json_and_back():
    report = analyze(load_config("sam_vit_b"), verify=False)
    assert from_json(to_json(report)) == report
    assert report.totals.flops == 972_077_334_528


def test_analyze_with_the_cross_check():
    assert analyze(load_config("sam_vit_b", "image_size=256")).crosscheck.status == "exact"


def test_analyze_says_what_it_takes():
    with pytest.raises(TypeError, match="load_config makes one"):
        analyze("sam_vit_b")


def test_numpy_integers_are_whole_numbers():
    sizes = {
        "image_size": np.int64(64),
        "patch_size": np.uint8(8),
        "embed_dim": 32,
        "depth": 1,
        "num_heads": 2,
    }
    assert load_config(sizes) == load_config({**sizes, "image_size": 64, "patch_size": 8})


def test_one_override_needs_no_list():
    assert load_config("sam_vit_b", "window_size=8") == load_config("sam_vit_b", ["window_size=8"])


def test_a_mapping_that_holds_itself_is_an_error():
    loop = {}
    loop["run"] = loop
    with pytest.raises(SamattnError, match="nested deeper than 32 levels"):
        load_config(loop)


def test_operations_sum_to_their_layer():
    report = analyze(load_config("custom_encoder"), verify=False)
    for place in (*report.layers, *report.parts):
        for figure in ("params", "macs", "flops", "elementwise_flops", "saved_bytes"):
            assert sum(getattr(op, figure) for op in place.ops) == getattr(place, figure), (
                place.name,
                figure,
            )
