import pickle

import pytest

from samattn_cli.encoder.model import EncoderConfig, StageConfig
from samattn_cli.files.load import load_config
from tests.support.shapes import ONE_OF_EACH_SHAPE


def encoder(*stages, image_size=(224, 224), patch_size=16):
    return EncoderConfig(image_size=image_size, patch_size=patch_size, stages=stages)


def stage(depth, **keys):
    return StageConfig(**{"embed_dim": 96, "depth": depth, "num_heads": 3, **keys})


@pytest.mark.parametrize(
    ("image_size", "patch_size", "grid"),
    [
        ((1024, 1024), 16, (64, 64)),
        ((768, 1152), 16, (48, 72)),
        ((1023, 1025), 16, (63, 64)),
        ((31, 16), 16, (1, 1)),
        ((7, 9), 1, (7, 9)),
        ((518, 518), 14, (37, 37)),
        ((520, 531), 14, (37, 37)),
    ],
)
def test_the_grid_drops_what_is_smaller_than_a_patch(image_size, patch_size, grid):
    assert encoder(stage(1), image_size=image_size, patch_size=patch_size).grid == grid


def test_layers_count_on_over_the_stages():
    layers = encoder(stage(2), stage(1), stage(3)).layers
    assert [(layer.index, layer.stage_index) for layer in layers] == [
        (0, 0),
        (1, 0),
        (2, 1),
        (3, 2),
        (4, 2),
        (5, 2),
    ]
    assert [layer.name for layer in layers] == [f"blocks.{index}" for index in range(6)]


def test_layers_carry_the_config_of_their_stage():
    first, second = stage(1), stage(1, num_heads=6)
    assert [layer.stage for layer in encoder(first, second).layers] == [first, second]


def test_layers_have_the_window_of_their_stage_but_for_the_global_ones():
    config = encoder(
        stage(3, window_size=(7, 7), global_attn_indexes=(1,)),
        stage(2, window_size=(14, 7), global_attn_indexes=(3,)),
        stage(1),
    )
    assert [layer.window_size for layer in config.layers] == [(7, 7), (0, 0), (7, 7), (0, 0), (14, 7), (0, 0)]
    assert [layer.is_global for layer in config.layers] == [False, True, False, True, False, True]


def test_without_a_window_every_layer_is_global():
    assert all(layer.is_global for layer in encoder(stage(4, global_attn_indexes=(1, 2))).layers)


@pytest.mark.parametrize(
    ("preset", "depth", "global_layers"),
    [
        ("sam_vit_b", 12, [2, 5, 8, 11]),
        ("sam_vit_l", 24, [5, 11, 17, 23]),
        ("sam_vit_h", 32, [7, 15, 23, 31]),
        ("sam_vit_h_all_global", 32, list(range(32))),
        ("sam_vit_h_all_windowed", 32, []),
    ],
)
def test_presets_place_their_global_layers_as_published(preset, depth, global_layers):
    layers = load_config(preset).layers
    assert len(layers) == depth
    assert [layer.index for layer in layers if layer.is_global] == global_layers
    assert {layer.window_size for layer in layers} <= {(14, 14), (0, 0)}


def test_all_global_names_each_layer_that_may_have_a_window_and_changes_nothing_else():
    config = encoder(
        stage(2, window_size=(7, 7), global_attn_indexes=(1,)), stage(1), stage(1, window_size=(8, 8))
    )
    made = config.all_global()
    assert all(layer.is_global for layer in made.layers)
    every_window_named = (
        stage(2, window_size=(7, 7), global_attn_indexes=(0, 1)),
        stage(
            1, global_attn_indexes=(2,)
        ),  # SAM 2's first block of a stage has the window of the stage before
        stage(1, window_size=(8, 8), global_attn_indexes=(3,)),
    )
    assert made == encoder(*every_window_named)
    assert made.all_global() == made


def test_all_windowed_leaves_no_global_layer_where_there_is_a_window():
    config = encoder(
        stage(2, window_size=(7, 7), global_attn_indexes=(1,)), stage(1), stage(1, window_size=(8, 8))
    )
    made = config.all_windowed()
    assert [layer.window_size for layer in made.layers] == [(7, 7), (7, 7), (0, 0), (8, 8)]
    assert made == encoder(stage(2, window_size=(7, 7)), stage(1), stage(1, window_size=(8, 8)))
    assert made.all_windowed() == made


def test_the_placements_leave_the_config_as_it_was():
    config = load_config("sam_vit_b")
    config.all_global()
    config.all_windowed()
    assert config == load_config("sam_vit_b")


def test_the_presets_of_other_placements_are_what_the_placements_make():
    config = load_config("sam_vit_h")
    assert config.all_windowed().stages == load_config("sam_vit_h_all_windowed").stages
    made, shipped = config.all_global(), load_config("sam_vit_h_all_global")
    assert [layer.window_size for layer in made.layers] == [layer.window_size for layer in shipped.layers]


@pytest.mark.parametrize(
    ("embed_dim", "mlp_ratio", "mlp_dim"),
    [
        (768, 4.0, 3072),
        (1280, 4.0, 5120),
        (100, 2.675, 267),
        (3, 0.5, 1),
        (3, 1.0, 3),
        (1408, 48 / 11, 6144),
        (64, 8 / 3, 170),
        (10, 0.1, 1),
    ],
)
def test_the_mlp_is_rounded_down(embed_dim, mlp_ratio, mlp_dim):
    assert stage(1, embed_dim=embed_dim, mlp_ratio=mlp_ratio).mlp_dim == mlp_dim
    assert type(stage(1, embed_dim=embed_dim, mlp_ratio=mlp_ratio).mlp_dim) is int


@pytest.mark.parametrize("preset", ONE_OF_EACH_SHAPE)
def test_a_config_whose_plan_is_made_can_be_sent_to_another_process(preset):
    config = load_config(preset)
    assert config.layers
    sent = pickle.loads(pickle.dumps(config))
    assert (sent, sent.plan) == (config, config.plan)
