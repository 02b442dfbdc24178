import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import samattn_cli
from samattn_cli import Goal, Grid, SamattnError, analyze, explain, from_json, load_config, sweep, to_json
from samattn_cli.gate.reports.baseline import Entry
from samattn_cli.gate.reports.baseline import to_text as baseline_text
from samattn_cli.reports.text import FILES, KINDS


def test_every_name_of_the_api_is_there():
    for name in samattn_cli.__all__:
        assert getattr(samattn_cli, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'analyse'"):
        _ = samattn_cli.analyse
    assert {*samattn_cli.__all__} <= {*dir(samattn_cli)}


def test_metrics_are_taken_by_each_of_their_names_and_no_other():
    config, grid = load_config("sam_vit_b"), Grid(resolutions=((512, 512),))
    assert explain(config, "0", "traffic") == explain(config, "0", "traffic_bytes")
    assert sweep(["sam_vit_b"], grid, ["traffic"]).metrics == ("traffic_bytes",)
    for refused in (lambda: explain(config, "0", "flosp"), lambda: sweep(["sam_vit_b"], grid, ["flosp"])):
        with pytest.raises(SamattnError, match="did you mean 'flops'") as error:
            refused()
        assert error.value.codes == ("unknown-metric",)
    with pytest.raises(TypeError, match=r"such as \(512, 512\), not 512"):
        Grid(resolutions=(512,))


def test_a_report_goes_to_json_and_back():
    report = analyze(load_config("sam_vit_b"), verify=False)
    assert from_json(to_json(report)) == report
    assert report.totals.flops == 972_077_334_528


def test_every_kind_that_a_report_can_have_is_read():
    """By the sources: a kind that is added to them must be known to `from_json`."""
    sources = Path(samattn_cli.__path__[0]).glob("**/reports/*.py")
    kinds = {
        kind
        for path in sources
        for kind in re.findall(
            r'^    kind: Literal\["(\w+)"\] = |^KIND = "(\w+)"', path.read_text("utf-8"), re.MULTILINE
        )
    }
    assert {"".join(kind) for kind in kinds} == {*KINDS, *FILES}
    assert {"judgement", "recording", "baseline", "verification"} <= {*KINDS, *FILES}


def test_a_baseline_comes_back_from_json():
    entry = Entry(config="a.yaml", profile="", metric="totals.flops", value=7, samattn="0.1.0", counting=1)
    assert from_json(baseline_text([entry])) == {entry.key: replace(entry, line=2)}


UNREADABLE = {
    "the text is of kind 'judgment', which samattn does not write; did you mean 'judgement'?": '{"kind": "judgment"}',
    "the text is of kind 'poem', which samattn does not write; known are analysis, baseline, check,": '{"kind": "poem"}',
    "the text is of kind 5, which samattn does not write; known are": '{"kind": 5}',
    "the text has no kind; known are analysis,": "{}",
    "the text has no kind; known are": "[1]",
    "the text is not JSON: Expecting value: line 1 column 1": "",
    "the text is not JSON: maximum recursion depth": "[" * 10**5,
}


@pytest.mark.parametrize("message", UNREADABLE)
def test_what_is_no_report_is_named(message):
    with pytest.raises(ValueError, match=re.escape(message)):
        from_json(UNREADABLE[message])


def test_analyze_with_the_cross_check():
    assert analyze(load_config("sam_vit_b", "image_size=256")).crosscheck.status == "exact"


def test_analyze_says_what_it_takes():
    with pytest.raises(TypeError, match="load_config"):
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
    with pytest.raises(SamattnError) as caught:
        load_config(loop)
    assert caught.value.codes == ("too-deep",)


def test_operations_sum_to_their_layer():
    report = analyze(load_config("custom_encoder"), verify=False)
    for place in (*report.layers, *report.parts):
        for figure in ("params", "macs", "flops", "elementwise_flops", "saved_bytes"):
            assert sum(getattr(op, figure) for op in place.ops) == getattr(place, figure), (
                place.name,
                figure,
            )


IN_PLACE_OF_A_CONFIG = (
    analyze,
    lambda name: explain(name, "0"),
    lambda name: samattn_cli.fit(name, 2**30),
    samattn_cli.compare_placements,
    lambda name: samattn_cli.plan(name, [], Goal(gpus=2, global_batch=2)),
)


@pytest.mark.parametrize("study", IN_PLACE_OF_A_CONFIG)
def test_a_study_that_gets_a_name_says_how_to_load_it(study):
    with pytest.raises(TypeError, match="takes an EncoderConfig, not 'sam_vit_b'; use load_config"):
        study("sam_vit_b")


CONFIG = load_config({"image_size": 64, "patch_size": 16, "embed_dim": 32, "depth": 2, "num_heads": 2})
SMALL = Grid(resolutions=((64, 64),))
WRONG = {
    "a list of configs, such as ['sam_vit_b'], not 'sam_vit_b'": lambda: sweep("sam_vit_b", SMALL),
    "a list of configs, such as ['sam_vit_b'], not EncoderConfig(": lambda: sweep(CONFIG, SMALL),
    "sweep takes a Device, not 'h100'; use load_device": lambda: sweep([CONFIG], SMALL, device="h100"),
    "analyze takes a Device, not 'h100'; use load_device": lambda: analyze(CONFIG, device="h100"),
    "fit takes a number of bytes or a Device, not '24GiB'": lambda: samattn_cli.fit(CONFIG, "24GiB"),
    "plan takes a list of devices, not 'h100'": lambda: samattn_cli.plan(
        CONFIG, "h100", Goal(gpus=2, global_batch=2)
    ),
    "load_device takes a name or a path, not 5": lambda: samattn_cli.load_device(5),
    "the name of a preset or a mapping, not None": lambda: load_config(None),
}


@pytest.mark.parametrize("message", WRONG)
def test_an_argument_of_another_type_is_named(message):
    with pytest.raises(TypeError, match=re.escape(message)):
        WRONG[message]()


def test_a_config_is_taken_where_a_reference_is():
    assert load_config(CONFIG) is CONFIG
    assert load_config(CONFIG, "depth=3").stages[0].depth == 3
    assert load_config(load_config("swin_t"), "image_size=256") == load_config("swin_t", "image_size=256")
    wide = load_config(CONFIG, ["name=wide", "embed_dim=64"])
    assert sweep([CONFIG, wide], SMALL).configs == (CONFIG, wide)
    with pytest.raises(SamattnError) as error:
        sweep([CONFIG, load_config(CONFIG, "depth=3")], SMALL)
    assert error.value.codes == ("given-twice",)
