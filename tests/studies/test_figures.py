from __future__ import annotations

import pytest

from samattn_cli import Analysis, EncoderConfig, analyze, load_config
from samattn_cli.encoder.kernels import takes
from samattn_cli.reports.analysis import LayerReport
from samattn_cli.tape.encoder import forward
from tests.support.sampling import sampled
from tests.support.shapes import ONE_OF_EACH_SHAPE

PRESETS = ("sam_vit_b", "sam_vit_l", "sam_vit_h")


def preset(name: str, *overrides: str) -> EncoderConfig:
    return load_config(name, overrides)


def report(config: EncoderConfig) -> Analysis:
    return analyze(config, verify=False)


def flops_by_op(layer: LayerReport) -> dict[str, int]:
    return {op.name: op.flops for op in layer.ops if op.flops}


def params_by_op(layer: LayerReport) -> dict[str, int]:
    return {op.name: op.params for op in layer.ops if op.params}


def flops_by_share(name: str) -> dict[str, int]:
    return {share.part: share.flops for share in report(preset(name)).shares}


PLACEMENTS = {
    "as released": lambda config: config,
    "all global": EncoderConfig.all_global,
    "all windowed": EncoderConfig.all_windowed,
}


@pytest.mark.parametrize(
    ("name", "placement", "params", "flops"),
    [
        ("sam_vit_b", "as released", 89_670_912, 972_077_334_528),
        ("sam_vit_l", "as released", 308_278_272, 2_985_680_306_176),
        ("sam_vit_h", "as released", 637_026_048, 5_961_082_830_848),
        ("sam_vit_h", "all global", 637_474_048, 7_961_258_754_048),
        ("sam_vit_h_all_global", "as released", 637_474_048, 7_961_258_754_048),
        ("sam_vit_b", "all global", 89_773_312, 1_335_197_958_144),
        ("sam_vit_b", "all windowed", 89_619_712, 790_517_022_720),
    ],
)
def test_parameters_and_flops_of_sam(name, placement, params, flops):
    totals = report(PLACEMENTS[placement](preset(name))).totals
    assert (totals.params, totals.flops) == (params, flops)
    assert totals.macs * 2 == flops


def test_windows_make_vit_h_a_third_cheaper_not_eight_times():
    assert round(report(preset("sam_vit_h")).comparison.vs_all_global.flops_ratio, 2) == 1.34


@pytest.mark.parametrize("name", PRESETS)
def test_score_matrix_of_one_head(name):
    layers = report(preset(name)).layers
    windowed, whole = layers[0], layers[-1]
    assert (windowed.attention, whole.attention) == ("window", "global")
    assert whole.attention_bytes_per_head == 67_108_864 == 4096 * 4096 * 4
    assert windowed.attention_bytes_per_head == 3_841_600 == 25 * 196 * 196 * 4
    assert whole.attention_bytes == 67_108_864 * whole.num_heads
    assert round(100 * windowed.vs_global.attention_bytes_saving, 2) == 94.28
    assert windowed.vs_global.scores_flops_ratio == pytest.approx(4096**2 / (25 * 196**2), rel=1e-12)
    assert round(windowed.vs_global.scores_flops_ratio, 2) == 17.47
    assert whole.vs_global.scores_flops_ratio == 1


def test_score_matrix_follows_batch_and_dtype():
    layer = report(preset("sam_vit_b", "run.batch_size=3", "run.dtype=bfloat16")).layers[0]
    assert layer.attention_bytes == 3 * 12 * 25 * 196 * 196 * 2


def test_the_3400_times_of_notes_on_sam_forgets_that_a_window_is_quadratic():
    layer = report(preset("sam_vit_h")).layers[0]
    assert round(layer.vs_global.scores_flops_ratio * 196) == 3424  # 4096^2 / (25 * 196)
    assert layer.vs_global.layer_flops_ratio < 1.5


def relative_entries(rel_pos: str) -> list[tuple[int, ...]]:
    config = preset("sam_vit_b", f"rel_pos={rel_pos}")
    whole = next(segment for segment in forward(config).segments if segment.name == "blocks.2")
    weights = [weight for weight in whole.recording.parameters if "rel_pos" in weight.name]
    assert {weight.shape[-1] for weight in weights} <= {64}
    return [weight.shape[:-1] for weight in weights]


