"""SAM 2's encoders: counts and values against transformers', memory against the real stack, what a config may not say."""

from __future__ import annotations

import pytest
import torch
from transformers import Sam2VisionModel

from samattn_cli import analyze, load_config
from samattn_cli.errors import ConfigError
from samattn_cli.stack.encoder import build
from samattn_cli.studies.verify import verify
from samattn_cli.tape.encoder import forward
from tests.public import hiera as public_hiera
from tests.support.problems import messages_of, problems_of
from tests.support.score_matrices import assert_scores_are_those_of_the_layers


def stage(number, depth, window, **more):
    width = {"embed_dim": 16 * (number + 1), "num_heads": number + 1}
    return {
        "block": "hiera",
        **width,
        "depth": depth,
        "window_size": window,
        "q_stride": 2 if number else 1,
    } | more


SMALL = {
    "image_size": [64, 96],
    "patch_size": 4,
    "patch_embed": "overlapping",
    "pos_embed": "hiera",
    "pos_embed_background": [3, 5],
    "pos_embed_window": 4,
    "neck": "sam2_fpn",
    "out_chans": 8,
    "stages": [stage(0, 2, 4), stage(1, 2, 6), stage(2, 3, 4, global_attn_indexes=[5]), stage(3, 2, 2)],
    "run": {"attention": "sdpa"},
}
"""Grids 16x24, 8x12, 4x6 and 2x3; blocks 3, 6 and 8 pad."""

VARIANTS = {
    "padding": {},
    "windows larger than the grid": {"stages": [stage(number, 2, 40) for number in range(4)]},
    "windows that are pooled to a token": {"stages": [stage(0, 1, 2), *(stage(n, 2, 2) for n in (1, 2, 3))]},
    "a stage wider but not pooled": {
        "stages": [stage(0, 2, 4), stage(1, 2, 4, q_stride=1), stage(2, 2, 4), stage(3, 2, 2)]
    },
    "stages of one width": {
        "stages": [*(stage(0, depth, 4) for depth in (1, 3, 3)), stage(1, 2, 4)],
    },
    "no neck, one row of windows": {
        "neck": "none",
        "out_chans": None,
        "image_size": [32, 96],
        "stages": [stage(0, 2, 8), stage(1, 1, 4)],
    },
}
FIGURES = {
    "sam2_hiera_t": (27_219_136, 290_783_394_816),
    "sam2_hiera_s": (34_316_992, 358_459_898_880),
    "sam2_hiera_b_plus": (69_106_816, 645_141_525_504),
    "sam2_hiera_l": (212_703_280, 1_821_206_642_688),
}


def small(run=None, **changes):
    keys = SMALL | changes | {"run": SMALL["run"] | (run or {})}
    return load_config({key: value for key, value in keys.items() if value is not None})


@pytest.mark.parametrize("preset", public_hiera.PRESETS)
def test_parameters_and_flops_are_those_of_the_public_encoder(preset):
    derived = forward(load_config(preset))
    assert (derived.params, derived.flops) == public_hiera.count(preset) == FIGURES[preset]


PUBLIC_NAMES = [
    ("patch_embed.proj", "patch_embed.projection"),
    ("pos_embed.background", "pos_embed"),
    ("pos_embed.window", "pos_embed_window"),
    ("norm1", "layer_norm1"),
    ("norm2", "layer_norm2"),
    ("mlp.layers.0", "mlp.proj_in"),
    ("mlp.layers.1", "mlp.proj_out"),
    (".conv.", "."),
]


def public_name(name):
    for own, public in PUBLIC_NAMES:
        name = name.replace(own, public)
    return name if name.startswith("neck") else f"backbone.{name}"


