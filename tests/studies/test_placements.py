from dataclasses import replace

import pytest

from samattn_cli import analyze, load_config
from samattn_cli.encoder.model import EncoderConfig, OverrideConfig
from samattn_cli.encoder.placed import placed
from samattn_cli.encoder.presets import presets
from samattn_cli.errors import UsageError
from samattn_cli.studies.passes import Passes
from samattn_cli.studies.placements.compare import compare_placements
from samattn_cli.studies.placements.placing import global_layers, movable
from samattn_cli.studies.placements.strategies import merged, placement, placements
from tests.support.running import ROOT

SHIFTED = ROOT / "examples" / "vit_shifted_windows.yaml"

SMALL = ["embed_dim=48", "num_heads=3", "image_size=160", "window_size=4", "global_attn_indexes=[]"]


def plain(depth: int, *more: str) -> EncoderConfig:
    return load_config("sam_vit_b", [f"depth={depth}", *SMALL, *more])


@pytest.mark.parametrize(
    ("text", "depth", "layers"),
    [
        ("none", 24, []),
        ("all", 3, [0, 1, 2]),
        ("even:4", 24, [5, 11, 17, 23]),  # ViTDet-L
        ("even:4", 12, [2, 5, 8, 11]),  # SAM ViT-B
        ("even:4", 32, [7, 15, 23, 31]),  # SAM ViT-H
        ("even:4", 10, [1, 4, 6, 9]),  # parts of 2, 3, 2 and 3
        ("even:1", 5, [4]),
        ("even:5", 5, [0, 1, 2, 3, 4]),
        ("first:4", 12, [0, 1, 2, 3]),
        ("last:4", 12, [8, 9, 10, 11]),
        ("every:4", 12, [3, 7, 11]),
        ("every:5", 12, [4, 9]),
        ("every:1", 3, [0, 1, 2]),
        ("alternate", 5, [1, 3]),
        ("3, 1", 5, [1, 3]),
        (" 4 ", 5, [4]),
    ],
)
def test_strategies(text, depth, layers):
    assert list(placement(plain(depth), text).layers) == layers


def test_presets_are_the_strategies_that_their_papers_say():
    for preset in ("sam_vit_b", "sam_vit_l", "sam_vit_h", "vitdet_l", "qwen2_5_vl_vision", "sam3_vision"):
        own, *_ = placements(load_config(preset), ["even:4", "none"])[0]
        assert own.names == ("own", "even:4"), preset


def test_shifted_windows_are_half_a_window_in_every_other_block():
    made = placement(plain(4, "window_size=[4, 5]"), "shifted").config
    assert [layer.shift_size for layer in made.layers] == [(0, 0), (2, 2), (0, 0), (2, 2)]
    assert global_layers(made) == ()
    example = load_config(SHIFTED)
    assert (
        placement(load_config("sam_vit_h", "window_size=8"), "shifted").where
        == placement(example, "none").where
    )


def test_swin_is_its_own_strategies_and_its_last_stage_stays_global():
    swin = load_config("swin_t")
    assert movable(swin) == tuple(range(10))
    own, every = placements(swin, ["none", "shifted", "every:4"])[0]
    assert own.names == ("own", "none", "shifted")
    assert own.layers == (10, 11)
    assert every.layers == (3, 7, 10, 11)


def test_strategies_count_through_stages_the_layers_that_can_be_either():
    deep = load_config("deep_encoder")  # SAM's 12 blocks, then 24 without windows
    assert movable(deep) == tuple(range(12))
    assert placement(deep, "last:2").layers == tuple(range(10, 36))
    hiera = load_config("sam2_hiera_t")
    assert placement(hiera, "even:4").layers == (2, 5, 8, 11)


def test_a_placement_of_the_own_layers_is_the_own_encoder():
    for preset in ("sam_vit_b", "custom_encoder", "sam2_hiera_t", "swin_t"):
        config = load_config(preset)
        again = placed(config, global_layers(config))
        assert Passes(again).figures == Passes(config).figures, preset
        assert Passes(placed(config, ())).figures == Passes(config.all_windowed()).figures, preset


def test_overrides_keep_what_a_placement_does_not_place():
    stage = plain(4).stages[0]
    given = (
        OverrideConfig(blocks=(1, 2), window_size=(2, 2), num_heads=6),
        OverrideConfig(blocks=(3,), window_size=(0, 0)),
    )
    config = replace(plain(4), stages=(replace(stage, overrides=given),))
    assert global_layers(config) == (3,)
    assert movable(config) == (0, 1, 2, 3)
    made = placed(config, [2])
    assert [layer.window_size for layer in made.layers] == [(4, 4), (2, 2), (0, 0), (4, 4)]
    assert [layer.stage.num_heads for layer in made.layers] == [3, 6, 6, 3]
    assert made.stages[0].overrides == (
        OverrideConfig(blocks=(1,), window_size=(2, 2), num_heads=6),
        OverrideConfig(blocks=(2,), num_heads=6),
    )


def test_placements_that_are_one_encoder_are_one_row():
    config = plain(4)
    found = merged([placement(config, text) for text in ("even:2", "1,3", "alternate", "every:2", "none")])
    assert [each.names for each in found] == [("even:2", "1,3", "alternate", "every:2"), ("none",)]