def test_joint_positions_take_16129_entries_a_channel_where_decomposed_ones_take_254():
    assert relative_entries("joint") == [(127, 127)]
    assert relative_entries("decomposed") == [(127,), (127,)]
    assert relative_entries("none") == []
    by_rel_pos = {
        rel_pos: report(preset("sam_vit_b", f"rel_pos={rel_pos}")).layers[2].params
        for rel_pos in ("none", "decomposed", "joint")
    }
    joint, decomposed = (by_rel_pos[rel_pos] - by_rel_pos["none"] for rel_pos in ("joint", "decomposed"))
    assert (joint, decomposed) == (64 * 16_129, 64 * 254)
    assert round(100 * (1 - decomposed / joint), 1) == 98.4


def test_windowed_block_of_vit_b_worked_out_by_hand():
    layer = report(preset("sam_vit_b")).layers[0]
    assert flops_by_op(layer) == {
        "attn.qkv": 17_340_825_600,  # 2 * 4900 * 768 * 2304
        "attn.scores": 1_475_174_400,  # 2 * 25 * 196 * 196 * 768
        "attn.rel_h": 105_369_600,  # 2 * 4900 * 14 * 768
        "attn.rel_w": 105_369_600,
        "attn.values": 1_475_174_400,
        "attn.proj": 5_780_275_200,  # 2 * 4900 * 768 * 768
        "mlp.lin1": 19_327_352_832,  # 2 * 4096 * 768 * 3072
        "mlp.lin2": 19_327_352_832,
    }
    assert layer.flops == 64_936_894_464
    assert params_by_op(layer) == {
        "norm1": 1_536,  # 2 * 768
        "attn.qkv": 1_771_776,  # 768 * 2304 + 2304
        "attn.rel_pos_h": 1_728,  # 27 * 64
        "attn.rel_pos_w": 1_728,
        "attn.proj": 590_592,  # 768 * 768 + 768
        "norm2": 1_536,
        "mlp.lin1": 2_362_368,  # 768 * 3072 + 3072
        "mlp.lin2": 2_360_064,  # 3072 * 768 + 768
    }
    assert layer.params == 7_091_328


def test_global_block_of_vit_b_worked_out_by_hand():
    layer = report(preset("sam_vit_b")).layers[2]
    assert flops_by_op(layer) == {
        "attn.qkv": 14_495_514_624,  # 2 * 4096 * 768 * 2304
        "attn.scores": 25_769_803_776,  # 2 * 4096 * 4096 * 768
        "attn.rel_h": 402_653_184,  # 2 * 4096 * 64 * 768
        "attn.rel_w": 402_653_184,
        "attn.values": 25_769_803_776,
        "attn.proj": 4_831_838_208,  # 2 * 4096 * 768 * 768
        "mlp.lin1": 19_327_352_832,  # 2 * 4096 * 768 * 3072
        "mlp.lin2": 19_327_352_832,
    }
    assert layer.flops == 110_326_972_416
    assert layer.params == 7_104_128


