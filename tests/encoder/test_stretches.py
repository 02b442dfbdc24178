"""A plan in stretches of blocks of one kind: blocks that are placed by turns are as if each had been placed alone."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from samattn_cli import load_config
from samattn_cli.encoder import planning
from samattn_cli.encoder.model import OverrideConfig
from samattn_cli.encoder.plan import LayerConfig

GLOBAL = "global_attn_indexes=[2, 3, 7, 11]"
OVERRIDDEN = OverrideConfig(blocks=(1, 2, 5), window_size=(7, 7))
CASES = [
    ("sam_vit_b", [GLOBAL]),
    ("sam_vit_b", ["shift_size=3"]),
    ("swin_t", []),
    ("swin3d_t", []),
    ("davit_t", []),
    ("hat_s_x2", []),
    ("hiera_b", []),
    ("tiny_vit_5m", []),
    ("swinir_lightweight_x2", []),
    ("vit_b", []),
]
HOLD = ("tiny_vit_5m",)
"""Parts of these hold outputs of others, and each is a stretch."""


def plan_alone(monkeypatch, preset, changes):
    """The plan where each block is placed by itself."""
    with monkeypatch.context() as patch:
        patch.setattr(planning, "BY_TURNS", set())
        planning._layers.cache_clear()
        return load_config(preset, changes).plan


@pytest.mark.parametrize(("preset", "changes"), CASES)
def test_blocks_are_placed_as_if_each_were_placed_alone(monkeypatch, preset, changes):
    alone = plan_alone(monkeypatch, preset, changes)
    planning._layers.cache_clear()
    assert load_config(preset, changes).plan == alone


@pytest.mark.parametrize(("preset", "changes"), [case for case in CASES if case[0] not in HOLD])
def test_stretches_hold_blocks_of_one_kind_and_their_neighbours_have_another(preset, changes):
    config = load_config(preset, changes)
    assert [part for stretch in config.stretches for part in stretch.parts] == list(config.plan)
    for stretch in config.stretches:
        assert [stretch.at(number) for number in range(stretch.number)] == list(stretch.parts)
        assert len({part.kind for part in stretch.parts if isinstance(part, LayerConfig)}) <= 1
    blocks = [stretch.first for stretch in config.stretches if isinstance(stretch.first, LayerConfig)]
    for one, other in pairwise(blocks):
        assert one.kind is not other.kind or one.stage_index != other.stage_index
    assert config.layers_that(lambda layer: layer.is_global) == tuple(
        layer for layer in config.layers if layer.is_global
    )


def test_blocks_with_settings_of_their_own_are_stretches():
    config = load_config("sam_vit_b", [GLOBAL])
    (stage,) = config.stages
    config = replace(config, stages=(replace(stage, overrides=(OVERRIDDEN,)),))
    numbers = [stretch.number for stretch in config.stretches if isinstance(stretch.first, LayerConfig)]
    assert numbers == [1] * 8 + [3, 1]  # each has settings of its own, is global, or is between such blocks
    assert [layer.window_size for layer in config.layers][:6] == [
        (14, 14),
        (7, 7),
        (0, 0),
        (0, 0),
        (14, 14),
        (7, 7),
    ]


def test_global_layers_divide_an_encoder():
    config = load_config("sam_vit_b", [GLOBAL])
    numbers = [stretch.number for stretch in config.stretches if isinstance(stretch.first, LayerConfig)]
    assert numbers == [2, 2, 3, 1, 3, 1]