@pytest.mark.parametrize("kernel", ["eager", "sdpa"])
@pytest.mark.parametrize("name", ["padding", "a stage wider but not pooled"])
def test_same_weights_give_the_same_three_outputs_as_the_public_encoder(name, kernel):
    config = small({"attention": kernel}, **VARIANTS[name])
    ours, theirs = build(config), public_like(config)
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in ours.parameters():
            weight.normal_(0, 0.2)
    theirs.load_state_dict({public_name(name): weight for name, weight in ours.state_dict().items()})
    image = torch.randn(2, 3, *config.image_size)
    with torch.no_grad():
        found, wanted = ours(image), theirs(image).fpn_hidden_states
    assert [tuple(each.shape[1:]) for each in found] == [(8, 16, 24), *FINER[name]]
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5 * float(other.abs().max()))


FINER = {
    "padding": [(8, 8, 12), (8, 4, 6)],
    "a stage wider but not pooled": [(8, 16, 24), (8, 8, 12)],
}


def public_like(config) -> Sam2VisionModel:
    """transformers' encoder of the same shape; where it pools is a number of stages, and that all may: one that does not
    is put back to a block without."""
    model = public_hiera.model(
        neck={"fpn_hidden_size": config.out_chans},
        hidden_size=16,
        embed_dim_per_stage=[stage.embed_dim for stage in config.stages],
        num_attention_heads_per_stage=[stage.num_heads for stage in config.stages],
        blocks_per_stage=[stage.depth for stage in config.stages],
        window_size_per_stage=[stage.window_size[0] for stage in config.stages],
        global_attention_blocks=[i for stage in config.stages for i in stage.global_attn_indexes],
        window_positional_embedding_background_size=list(config.pos_embed_background),
    )
    for layer, block in zip(config.layers, model.backbone.blocks, strict=True):
        if layer.q_stride == 1:
            block.query_stride = block.attn.query_stride = None
    return model


def assert_exact(config, *, every_layer=True):
    result = verify(config, every_layer=every_layer)
    assert result.status == "exact", [check for check in result.checks.values() if check.status != "exact"]


CASES = {
    "flash": ("padding", {"dtype": "bfloat16", "batch_size": 2}),
    "eager": ("padding", {"attention": "eager", "batch_size": 2}),
    "eager, bfloat16": ("windows larger than the grid", {"attention": "eager", "dtype": "bfloat16"}),
    "eager, float16": ("a stage wider but not pooled", {"attention": "eager", "dtype": "float16"}),
    "autocast, checkpointing": (
        "windows that are pooled to a token",
        {"autocast": "bfloat16", "checkpointing": True},
    ),
    "eager, autocast": ("no neck, one row of windows", {"attention": "eager", "autocast": "float16"}),
}


@pytest.mark.parametrize(("name", "run"), CASES.values(), ids=CASES)
def test_each_kernel_and_type_is_exact_against_the_real_stack(name, run):
    assert_exact(small(run, **VARIANTS[name]))


def test_a_pooling_block_made_global_is_exact_against_the_real_stack():
    assert_exact(small().all_global())


def test_blocks_whose_stream_is_tapped_are_no_twins_of_those_that_let_go_of_it():
    assert_exact(small(**VARIANTS["stages of one width"]), every_layer=False)


def test_a_preset_is_exact_against_the_real_stack():
    assert_exact(load_config("sam2_hiera_b_plus"), every_layer=False)


def test_windows_lag_a_block_and_queries_are_pooled_at_the_first_of_a_stage():
    layers = load_config("sam2_hiera_t").layers
    assert [layer.window_size[0] for layer in layers] == [8, 8, 4, 4, 14, 0, 14, 0, 14, 0, 14, 7]
    assert [layer.q_stride for layer in layers] == [1, 2, 1, 2, 1, 1, 1, 1, 1, 1, 2, 1]
    assert [layer.grid[0] for layer in layers] == [256, 256, *[128] * 2, *[64] * 7, 32]
    assert [layer.in_dim for layer in layers] == [96, 96, *[192] * 2, *[384] * 7, 768]


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_score_elements_are_those_that_the_block_makes(changes):
    for config in (
        small({"attention": "eager"}, **changes),
        small({"attention": "eager"}, **changes).all_global(),
    ):
        assert_scores_are_those_of_the_layers(forward(config))