SIZES = ("1024", "256", "1000", "[800, 1216]", "[96, 2048]")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", PRESETS)
def test_every_block_follows_the_formulas(name, size):
    config = preset(name, f"image_size={size}")
    (stage,) = config.stages
    C, h = stage.embed_dim, stage.num_heads
    for layer in report(config).layers:
        qh, qw = (14, 14) if layer.attention == "window" else config.grid
        n = -(-config.grid[0] // qh) * -(-config.grid[1] // qw)
        N, t = qh * qw, config.grid[0] * config.grid[1]
        T = n * N
        assert layer.flops == (
            2 * T * 3 * C**2 + 2 * T * C**2 + 4 * n * N**2 * C + 2 * T * C * (qh + qw) + 4 * t * C * (4 * C)
        )
        assert layer.params == 12 * C**2 + 13 * C + C // h * ((2 * qh - 1) + (2 * qw - 1))


@pytest.mark.parametrize(("name", "width"), [("sam_vit_b", 768), ("sam_vit_l", 1024), ("sam_vit_h", 1280)])
def test_parts_next_to_the_blocks_follow_the_formulas(name, width):
    C = width
    analysis = report(preset(name))
    parts = {part.name: part for part in analysis.parts}
    assert parts["patch_embed"].params == 768 * C + C
    assert parts["patch_embed"].flops == 2 * 4096 * 768 * C
    assert (parts["pos_embed"].params, parts["pos_embed"].flops) == (4096 * C, 0)
    assert parts["neck"].params == 256 * C + 589_824 + 1_024
    assert parts["neck"].flops == 2 * 4096 * (256 * C + 589_824)
    beside_and_layers = [*analysis.parts, *analysis.layers]
    assert sum(part.params for part in beside_and_layers) == analysis.totals.params
    assert sum(part.flops for part in beside_and_layers) == analysis.totals.flops


@pytest.mark.parametrize("name", PRESETS)
def test_window_64_at_1024_equals_all_global(name):
    wide, whole = report(preset(name, "window_size=64")), report(preset(name).all_global())
    assert wide.totals == whole.totals
    assert wide.layers[0].attention == "window"
    assert [(x.flops, x.params, x.peak_bytes, x.saved_bytes) for x in wide.layers] == [
        (x.flops, x.params, x.peak_bytes, x.saved_bytes) for x in whole.layers
    ]


@pytest.mark.parametrize("name", PRESETS)
def test_window_8_at_1024_is_cheaper_than_7_and_14(name):
    by_window = {side: report(preset(name, f"window_size={side}")).totals.flops for side in (7, 8, 14)}
    assert by_window[8] < by_window[7] < by_window[14]


@pytest.mark.parametrize("name", PRESETS)
def test_at_256_pixels_a_windowed_block_costs_more_than_a_global_one(name):
    layers = report(preset(name, "image_size=256")).layers
    windowed, whole = layers[0], layers[-1]
    assert (windowed.grid, windowed.padded_grid) == ((16, 16), (28, 28))
    assert windowed.flops > whole.flops
    assert windowed.vs_global.layer_flops_ratio == pytest.approx(whole.flops / windowed.flops, rel=1e-12)


def test_windows_of_14_on_a_grid_of_64_pad_4096_tokens_to_4900():
    layer = report(preset("sam_vit_h")).layers[0]
    assert (layer.grid, layer.padded_grid, layer.windows) == ((64, 64), (70, 70), 25)
    macs = {op.name: op.macs for op in layer.ops}
    assert macs["attn.qkv"] == 4_900 * 1280 * 3840
    assert macs["attn.proj"] == 4_900 * 1280 * 1280
    assert macs["mlp.lin1"] == macs["mlp.lin2"] == 4_096 * 1280 * 5120


def test_800x1216_pixels_are_a_grid_of_50x76_padded_to_56x84():
    layer = report(preset("sam_vit_b", "image_size=[800, 1216]")).layers[0]
    assert (layer.grid, layer.padded_grid, layer.windows) == ((50, 76), (56, 84), 4 * 6)


def test_2973_gmacs_for_vit_h_leave_out_the_relative_positions():
    flops = flops_by_share("sam_vit_h")
    assert round((sum(flops.values()) - flops["rel_pos"]) / 2e9) == 2973


def test_368_7_gmacs_for_vit_b_leave_out_the_products_of_attention():
    flops = flops_by_share("sam_vit_b")
    counted = sum(flops.values()) - flops["rel_pos"] - flops["scores"]
    assert round(counted / 2e9, 1) == 368.7
    assert round(1 - counted / sum(flops.values()), 2) == 0.24


def test_timms_486_43_gmacs_for_vit_b_add_five_for_each_element_of_a_norm():
    totals = report(preset("sam_vit_b")).totals
    norms = 12 * 2 * 4096 * 768 + 2 * 4096 * 256
    assert round(totals.macs / 1e9, 2) == 486.04
    assert round((totals.macs + 5 * norms) / 1e9, 2) == 486.43


@pytest.mark.parametrize("name", sampled(ONE_OF_EACH_SHAPE, 3))
def test_score_columns_are_what_the_operations_make_and_the_same_for_every_kernel(name: str) -> None:
    """Eager attention allocates the score matrices; the other kernels go through as many pairs."""
    eager = report(preset(name, "run.attention=eager", "run.autocast=none"))
    for layer in eager.layers:
        made = sum(op.requested_bytes for op in layer.ops if op.name.rpartition(".")[2] == "scores")
        assert layer.attention_bytes == layer.attention_bytes_per_head * layer.num_heads == made > 0
    assert eager.totals.attention_bytes == sum(layer.attention_bytes for layer in eager.layers)
    for kernel in filter(lambda kernel: takes(kernel, eager.config), ("sdpa", "fused")):
        other = report(preset(name, f"run.attention={kernel}", "run.autocast=none"))
        assert other.totals.attention_bytes == eager.totals.attention_bytes


@pytest.mark.parametrize("mode", ["inference", "training"])
def test_what_is_live_before_operations_and_what_they_allocate_make_the_peak_of_a_layer(mode):
    small = ["depth=2", "image_size=64", "window_size=2", "global_attn_indexes=[1]", f"run.mode={mode}"]
    report = analyze(load_config("sam_vit_b", small), verify=False)
    for place in (*report.layers, *report.parts):
        peak = place.peak_bytes if mode == "inference" else place.training_bytes
        assert max(op.live_bytes + op.allocates_bytes for op in place.ops) == peak, place.name
        assert {op.phase for op in place.ops} == (
            {"forward"} if mode == "inference" else {"forward", "backward"}
        )