@pytest.mark.parametrize(
    ("preset", "text", "message"),
    [
        ("sam_vit_b", "evenly:4", "must be one of none, all, shifted, alternate, even:K"),
        ("sam_vit_b", "evn:4", "did you mean 'even:4'?"),
        ("sam_vit_b", "even", "even:K"),
        ("sam_vit_b", "even:0", "use 1 to 12"),
        ("sam_vit_b", "last:13", "sam_vit_b has 12 layers that can be windowed or global"),
        ("sam_vit_b", "3,12", "no block 12; sam_vit_b has blocks 0 to 11 [unknown-layer]"),
        ("sam_vit_b", "3,3", "block 3 is given twice [given-twice]"),
        ("sam_vit_b", "3,,4", "must be one of none, all"),
        ("sam_vit_b", "-1", "must be one of none, all"),
        ("sam_vit_b", "", "must be one of none, all"),
        ("sam2_hiera_t", "shifted", "[shift-not-supported]"),
        ("vit_b", "none", "no layer of vit_b has a window smaller than its grid"),
    ],
)
def test_what_does_not_fit_is_reported(preset, text, message):
    with pytest.raises(UsageError) as error:
        placement(load_config(preset), text)
    assert message in str(error.value)
    assert str(error.value).startswith("--placements")


def test_shifted_windows_that_a_kernel_cannot_take_are_left_out_by_default_and_refused_when_asked_for():
    config = load_config("sam_vit_b", ["run.attention=fused"])
    assert any(reason.startswith("shifted: run.attention fused") for reason in placements(config, [])[1])
    with pytest.raises(UsageError, match=r"^--placements shifted: run\.attention fused never"):
        placements(config, ["shifted"])


def test_the_report_has_what_analyze_says_and_the_flow():
    report = compare_placements(load_config("sam_vit_h"), ["last:4"])
    own, last = report.placements
    assert (own.figures.flops, last.figures.flops) == (5_961_082_830_848,) * 2
    assert own.figures == Passes(load_config("sam_vit_h")).costs
    assert own.vs_own.flops_ratio == own.vs_own.training_bytes_ratio == 1.0
    assert sum(layer.flops for layer in own.layers) < own.figures.flops
    assert own.flow is not None
    assert last.flow is not None
    assert (own.flow.first_full_context, own.flow.longest_without_global) == (7, 7)
    assert (last.flow.first_full_context, last.flow.refined_after_last_global) == (28, 0)


def test_published_results_are_the_papers_and_of_plain_encoders_alone():
    # arXiv:2203.16527, table 2 (a, c, d) for ViT-L and table 8 for ViT-B
    tables = {
        "vitdet_l": {"none": "52.9 47.2", "first:4": "52.9 47.1", "last:4": "54.3 48.3", "even:4": "54.6 48.6",
                     "shifted": "54.0 47.9", "all": "55.1 48.9", "every:4": None},
        "vitdet_b": {"none": "48.9 43.9", "first:4": "49.1 44.1", "last:4": "50.9 45.4", "even:4": "51.2 45.5",
                     "shifted": "50.1 44.8", "all": "50.4 45.1", "alternate": None},
    }  # fmt: skip
    for preset, table in tables.items():
        report = compare_placements(load_config(preset), list(table))
        for row in report.placements:
            (text,) = [table[name] for name in row.names if name != "own"]
            assert (row.published and " ".join(row.published.figures)) == text, row.names
    assert not any(row.published for row in compare_placements(load_config("swin_t")).placements)
    # windows that are shifted besides are another thing than "none"
    shifting = load_config(SHIFTED)
    found = {
        row.names: row.published and row.published.strategy
        for row in compare_placements(shifting, ["none", "even:4"]).placements
    }
    assert found == {("own", "none"): None, ("even:4",): None}


@pytest.mark.parametrize("preset", sorted(presets()))
def test_all_global_is_one_encoder_for_analyze_sweep_and_placements(preset):
    config = load_config(preset)
    whole = config.all_global()
    assert all(layer.is_global for layer in whole.layers if layer.placement.kind in {"global", "window"})
    kinds = [
        (of.placement.kind, own.placement.kind) for of, own in zip(whole.layers, config.layers, strict=True)
    ]
    assert {pair for pair in kinds if "global" not in pair} <= {
        (kind, kind) for kind in ("channel", "convolution")
    }
    if all(layer.is_global for layer in config.layers):
        assert whole == config
    else:
        assert placement(config, "all").config == whole
        assert placement(config, "none").config == config.all_windowed()


@pytest.mark.parametrize("preset", ["swin_t", "sam2_hiera_t", "deep_encoder"])
def test_all_global_costs_the_same_in_analyze_and_in_compare_placements(preset):
    config = load_config(preset)
    compared = compare_placements(config, ("all",)).placements
    (row,) = (row for row in compared if "all" in row.names)
    assert analyze(config, verify=False).comparison.vs_all_global.flops == row.figures.flops


def test_layers_of_sam_3_keep_the_window_that_scales_their_positions_where_all_are_global():
    (stage,) = load_config("sam3_vision").all_global().stages
    assert (stage.window_size, stage.global_attn_indexes) == ((24, 24), tuple(range(32)))


def test_a_layer_that_nothing_windows_is_not_named_global():
    stages = load_config("deep_encoder").all_global().stages
    assert [stage.global_attn_indexes for stage in stages] == [tuple(range(12)), ()]


def test_a_first_block_that_pools_is_global_where_all_are_though_its_window_cannot_be_pooled():
    """Of SAM 2's windows of 7x7 none can be pooled by 2: the block is named global, as it must be."""
    config = load_config("sam2_hiera_t", ["stages.0.window_size=7", "stages.1.global_attn_indexes=[1]"])
    assert placement(config, "all").config == config.all_global()
    with pytest.raises(UsageError, match="q_stride 2 does not divide the window of stage 0, 7x7"):
        placement(config, "none")