def test_a_pooling_block_made_global_costs_all_keys_for_a_quarter_of_the_queries():
    layers = analyze(load_config("sam2_hiera_t"), verify=False).layers
    for index, grid, window in ((1, 256, 8), (3, 128, 4), (10, 64, 14)):
        windowed = (-(-grid // window)) ** 2 * window**4
        assert layers[index].vs_global.scores_flops_ratio == pytest.approx(grid**4 / windowed)
        assert layers[index].attention_bytes == 4 * layers[index].num_heads * windowed // 4


def test_parameters_do_not_follow_the_resolution():
    assert forward(load_config("sam2_hiera_t", ["image_size=512"])).params == FIGURES["sam2_hiera_t"][0]


def problems(**changes):
    with pytest.raises(ConfigError) as caught:
        small(**changes)
    return messages_of(caught)


FIRST, SECOND, THIRD, LAST = SMALL["stages"]
BAD_STAGES = {
    "[pooling-does-not-divide] q_stride 2 window 7x7 1": ([FIRST | {"window_size": 7}, SECOND, THIRD, LAST]),
    "[pooling-does-not-divide] q_stride 3 grid 16x24 2 1": (
        [FIRST | {"window_size": 6}, SECOND | {"q_stride": 3}, THIRD, LAST]
    ),
    "[pooling-in-first-stage] q_stride 2 1": ([FIRST | {"q_stride": 2}, SECOND, THIRD, LAST]),
    "[pooling-needs-new-width] q_stride 2 embed_dim 0 16": [FIRST, SECOND | {"embed_dim": 16}, THIRD, LAST],
    "[window-of-first-block] block 2 1 0": (
        [FIRST, SECOND | {"overrides": [{"blocks": [2], "window_size": 3}]}, THIRD, LAST]
    ),
    "[unused-key] vit q_stride hiera": ([FIRST, SECOND | {"block": "vit", "embed_dim": 16}, THIRD, LAST]),
    "[width-changes] stages.1.embed_dim 32 0 16 vit": (
        [FIRST, SECOND | {"block": "vit", "q_stride": 1}, THIRD, LAST]
    ),
    "[neck-needs-stages] neck sam2_fpn 4 3": [FIRST, SECOND, THIRD],
    "[neck-does-not-fit] neck sam2_fpn": ([FIRST, SECOND, THIRD, LAST | {"q_stride": 1}]),
    "[kernel-head-width] run.attention 4 2 embed_dim 32 num_heads 16": [
        FIRST,
        SECOND | {"num_heads": 16},
        THIRD,
        LAST,
    ],
}


@pytest.mark.parametrize(("message", "stages"), BAD_STAGES.items())
def test_stages_that_cannot_be(message, stages):
    assert message in problems(stages=stages)


def test_windows_of_positions_that_do_not_cover_the_grid():
    assert problems(pos_embed_window=[4, 5]) == ["[window-does-not-divide] pos_embed_window 4x5 16x24"]


def test_a_kernel_that_is_not_modelled():
    with pytest.raises(ConfigError) as caught:
        small({"attention": "fused"})
    assert messages_of(caught) == ["[kernel-not-modelled] fused hiera eager sdpa"]


def test_a_bad_pooling_is_told_with_its_place(tmp_path):
    lines = ["image_size: [64, 96]", "patch_size: 4", "neck: none", "pos_embed: none", "stages:"]
    stages = [FIRST, SECOND | {"q_stride": 5}]
    lines += [f"- {{{', '.join(f'{key}: {value}' for key, value in each.items())}}}" for each in stages]
    path = tmp_path / "e.yaml"
    path.write_text("\n".join(lines))
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    column = lines[-1].index("q_stride: 5") + len("q_stride: ") + 1
    assert problems_of(caught)[0] == f"{path}:7:{column}: [pooling-does-not-divide] q_stride 5 window"


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
